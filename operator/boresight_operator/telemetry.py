"""The operator's own metrics, and whether it is healthy. The number of series is bounded: a run's name is in the labels
of :mod:`.run_metrics` alone, which are capped."""

from __future__ import annotations

import asyncio
import platform
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from typing import Protocol

from aiohttp import web
from boresight_api.outcome import FailureClass
from boresight_api.status import StageStateName
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .api import WATCHED
from .run_metrics import RunMetrics
from .siblings import Standing

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STAGES = frozenset({"prepare", "warm-start", "feedback-model", "synthesis", "reward-model", "policy", "evaluation"})
"""Names that are labels; what else a status may say is ``other``."""
STATES, FAILURES = frozenset(StageStateName), frozenset(FailureClass)


class Telemetry:
    """All metrics that are counted; what can be looked up is looked up when it is scraped (:meth:`watch`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.reconciles = Histogram(
            "boresight_reconcile_seconds",
            "Time of one reconcile of one run, by result (done, conflict, refused, unavailable, lease_over, error).",
            ["result"],
            buckets=SECONDS,
            registry=registry,
        )
        self.requests = Counter(
            "boresight_api_requests",
            "Requests to the API server; code 0 is a request that got no answer.",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "boresight_api_request_seconds", "Time of requests.", ["verb"], buckets=SECONDS, registry=registry
        )
        self.events_failed = Counter("boresight_events_failed", "Events that could not be posted.", registry=registry)
        self.polls = Counter(
            "boresight_progress_polls", "Polls of running stages' progress.", ["result"], registry=registry
        )
        build = Gauge("boresight_operator_build_info", "Always 1.", ["version", "kopf", "python"], registry=registry)
        build.labels(version("boresight"), version("kopf"), platform.python_version()).set(1)
        self._renewed: float | None = None
        self._watched: dict[str, float] = {}

    def request(self, verb: str, plural: str, code: int, seconds: float) -> None:
        """One request is over: the hook of the client and the elector."""
        self.requests.labels(verb, plural, str(code)).inc()
        self.request_seconds.labels(verb).observe(seconds)
        if plural == "leases" and verb in {"create", "update"} and 200 <= code < 300:
            self._renewed = asyncio.get_running_loop().time()

    def watch_event(self, plural: str) -> None:
        """Something came by watch."""
        self._watched[plural] = asyncio.get_running_loop().time()

    def watch(
        self,
        *,
        depth: Callable[[], float],
        delayed: Callable[[], float],
        oldest_age: Callable[[], float],
        list_age: Callable[[str], float],
        leading: Callable[[], bool],
        standings: Callable[[], Iterable[tuple[str, Standing]]],
        runs: int,
        stages: int,
    ) -> None:
        """Where to look when somebody scrapes. Ages are in seconds; of what never happened they are infinite.

        ``runs`` and ``stages``: how many runs and finished stages have series of their own (:mod:`.run_metrics`).
        """
        self._look_up("boresight_queue_depth", "Runs that wait for a worker.", depth)
        self._look_up("boresight_queue_delayed", "Runs that wait for their time.", delayed)
        self._look_up("boresight_queue_oldest_seconds", "Wait of the first in the queue.", oldest_age)
        self._look_up("boresight_leader", "1 if this process may write.", lambda: float(leading()))
        renewed = "Since the Lease was last renewed."
        self._look_up("boresight_lease_renewed_seconds", renewed, lambda: _age(self._renewed))
        lists = Gauge("boresight_list_age_seconds", "Since the last full list.", ["resource"], registry=self.registry)
        text = "Since the last watch event."
        events = Gauge("boresight_watch_age_seconds", text, ["resource"], registry=self.registry)
        for plural in (resource.plural for resource in WATCHED):
            lists.labels(plural).set_function(partial(list_age, plural))
            events.labels(plural).set_function(partial(self._watch_age, plural))
        self.registry.register(_Stages(standings))
        self.registry.register(RunMetrics(standings, runs=runs, stages=stages))

    def _look_up(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(value)

    def _watch_age(self, plural: str) -> float:
        return _age(self._watched.get(plural))


class _Stages(Collector):
    """Stages by state, and the failures in their histories, as the cache has them when it is scraped."""

    def __init__(self, standings: Callable[[], Iterable[tuple[str, Standing]]]) -> None:
        self._standings = standings

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = [standing for _, standing in self._standings()]
        states: Tally[tuple[str, str]] = Tally(
            (_known(stage, STAGES), _known(state, STATES)) for run in found for stage, state in run.stages
        )
        failures: Tally[tuple[str, str]] = Tally(
            (_known(stage, STAGES), _known(failure, FAILURES)) for run in found for stage, failure in run.failures
        )
        runs = Tally(run.kind for run in found)
        yield _family("boresight_runs", "Runs.", ("kind",), {(kind,): count for kind, count in runs.items()})
        yield _family("boresight_stages", "Stages of all runs by state.", ("stage", "state"), states)
        text = "Failed attempts in the histories of all runs."
        yield _family("boresight_stage_failures", text, ("stage", "failure_class"), failures)


class _Collected(Collector):
    """What was collected already."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


class Health(Protocol):
    """What the probes ask."""

    def not_ready(self) -> Sequence[str]:
        """Why this process is not ready to work; empty if it is."""
        ...

    def unhealthy(self) -> Sequence[str]:
        """Why this process should be restarted; empty if it should not."""
        ...


async def serve(registry: CollectorRegistry, health: Health, port: int) -> tuple[web.AppRunner, int]:
    """/metrics, /healthz and /readyz on ``port`` (0: any free one of the loopback). Raises OSError if it is taken.

    Returns the runner (``await runner.cleanup()`` ends it) and the port.
    """

    async def metrics(_: web.Request) -> web.Response:
        found = _Collected(list(registry.collect()))
        # Thousands of lines are written beside the loop: it must not stand still for them at every scrape.
        body = await asyncio.to_thread(generate_latest, found)
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def ready(_: web.Request) -> web.Response:
        return _verdict(health.not_ready())

    async def healthy(_: web.Request) -> web.Response:
        return _verdict(health.unhealthy())

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/readyz", ready), web.get("/healthz", healthy)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    # All addresses of both families; "any port" would be another one for each.
    await web.TCPSite(runner, None if port else "127.0.0.1", port, reuse_address=True).start()
    return runner, int(runner.addresses[0][1])


def _verdict(faults: Sequence[str]) -> web.Response:
    return web.Response(status=503 if faults else 200, text="".join(f"{fault}\n" for fault in faults) or "ok\n")


def _age(since: float | None) -> float:
    return float("inf") if since is None else asyncio.get_running_loop().time() - since


def _known(word: str, words: frozenset[str]) -> str:
    return word if word in words else "other"


def _family(
    name: str, text: str, labels: tuple[str, ...], values: dict[tuple[str, ...], int] | Tally[tuple[str, str]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for labelled, value in sorted(values.items()):
        family.add_metric(labelled, value)
    return family
