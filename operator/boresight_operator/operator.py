"""The operator without kopf: cache, queue, lease, lists and workers on one event loop. :mod:`.shell` feeds it events.

Time is the loop's, the wall clock and randomness are passed in, and all I/O goes through the transport (and the fetcher
of progress), so the simulation drives this very class.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from random import Random

from prometheus_client import CollectorRegistry

from .api import PODS, WATCHED, Object, Resource, Transport
from .cache import Cache
from .client import Client
from .effects import Effects
from .elector import Elector
from .errors import ApiError, Conflict, LeaseOver, Unavailable
from .events import EventWriter
from .lister import Lister
from .memory import Memory
from .observe import Observer
from .plain import text
from .planning import Planner
from .progress import Fetch, ProgressPoller
from .reconcile import Reconciler
from .settings import Settings
from .siblings import Siblings, own_store
from .telemetry import Telemetry
from .views import RunView
from .work_queue import WorkQueue

log = logging.getLogger(__name__)

DRAIN_SECONDS = 0.5
"""What is being written when we are told to stop may still be written; then the Lease is released."""
FIRST_LEASE_SECONDS = 0.5
"""The first lists wait so long for the Lease: then they need not be repeated once it is ours."""
OUTAGE_SECONDS = 1.0
"""Without any answer, and with requests that got none, watches may have missed something."""
QUIET_SECONDS = 1.0
"""After the last object that a watch has listed again."""
STUCK_SECONDS = 300.0
"""A reconcile (of a few requests, each of which ends) that takes longer hangs; so does a queue that nobody serves."""


class Operator:
    """Reconciles all runs of the watched namespaces while it holds the Lease."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        *,
        wall: Callable[[], float],
        random: Random,
        registry: CollectorRegistry | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        """``fetch`` gets progress from pods; without it none is polled."""
        self._settings = settings
        self.telemetry = Telemetry(registry or CollectorRegistry())
        self._stopping = asyncio.Event()
        self._contact = _Contact()
        self._relisted = 0.0
        self._relist_timer: asyncio.TimerHandle | None = None
        self._at_work: dict[str, float] = {}
        self._started = 0.0

        self._cache = Cache(settings.watch_namespaces, self._store_of)
        self._queue = WorkQueue(random)
        self._elector = Elector(transport, settings, wall=wall, random=random, metric=self._requested)
        self._client = Client(
            transport, random, guard=self._elector.check, metric=self._requested, in_flight=settings.requests_in_flight
        )
        self._lister = Lister(
            self._client,
            self._cache,
            namespaces=settings.watch_namespaces,
            interval_seconds=settings.list_interval_seconds,
            random=random,
            changed=self._changed,
        )
        memory, planner = Memory(), Planner(self._client)
        self._siblings = Siblings(self._cache, settings.of, self._planned_devices, self._queue.add)
        self._observer = Observer(settings, self._cache, planner, self._siblings, memory, self._client.server_now)
        self._reconciler = Reconciler(
            self._client,
            self._observer,
            self._siblings,
            memory,
            Effects(self._client, memory, self._seen, self._cache.has_run),
            EventWriter(self._client, settings.pod_name, self.telemetry.events_failed.inc),
            self._seen,
            self._gone,
        )
        self._poller = (
            ProgressPoller(
                self._client,
                self._cache,
                self._siblings,
                fetch,
                interval_seconds=settings.progress_interval_seconds,
                random=random,
                took=lambda resource, obj: self._changed(self._cache.observe(resource, "MODIFIED", obj)),
                polled=lambda result: self.telemetry.polls.labels(result).inc(),
            )
            if fetch is not None
            else None
        )
        self.telemetry.watch(
            depth=lambda: self._queue.depth,
            delayed=lambda: self._queue.delayed,
            oldest_age=lambda: self._queue.oldest_age,
            list_age=lambda plural: self._lister.ages()[plural],
            leading=lambda: self._elector.leading,
            standings=self._siblings.all,
            runs=settings.metrics_runs,
            stages=settings.metrics_stages,
        )

    def on_event(self, resource: Resource, type: str | None, obj: Object) -> None:  # noqa: A002 as the event has it
        """A watch saw something; ``type`` is None for what it listed, at its start or because it had lost its place."""
        self.telemetry.watch_event(resource.plural)
        self._changed(self._cache.observe(resource, type, obj))
        if type is None:
            self._list_when_quiet()

    def stop(self) -> None:
        """Finish what is being written, release the Lease, and let :meth:`run` return."""
        self._stopping.set()

    def relist(self) -> None:
        """Watches have ended, and begin anew: what happened in between only lists can tell."""
        self._lister.request_soon()

    async def run(self) -> None:
        """Work until :meth:`stop`. Raises LeaseOver if the Lease is lost: what is in memory may be old then."""
        self._started = asyncio.get_running_loop().time()
        jobs = {"elector": self._elector.run(), "lister": self._list(), "workers": self._work()}
        tasks = [asyncio.create_task(job, name=name) for name, job in jobs.items()]
        stopped = asyncio.create_task(self._stopping.wait(), name="stop")
        try:
            await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                await self._drain()
            for task in tasks:
                if task.done():
                    task.result()
                    raise RuntimeError(f"the {task.get_name()} ended by itself")
        finally:
            await _cancel([stopped, *tasks[1:]])
            with contextlib.suppress(ApiError):
                await self._elector.release()
            await _cancel(tasks[:1])

    def not_ready(self) -> Sequence[str]:
        """What has not been listed yet, or cannot be any more because its CRD is gone; with the cause, where known."""
        ages, troubles, missing = self._lister.ages(), self._lister.troubles(), self._lister.missing()
        lacking = [] if self._cache.synced else [plural for plural, age in ages.items() if age == _NEVER]
        lacking += [plural for plural in ages if plural in missing and plural not in lacking]
        return [f"{plural} not listed" + (f": {troubles[plural]}" if plural in troubles else "") for plural in lacking]

    def unhealthy(self) -> Sequence[str]:
        """What a restart may help against. A CRD that is missing is nothing of the kind."""
        now, missing = asyncio.get_running_loop().time(), self._lister.missing()
        limit = 3 * self._settings.list_interval_seconds
        faults = [
            f"{plural} last listed {age:.0f} s ago, expected every {self._settings.list_interval_seconds:g} s"
            for plural, age in self._lister.ages().items()
            if min(age, now - self._started) > limit and plural not in missing
        ]
        hanging = [uid for uid, begun in self._at_work.items() if now - begun > STUCK_SECONDS]
        faults += [f"run with UID {uid} is being reconciled for over {STUCK_SECONDS:g} s" for uid in hanging]
        if self._elector.leading and self._queue.oldest_age > STUCK_SECONDS:
            faults.append(f"a run waits for a worker for {self._queue.oldest_age:.0f} s")
        return faults

    async def _list(self) -> None:
        """Lists that begin after the Lease was gained count for the leader."""
        with contextlib.suppress(TimeoutError):  # not wait_for, which may lose a cancellation (see the lister)
            async with asyncio.timeout(FIRST_LEASE_SECONDS):
                await self._elector.wait_until_leading()
        await self._lister.run()

    async def _work(self) -> None:
        """Once leading, and once everything was listed since then: what another leader has done is known."""
        await self._elector.wait_until_leading()
        if max(self._lister.ages().values()) != _NEVER:  # a standby's lists are older
            self._lister.request_soon()
        await self._lister.wait_for_lists_since(asyncio.get_running_loop().time())
        for uid in self._cache.runs():
            self._queue.add(uid)
        async with asyncio.TaskGroup() as group:
            for number in range(self._settings.workers):
                group.create_task(self._worker(), name=f"worker {number}")
            if self._poller is not None:
                group.create_task(self._poller.run(), name="progress")

    async def _worker(self) -> None:
        while not self._stopping.is_set():
            uid = await self._queue.get()
            try:
                if not self._stopping.is_set():
                    await self._reconcile(uid)
            finally:
                self._queue.done(uid)

    async def _reconcile(self, uid: str) -> None:
        """One run. Whatever goes wrong is this run's alone: it comes back later, and the others go on."""
        begun = self._at_work[uid] = asyncio.get_running_loop().time()
        result = "done"
        try:
            after = await self._reconciler.reconcile(uid)
            self._queue.forget(uid)
            if after is not None:
                self._queue.add(uid, after)
        except LeaseOver:
            result = "lease_over"
            self._queue.retry(uid)
        except ApiError as error:
            result = {Conflict: "conflict", Unavailable: "unavailable"}.get(type(error), "refused")
            log.warning("will be tried again: %s", error, extra=self._about(uid))
            self._queue.retry(uid)
        except Exception:
            result = "error"
            log.exception("will be tried again", extra=self._about(uid))
            self._queue.retry(uid)
        finally:
            del self._at_work[uid]
            self.telemetry.reconciles.labels(result).observe(asyncio.get_running_loop().time() - begun)

    async def _drain(self) -> None:
        """Let writes that are under way end; one that does not in time is as one whose answer was lost."""
        loop = asyncio.get_running_loop()
        end = loop.time() + DRAIN_SECONDS
        while self._at_work and loop.time() < end:
            await asyncio.sleep(0.01)

    def _changed(self, uids: Iterable[str]) -> None:
        if self._cache.wants_pods():
            self._lister.request_soon(PODS)
        for uid in sorted(uids):
            self._siblings.changed(uid)
            # Before the first lists the server's time, and so what a run will ask for, is not known.
            standing = self._siblings.of(uid) if self._cache.synced else None
            self._queue.add(uid, new=standing is not None and bool(standing.stores) and not standing.stages)

    def _seen(self, resource: Resource, obj: Object, run_uid: str) -> None:
        """An answer to a write for a run that is being reconciled: that run goes another round by itself."""
        if resource not in WATCHED:
            return
        changed = self._cache.observe(resource, "MODIFIED", obj)
        self._siblings.changed(run_uid)
        self._changed(changed - {run_uid})

    def _gone(self, resource: Resource, run: RunView) -> None:
        metadata = {"name": run.name, "namespace": run.namespace, "uid": run.uid}
        deleted = {"metadata": {**metadata, "resourceVersion": run.resource_version}}
        self._changed(self._cache.observe(resource, "DELETED", deleted))

    def _requested(self, verb: str, plural: str, code: int, seconds: float) -> None:
        self.telemetry.request(verb, plural, code, seconds)
        if self._contact.is_back(code, asyncio.get_running_loop().time()):
            log.info("the API server answers again: listing everything")
            self._lister.request_soon()
            self._queue.hurry()

    def _list_when_quiet(self) -> None:
        """A watch that lists again does not say what was deleted meanwhile; a LIST of ours after it does."""
        loop = asyncio.get_running_loop()
        self._relisted = loop.time()
        if self._relist_timer is None:
            self._relist_timer = loop.call_later(QUIET_SECONDS, self._if_quiet)

    def _if_quiet(self) -> None:
        loop = asyncio.get_running_loop()
        self._relist_timer = None
        if (rest := self._relisted + QUIET_SECONDS - loop.time()) > 0:
            self._relist_timer = loop.call_later(rest, self._if_quiet)
        else:
            self._lister.request_soon()

    def _store_of(self, run: Object) -> str:
        return own_store(run, self._settings.of(text(run, "metadata", "namespace")))

    def _planned_devices(self, uid: str, stages: Sequence[str]) -> int:
        return self._observer.planned_devices(uid, stages)

    def _about(self, uid: str) -> dict[str, str]:
        standing = self._siblings.of(uid)
        if standing is None:
            return {"run": uid}
        stage = next((name for name, state in standing.stages if state not in _OVER), "")
        named = {"run": f"{standing.namespace}/{standing.kind}/{standing.name}"}
        return {**named, "stage": stage} if stage else named


class _Contact:
    """Whether the API server was out of reach and is back."""

    def __init__(self) -> None:
        self._answered: float | None = None
        self._failed = False

    def is_back(self, code: int, now: float) -> bool:
        """Told of every request that has ended; 0 is one without an answer."""
        if code == 0:
            self._failed = True
            return False
        back = self._failed and self._answered is not None and now - self._answered > OUTAGE_SECONDS
        self._answered, self._failed = now, False
        return back


_NEVER = float("inf")
_OVER = {"Succeeded", "Cached"}


async def _cancel(tasks: Sequence[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
