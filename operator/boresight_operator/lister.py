"""The periodic LIST of everything watched: what watches have missed, it finds.

Every resource (in every watched namespace, if there is a list of them) is listed on its own, so that one that fails
does not hold up the others: at the start, every few minutes, and soon after :meth:`Lister.request_soon`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from random import Random

from . import crds
from .api import JOBS, PODS, WATCHED, Resource
from .cache import Cache
from .client import Client
from .errors import ApiError
from .names import SELECTOR

FIRST_BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 15.0
LEAST_SECONDS_BETWEEN = 1.0
"""From the beginning of one list to that of the next of the same kind: many reconnects at once ask for one list."""

logger = logging.getLogger(__name__)


class Lister:
    """Keeps a cache true. ``changed`` is called with the UIDs of the runs for which a page brought news, sorted."""

    def __init__(
        self,
        client: Client,
        cache: Cache,
        *,
        namespaces: Iterable[str],
        interval_seconds: float,
        random: Random,
        changed: Callable[[list[str]], None],
    ) -> None:
        self._client = client
        self._cache = cache
        self._scopes = [(r, namespace) for r in WATCHED for namespace in (tuple(namespaces) or (None,))]
        self._interval = interval_seconds
        self._random = random
        self._changed = changed
        self._wanted = {scope: asyncio.Event() for scope in self._scopes}
        self._begun: dict[tuple[Resource, str | None], float] = {}
        """Loop time at which the last list that succeeded was begun: the cache is at least as new as that."""
        self._listed = asyncio.Event()
        self._failed: dict[tuple[Resource, str | None], ApiError] = {}
        """What the last list failed with, where it did."""

    def request_soon(self, resource: Resource | None = None) -> None:
        """Something may have been missed (a watch was cut): list ``resource``, or everything, once more if it is being
        listed."""
        for (listed, _), wanted in self._wanted.items():
            if resource in {None, listed}:
                wanted.set()

    def ages(self) -> Mapping[str, float]:
        """For each resource, seconds since its last complete list began, in the namespace where that is longest ago.

        Infinite if it has not been listed.
        """
        now = asyncio.get_running_loop().time()
        ages: dict[str, float] = {}
        for scope in self._scopes:
            age = now - self._begun[scope] if scope in self._begun else math.inf
            ages[scope[0].plural] = max(age, ages.get(scope[0].plural, 0.0))
        return ages

    async def wait_for_lists_since(self, moment: float) -> None:
        """Until everything has been listed by lists that began at ``moment`` (of the loop's time) or later."""
        while any(self._begun.get(scope, -math.inf) < moment for scope in self._scopes):
            self._listed.clear()
            await self._listed.wait()

    def troubles(self) -> Mapping[str, str]:
        """For each resource whose last list failed, why, and what to do if we know."""
        return {resource.plural: crds.told(resource, error) for (resource, _), error in self._failed.items()}

    def missing(self) -> frozenset[str]:
        """The resources of which nobody has installed the CRD (any more)."""
        return frozenset(r.plural for (r, _), error in self._failed.items() if crds.is_missing(r, error))

    async def run(self) -> None:
        """For ever. Only what no answer of the API server can cause comes out as an error."""
        async with asyncio.TaskGroup() as group:
            for resource, namespace in self._scopes:
                group.create_task(
                    self._keep_listed(resource, namespace), name=f"list {resource.plural} {namespace or ''}"
                )

    async def _keep_listed(self, resource: Resource, namespace: str | None) -> None:
        scope, failures = (resource, namespace), 0
        while True:
            self._wanted[scope].clear()
            begun = asyncio.get_running_loop().time()
            try:
                await self._list(resource, namespace)
            except ApiError as error:
                failures += 1
                self._failed[scope] = error
                pause, said = self._back_off(failures), crds.told(resource, error)
                where = f" in {namespace}" if namespace else ""
                logger.warning("listing %s%s failed (%d in a row): %s", resource.plural, where, failures, said)
                await asyncio.sleep(pause)
                continue
            failures = 0
            self._failed.pop(scope, None)
            self._begun[scope] = begun
            self._listed.set()
            # Not wait_for: Python 3.11's loses a cancellation that comes together with the time-out.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval * self._random.uniform(0.9, 1.1)):
                    await self._wanted[scope].wait()
            await asyncio.sleep(max(0.0, begun + LEAST_SECONDS_BETWEEN - asyncio.get_running_loop().time()))

    def _back_off(self, failures: int) -> float:
        longest = min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2 ** min(failures - 1, 32))
        return self._random.uniform(longest / 2, longest)

    async def _list(self, resource: Resource, namespace: str | None) -> None:
        """Page by page, so that 5,000 runs are never in memory decoded."""
        labels = SELECTOR if resource in {JOBS, PODS} else ""
        listing = None
        async for page in self._client.pages(resource, namespace, labels=labels):
            if listing is None:
                listing = self._cache.listing(resource, namespace, page.resource_version)
            self._changed(sorted(listing.add(page.items)))
        assert listing is not None, "a list has a page, if an empty one"
        self._changed(sorted(listing.finish()))
