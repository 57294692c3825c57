"""kopf: what it is used for is watching. Its events feed the operator's cache; it writes nothing and keeps no state.

Only ``on.event`` handlers are registered, so kopf puts neither annotations nor finalizers on anything. Namespaces and
CRDs are not scanned, so it needs no rights beyond those of the watches. This is the one module that imports it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
from collections.abc import Collection
from typing import Any

import kopf

from .api import JOBS, PODS, WATCHED, Resource
from .credentials import Credentials
from .names import SELECTOR
from .operator import Operator
from .settings import Settings

log = logging.getLogger(__name__)

WATCH_SECONDS = 600
"""A watch is renewed so often: the server ends it, and it goes on from where it was."""
CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 60.0
"""Of a first list."""
RETRY_SECONDS = (0.5, 1.0, 1.0)
"""After these pauses a request counts as failed and the watch begins anew; so it is back soon after an outage."""
FIRST_LISTS_SECONDS = 0.02
CRDS_SECONDS = 1.0
"""Between two looks whether everything is listed: before kopf begins, and while it watches."""
IDLE_SECONDS = 0.1
"""kopf keeps a task for each object that had an event within this time, and gives it so long to end."""
END_SECONDS = 3.0
MAX_FAILURES = 20
"""In a row: with the pauses between them about half a minute. Then the process ends, for a new one may do better."""
STEADY_SECONDS = 60.0
"""What has watched for so long has not failed in a row."""


async def run(operator: Operator, settings: Settings, credentials: Credentials) -> None:
    """Run the operator and its watches until SIGTERM or SIGINT. Raises whatever ended them otherwise."""
    stop = asyncio.Event()
    _listen(stop)
    own = asyncio.create_task(operator.run(), name="operator")
    asked = asyncio.create_task(stop.wait(), name="signal")
    watches = asyncio.create_task(_watch(operator, settings, credentials, stop), name="watches")
    try:
        await asyncio.wait([own, asked, watches], return_when=asyncio.FIRST_COMPLETED)
        operator.stop()
        await own
        if watches.done():
            watches.result()
    finally:
        await _end([own, asked, watches])


async def _watch(operator: Operator, settings: Settings, credentials: Credentials, stop: asyncio.Event) -> None:
    """Watch for ever. What an API server that starts or stops may answer (403, 5xx) ends all of kopf, so it is begun
    anew; the operator lists meanwhile. Raises RuntimeError when that happens again and again.

    kopf begins after the first lists: it lists too, at far more cost, and would hold them up. It looks only once what
    there is to watch, so it is ended while a CRD is missing.
    """
    loop, failures = asyncio.get_running_loop(), 0
    while True:
        while operator.not_ready():
            await asyncio.sleep(FIRST_LISTS_SECONDS)
        begun = loop.time()
        lacking = asyncio.create_task(_until_not_ready(operator), name="CRDs")
        tasks = [*await _spawn(operator, settings, credentials), lacking]
        _listen(stop)  # kopf has put its own handlers in place of ours
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(tasks)
        operator.relist()
        if lacking in done:
            log.warning("not watching: %s", "; ".join(operator.not_ready()))
            continue
        failures = 1 if loop.time() - begun > STEADY_SECONDS else failures + 1
        log.warning("kopf has ended (%s): watching anew", "; ".join(map(_ending, done)))
        if failures > MAX_FAILURES:
            raise RuntimeError(f"kopf ended {failures} times in a row: {'; '.join(map(_ending, done))}")
        await asyncio.sleep(RETRY_SECONDS[-1])


async def _until_not_ready(operator: Operator) -> None:
    while not operator.not_ready():
        await asyncio.sleep(CRDS_SECONDS)


async def _spawn(operator: Operator, settings: Settings, credentials: Credentials) -> Collection[asyncio.Task[Any]]:
    """kopf's tasks. (``kopf.operator()`` would end all tasks of the loop with its own.)

    Without an identity kopf makes one of the user's name, and a container's user may have none: no entry in
    /etc/passwd, no USER.
    """
    return await kopf.spawn_tasks(
        registry=registry_of(operator, credentials),
        settings=kopf_settings(),
        identity=settings.identity,  # type: ignore[arg-type]  # a NewType of str that kopf does not export
        standalone=True,
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
    )


def _ending(task: asyncio.Task[Any]) -> str:
    """Which task ended, and why."""
    error = None if task.cancelled() else task.exception()
    return f"{task.get_name()}: {error or 'without an error'}"


def registry_of(operator: Operator, credentials: Credentials) -> kopf.OperatorRegistry:
    """One handler a resource, and the login."""
    registry = kopf.OperatorRegistry()
    for resource in WATCHED:
        _handle(registry, operator, resource)

    @kopf.on.login(registry=registry, id="login")  # type: ignore[arg-type, untyped-decorator, unused-ignore]
    async def login(**_: Any) -> kopf.ConnectionInfo:
        """Asked for at the start, and whenever the API server has not accepted what was sent."""
        return kopf.ConnectionInfo(**dataclasses.asdict(credentials.connection()))

    return registry


def _handle(registry: kopf.OperatorRegistry, operator: Operator, resource: Resource) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id=resource.plural)  # type: ignore[arg-type, untyped-decorator, unused-ignore]
    async def seen(event: Any, **_: Any) -> None:
        operator.on_event(resource, event["type"], event["object"])


def kopf_settings() -> kopf.OperatorSettings:
    """Nothing but watches, with selectors on the server's side and time-outs on ours."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.connect_timeout = CONNECT_SECONDS
    settings.networking.connect_timeout = CONNECT_SECONDS
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.error_backoffs = RETRY_SECONDS
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.queueing.exit_timeout = IDLE_SECONDS
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    for resource in (JOBS, PODS):
        settings.watching.label_selectors[resource.group, resource.version, resource.plural] = SELECTOR
    return settings


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf would copy every object at every event for handlers of changes, of which there are none here."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None


class _NoProgress(kopf.ProgressStorage):
    """As above: handlers of events have no progress."""

    def fetch(self, **_: Any) -> Any:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


def _listen(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Watches have nothing to lose: what does not end in time is left to the end of the process."""
    for task in tasks:
        task.cancel()
    done, _ = await asyncio.wait(tasks, timeout=END_SECONDS)
    for task in done:
        task.cancelled() or task.exception()  # it has been looked at
