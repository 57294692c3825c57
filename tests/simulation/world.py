"""A cluster, a store, users and operators, from one seed. Everything in it is a function of the seed.

What is shipped runs unchanged; transport, clock and randomness are this world's. Faults end with :meth:`World.calm`.
"""

from __future__ import annotations

import asyncio
import contextvars
import traceback
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any

from boresight_api.spec import Storage
from boresight_operator import api
from boresight_operator.api import Object, Resource
from boresight_operator.errors import LeaseOver
from boresight_operator.operator import Operator
from boresight_operator.settings import Limits, NamespaceSettings, Settings
from prometheus_client import CollectorRegistry

from .cluster_controllers import GarbageCollector, NamespaceController
from .fake_api import FakeApi
from .job_controller import JobController
from .kubelet import Kubelet
from .kueue import Kueue
from .process import PROCESS, Call, SimulationLoop, Wire
from .registry import NAMESPACES, Change, Registry, uid_of
from .watch import Stream
from .workload import ArtifactStore, Behaviour

EPOCH = 1_800_000_000.0
NAMESPACE = "team"
SYSTEM = "boresight"
STORAGE = "s3://store/team"
STOPPED_SECONDS = 150.0
"""Longer than it takes another process to lead."""
MAX_REQUESTS = 6_000
"""Of a history; the longest needs a third of it."""
NODES = ("node-1", "node-2", "node-3")


@dataclass
class Faults:
    """Probabilities of a request's fates, and lags in seconds (uniform from zero)."""

    refused: float = 0.0
    """Never reaches the server."""
    lost: float = 0.0
    """Done, but the answer is lost."""
    failed: float = 0.0
    """500 or 503, not done."""
    failed_done: float = 0.0
    """504, done."""
    throttled: float = 0.0
    """429."""
    latency: float = 0.02
    watch_lag: Mapping[Resource, float] = field(default_factory=dict)
    """By kind; default 0.1."""
    controller_lag: float = 0.2


class How(StrEnum):
    """What happens to an operator process at a request."""

    BEFORE = "killed before the server gets it"
    AFTER = "killed after the server did it, before the answer"
    STOPPED = "stopped when the answer has come, and continued when another process leads"


@dataclass(frozen=True)
class Crash:
    """Strikes the process that sends the ``number``-th request (from 0, the elector's not counted)."""

    number: int
    how: How


@dataclass
class Process:
    """An operator process: its name stays, its life does not."""

    name: str
    identity: str
    operator: Operator
    wire: Wire
    context: contextvars.Context
    streams: dict[Resource, Stream]
    task: asyncio.Task[None]
    dead_runs: dict[str, float]
    """UID -> when this process was told (or listed) that it is gone."""
    stopped: bool = False


class World:
    """See the module."""

    def __init__(
        self,
        loop: SimulationLoop,
        seed: int = 0,
        *,
        crash: Crash | None = None,
        server_skew: float = 0.0,
        operator_skew: float = 0.0,
        queue_slots: int = 2,
        settings: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.loop = loop
        self.random = Random(seed)
        self.crash = crash
        self.settings = settings or {}
        self.defaults = NamespaceSettings(
            storage=Storage(uri=STORAGE), limits=limits or Limits(), grace_period_seconds=30, node_lost_seconds=120
        )
        self.operator_skew = operator_skew
        self.faults = Faults()
        self.context = contextvars.copy_context()
        self.down_until = 0.0
        self.registry = Registry(lambda: EPOCH + server_skew + loop.time(), self._uid)
        self.api = FakeApi(self.registry, self.registry.now)
        self.store = ArtifactStore()
        self.behave: Callable[[Object], Behaviour] = lambda pod: Behaviour()
        lag = lambda: self.random.uniform(0, self.faults.controller_lag)  # noqa: E731
        self.kubelet = Kubelet(self.registry, self.store, lambda pod: self.behave(pod), lag)
        self.jobs = JobController(self.registry, lag)
        self.kueue = Kueue(self.registry, lag, queue_slots)
        self.collector = GarbageCollector(self.registry, lag)
        self.namespaces = NamespaceController(self.registry, lag)
        self.processes: dict[str, Process] = {}
        self.lives = 0
        self.requests: list[tuple[float, str, str]] = []
        """(time, process, target) of every request but the elector's."""
        self.writes: list[Change] = []
        """Every stored change by an operator, but the Lease."""
        self.blind = False
        """Whether pods may have come and gone with no operator hearing of it."""
        self.on_request: Callable[[Process, Call], None] = lambda process, call: None
        """Told of every request but the elector's, when it is sent."""
        self.on_serve: Callable[[Process, Call], None] = lambda process, call: None
        """Told of every request when the server gets it."""
        self.on_answer: Callable[[Process, Call], None] = lambda process, call: None
        """Told of every answer, when it has arrived and nobody has acted on it."""
        self.call: Call | None = None
        """The request that is being served."""
        self.errors: list[str] = []
        """What no process may ever do: end with an error, ..."""
        self.registry.subscribers.append(self._note)
        loop.set_exception_handler(self._unhandled)
        for name in (NAMESPACE, SYSTEM):
            self.make_namespace(name)
        for name in NODES:
            body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
            self.registry.create(api.NODES, "", body, "cloud")

    # -- small things ------------------------------------------------------------------------------------------------

    def _uid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning of the loop."""
        return self.loop.time()

    def make_namespace(self, name: str) -> None:
        """Create one."""
        metadata = {"name": name, "finalizers": ["kubernetes"]}
        self.registry.create(NAMESPACES, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, "user")

    def runs(self) -> list[Object]:
        """All runs of the three kinds."""
        return [run for resource in api.RUNS for run in self.registry.all(resource)]

    def _note(self, change: Change) -> None:
        if change.actor in self.processes and change.resource != api.LEASES:
            self.writes.append(change)

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        shown = "".join(traceback.format_exception(error)[-4:]) if error is not None else ""
        self.errors.append(f"{context['message']}: {shown}")

    # -- operators ---------------------------------------------------------------------------------------------------

    def start_operator(self, name: str) -> None:
        """A new process, with nothing in memory."""
        self.lives += 1
        identity = f"{name}_{self.lives}"
        settings = Settings(
            **{
                "defaults": self.defaults,
                "pod_name": name,
                "identity": identity,
                "lease_namespace": SYSTEM,
                "lease_seconds": 60,
                "renew_seconds": 40,
                "retry_seconds": 15,
                "metrics_port": 0,
                **self.settings,
            }
        )
        context = self.context.copy()
        context.run(PROCESS.set, identity)
        wire = Wire(identity, self._send)
        operator = context.run(
            lambda: Operator(
                settings,
                wire,
                wall=lambda: EPOCH + self.operator_skew + self.loop.time(),
                random=Random(self.random.getrandbits(64)),
                registry=CollectorRegistry(),
            )
        )
        dead: dict[str, float] = {}

        def on_event(resource: Resource, type: str | None, obj: Object) -> None:  # noqa: A002 as the event has it
            if type == "DELETED" and resource in api.RUNS:
                dead.setdefault(uid_of(obj), self.now)
            operator.on_event(resource, type, obj)

        streams = {
            resource: Stream(self.registry, resource, on_event, self._watch_lag(resource), context)
            for resource in api.WATCHED
        }
        task = self.loop.create_task(operator.run(), context=context)
        process = Process(name, identity, operator, wire, context, streams, task, dead)
        task.add_done_callback(lambda task: self._ended(process, task), context=self.context)
        self.processes[identity] = process

    def _watch_lag(self, resource: Resource) -> Callable[[], float]:
        return lambda: self.random.uniform(0, self.faults.watch_lag.get(resource, 0.1))

    def alive(self) -> list[Process]:
        """Processes that were not killed."""
        return [process for process in self.processes.values() if not process.wire.dead]

    def kill(self, process: Process, restart_after: float | None = 2.0) -> None:
        """SIGKILL: nothing of it ever runs again. What is on the wire is served."""
        if process.wire.dead:
            return
        process.wire.dead = True
        self.loop.stop_process(process.identity)
        for stream in process.streams.values():
            stream.close()
        if restart_after is not None:
            self.loop.call_later(restart_after, self.start_operator, process.name, context=self.context)

    def stop(self, process: Process) -> None:
        """SIGSTOP."""
        process.stopped = True
        self.loop.stop_process(process.identity)

    def go_on(self, process: Process) -> None:
        """SIGCONT."""
        if process.stopped and not process.wire.dead:
            process.stopped = False
            self.loop.continue_process(process.identity)

    def _ended(self, process: Process, task: asyncio.Task[None]) -> None:
        """The process ended by itself: right only if it lost the Lease."""
        if process.wire.dead:
            return
        error = None if task.cancelled() else task.exception()
        if not isinstance(error, LeaseOver):
            self.errors.append(f"{process.identity} ended with {error!r}")
        self.kill(process)

    # -- the wire ----------------------------------------------------------------------------------------------------

    def _send(self, wire: Wire, call: Call) -> None:
        if not call.about_lease:
            number = len(self.requests)
            self.requests.append((self.now, wire.name, call.target))
            if number == MAX_REQUESTS:
                self.errors.append(f"{number} requests: somebody works in vain")
            if self.crash is not None and self.crash.number == number:
                call.struck = self.crash.how
            if call.struck is How.BEFORE:
                self.loop.call_soon(self.kill, self.processes[wire.name], context=self.context)
                return
            if call.struck is How.AFTER:
                self.loop.call_later(0.001, self._serve_and_kill, wire, call, context=self.context)
                return
            self.context.run(self.on_request, self.processes[wire.name], call)
        latency = self.random.uniform(0, self.faults.latency)
        self.loop.call_later(latency, self._arrive, wire, call, context=self.context)

    def _serve_and_kill(self, wire: Wire, call: Call) -> None:
        self._serve(wire, call)
        self.kill(self.processes[wire.name])

    def _arrive(self, wire: Wire, call: Call) -> None:
        faults, chance = self.faults, self.random.random
        if self.now < self.down_until or chance() < faults.refused:
            call.fail(ConnectionRefusedError("connection refused"))
        elif chance() < faults.throttled:
            headers = {"retry-after": "1"}
            answer = self.api.failed(
                429, "TooManyRequests", "the server has received too many requests", headers=headers
            )
            self._back(wire, call, answer)
        elif chance() < faults.failed:
            self._back(wire, call, self.api.failed(503, "ServiceUnavailable", "the server is currently unable"))
        else:
            answer = self._serve(wire, call)
            if call.lose_answer or chance() < faults.lost:
                self.loop.call_later(0.1, call.fail, ConnectionResetError("connection reset"), context=self.context)
            elif chance() < faults.failed_done:
                answer = self.api.failed(504, "Timeout", "request did not complete within the allotted timeout")
                self._back(wire, call, answer)
            else:
                self._back(wire, call, answer)

    def _serve(self, wire: Wire, call: Call) -> Any:
        self.call = call
        self.on_serve(self.processes[wire.name], call)
        try:
            return self.api.answer(wire.name, call.method, call.path, call.query, call.headers, call.body)
        finally:
            self.call = None

    def _back(self, wire: Wire, call: Call, answer: Any) -> None:
        latency = self.random.uniform(0, self.faults.latency)
        self.loop.call_later(latency, self._come_back, wire, call, answer, context=self.context)

    def _come_back(self, wire: Wire, call: Call, answer: Any) -> None:
        call.answer(answer)
        if call.struck is How.STOPPED:
            self.stop(self.processes[wire.name])
            self.loop.call_later(STOPPED_SECONDS, self.go_on, self.processes[wire.name], context=self.context)
        if not call.about_lease:
            self.on_answer(self.processes[wire.name], call)

    # -- the end -----------------------------------------------------------------------------------------------------

    def calm(self) -> None:
        """No more faults: servers up, watches connected, processes running, lags short."""
        self.faults = Faults()
        self.crash = None
        self.down_until = 0.0
        self.behave = lambda pod: Behaviour()
        self.kubelet.unschedulable = None
        self.kubelet.secrets_missing.clear()
        self.store.reachable = True
        for node in sorted(self.kubelet.lost):
            if self.registry.find(api.NODES, "", node) is not None:
                self.kubelet.return_node(node)
        for process in self.alive():
            self.go_on(process)
            for stream in process.streams.values():
                if not stream.connected:
                    stream.relist()

    async def close(self) -> None:
        """End every task of every process, also of killed ones."""
        for process in self.processes.values():
            process.wire.dead = True
        for name in list(self.loop.held):
            self.loop.continue_process(name)
        for _ in range(20):  # what runs `finally` may begin new tasks, and Python 3.11's wait_for can swallow a cancel
            tasks = [task for known in self.loop.tasks.values() for task in known if not task.done()]
            if not tasks:
                return
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=5.0)
        raise AssertionError(f"operator tasks that cannot be cancelled: {tasks}")


def simulate(story: Callable[[SimulationLoop], Coroutine[Any, Any, Any]]) -> Any:
    """Run ``story`` to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=SimulationLoop) as runner:
        return runner.run(_with_loop(story))


async def _with_loop(story: Callable[[SimulationLoop], Coroutine[Any, Any, Any]]) -> Any:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulationLoop)
    return await story(loop)
