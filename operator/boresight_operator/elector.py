"""Who may write: one process of many, by a Lease. The others keep warm caches and take over.

No clock is ever compared with another host's. A standby counts the seconds since it last saw the Lease change; the
holder counts from before it sent the renewal that succeeded, and stops writing (``renew_seconds``) well before anybody
may take over (``lease_seconds``). Both use the monotonic clock, which goes on while a process is stopped.

A standby looks eight times as often as the holder renews: every 0.25 s by default, which is at most four GETs a second,
and a released Lease is taken within 0.3 s. A watch would be quicker, but needs a stream that nothing else here needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from .api import LEASES, Object, Transport
from .errors import AlreadyExists, ApiError, Conflict, Forbidden, LeaseOver, NotFound
from .exchange import Exchange, Metric, Request
from .plain import mapping, number, text
from .server_clock import ServerClock
from .settings import Settings

LOOKS_A_RENEWAL = 8
"""How many times as often a standby looks as the holder renews."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The Lease as it was last seen, and the loop time when it was first seen so."""

    lease: Object
    since: float

    @property
    def version(self) -> str:
        return text(self.lease, "metadata", "resourceVersion")

    @property
    def holder(self) -> str:
        return text(self.lease, "spec", "holderIdentity")

    def free_at(self, our_seconds: float) -> float:
        """Loop time from which another process may take it. A holder with other settings keeps its own, longer time."""
        theirs = number(mapping(self.lease, "spec").get("leaseDurationSeconds"))
        return self.since + (max(our_seconds, theirs) if self.holder else 0.0)


class Elector:
    """One candidate. ``identity`` belongs to this process alone: not even to the one before it in the same pod."""

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        *,
        wall: Callable[[], float],
        random: Random,
        metric: Metric,
    ) -> None:
        # Its own exchange: no request of the reconcilers is ever ahead of a renewal, and no retry hides a lost one.
        self._exchange = Exchange(transport, metric, ServerClock())
        self._settings = settings
        self._wall = wall
        self._random = random
        self._elected = asyncio.Event()
        self._released = asyncio.Event()
        self._busy = asyncio.Lock()
        self._seen: _Seen | None = None
        self._renewed: float | None = None
        """Loop time before the last successful renewal was sent; None while this is a standby."""
        self._unanswered: dict[str, float] = {}
        """renewTime of each writing of late that is not known to have renewed, and the loop time before it was sent."""
        self._told = ""
        """The trouble that was logged last, while it lasts: a standby meets the same one four times a second."""

    @property
    def leading(self) -> bool:
        """This process may write, now."""
        if self._released.is_set():
            return False
        return not self._settings.leader_election or self._left() > 0

    def check(self) -> None:
        """Called right before each write. Raises LeaseOver if somebody else may hold the Lease."""
        if not self.leading:
            raise LeaseOver(f"{self._settings.identity} does not hold Lease {self._settings.lease_name} (any more)")

    async def wait_until_leading(self) -> None:
        """Until this process has been elected."""
        await self._elected.wait()

    async def run(self) -> None:
        """Stand by, lead, and return after :meth:`release`.

        Raises LeaseOver when the Lease is lost: the process ends then, because what it has decided on may be old.
        """
        if not self._settings.leader_election:
            self._elected.set()
        while not self._released.is_set():
            if self._settings.leader_election:
                async with self._busy:
                    await (self._stand_by() if self._renewed is None else self._renew())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._released.wait(), self._pause())

    async def release(self) -> None:
        """Stop writing at once and let a standby take over at once, if the API server answers in time."""
        self._released.set()
        async with self._busy:
            if self._renewed is None or self._seen is None:
                return
            self._renewed = None
            try:
                await self._put(self._seen.lease, holder="")
                logger.info("released Lease %s", self._settings.lease_name)
            except ApiError as error:
                logger.warning("Lease %s was not released: %s", self._settings.lease_name, error)

    def _left(self) -> float:
        """Seconds for which this process may still write."""
        if self._renewed is None:
            return 0.0
        return self._renewed + self._settings.renew_seconds - asyncio.get_running_loop().time()

    def _pause(self) -> float:
        """Seconds until the next look or renewal."""
        settings, now = self._settings, asyncio.get_running_loop().time()
        look = settings.retry_seconds / LOOKS_A_RENEWAL
        if not settings.leader_election:
            return settings.retry_seconds
        if self._renewed is not None:
            # A renewal that failed is tried again soon; the end of our time is noticed at once.
            return max(0.0, min(self._left(), max(look, self._renewed + settings.retry_seconds - now)))
        look *= self._random.uniform(1.0, 1.2)
        free = self._seen.free_at(settings.lease_seconds) if self._seen else now
        return min(look, free - now) if free > now else look

    async def _stand_by(self) -> None:
        """Look, and take the Lease if nobody has it."""
        try:
            await self._look()
            if (
                self._seen is None
                or self._seen.free_at(self._settings.lease_seconds) <= asyncio.get_running_loop().time()
            ):
                await self._put(self._seen.lease if self._seen else {}, holder=self._settings.identity)
        except (AlreadyExists, Conflict):
            return  # another process was quicker
        except ApiError as error:
            self._tell(error)
        else:
            self._told = ""
        if self.leading:
            logger.info("leading, by Lease %s", self._settings.lease_name)
            self._elected.set()

    def _tell(self, error: ApiError) -> None:
        """Log what keeps a standby from its work, once."""
        lease, said = f"{self._settings.lease_namespace}/{self._settings.lease_name}", str(error)
        if said == self._told:
            return
        self._told = said
        if isinstance(error, Forbidden):
            advice = "this process can never lead; its Role must allow get, create and update of leases"
            logger.error("Lease %s: %s: %s", lease, advice, error)
        else:
            logger.warning("Lease %s: %s", lease, error)

    async def _renew(self) -> None:
        """One try. Without an answer the next one is made: it succeeds, or it finds out by a conflict what happened."""
        assert self._seen is not None
        if self._left() <= 0:
            raise LeaseOver(f"Lease {self._settings.lease_name} could not be renewed in time")
        try:
            await self._put(self._seen.lease, holder=self._settings.identity)
        except (Conflict, NotFound):
            await self._look_at_ours()
        except ApiError as error:
            logger.warning("Lease %s was not renewed: %s", self._settings.lease_name, error)

    async def _look_at_ours(self) -> None:
        try:
            await self._look()
        except ApiError as error:
            logger.warning("Lease %s: %s", self._settings.lease_name, error)
            return
        holder = self._seen.holder if self._seen else ""
        if holder != self._settings.identity:
            self._renewed = None
            raise LeaseOver(f"Lease {self._settings.lease_name} was taken by {holder or 'nobody: it is gone'}")

    async def _look(self) -> None:
        try:
            self._note(await self._send("get", "GET", self._settings.lease_name))
        except NotFound:
            self._seen = None

    def _note(self, lease: Object) -> None:
        """Take the Lease in. What counts is when we saw it change; its own time tells which of our writings it is."""
        if self._seen is None or self._seen.version != text(lease, "metadata", "resourceVersion"):
            self._seen = _Seen(lease, asyncio.get_running_loop().time())
        sent = self._unanswered.get(text(lease, "spec", "renewTime"))
        if sent is not None and self._seen.holder == self._settings.identity:
            self._renewed = max(sent, self._renewed or sent)
            self._unanswered.clear()

    async def _put(self, lease: Object, *, holder: str) -> None:
        """Write the Lease on top of what was seen of it; Conflict (or AlreadyExists) if it is another one by now."""
        settings, before, now = self._settings, mapping(lease, "spec"), _micro_time(self._wall())
        changes = holder != text(before, "holderIdentity")
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {**mapping(lease, "metadata"), "name": settings.lease_name},
            "spec": {
                **before,
                "holderIdentity": holder,
                "leaseDurationSeconds": math.ceil(settings.lease_seconds),
                "renewTime": now,
                "acquireTime": now if changes else before.get("acquireTime", now),
                "leaseTransitions": number(before.get("leaseTransitions")) + (changes and bool(holder) and bool(lease)),
            },
        }
        sent = asyncio.get_running_loop().time()
        useful = sent - settings.renew_seconds  # what was sent before that gives no time to write in
        self._unanswered = {time: at for time, at in self._unanswered.items() if at > useful}
        self._unanswered.setdefault(now, sent)
        if lease:
            self._note(await self._send("update", "PUT", settings.lease_name, body))
        else:
            self._note(await self._send("create", "POST", None, body))

    async def _send(self, verb: str, method: str, name: str | None, body: Object | None = None) -> dict[str, Any]:
        # Half a period, so that a request that hangs leaves time for others before the Lease is over.
        path, seconds = LEASES.path(self._settings.lease_namespace, name), self._settings.retry_seconds / 2
        return await self._exchange.send(Request(verb, method, LEASES, path, seconds, body=body))


def _micro_time(seconds: float) -> str:
    """Kubernetes' MicroTime, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
