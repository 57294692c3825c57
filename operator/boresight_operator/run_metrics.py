"""Metrics with runs' names in their labels: conditions, and the figures of finished stages.

Both are capped, so the number of series is bounded however many runs there are; what a cap leaves out is counted.

Pods of finished stages are gone before anybody scrapes them for their last numbers; here the numbers stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import nlargest

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .figures import FinishedStage
from .siblings import Standing

RUN = ("namespace", "kind", "run")
RESULT = (*RUN, "suite", "name", "candidate", "baseline")

Finished = tuple[Standing, FinishedStage]


class RunMetrics(Collector):
    """What the cache has when it is scraped."""

    def __init__(self, standings: Callable[[], Iterable[tuple[str, Standing]]], *, runs: int, stages: int) -> None:
        """``runs`` and ``stages``: of how many runs and finished stages there are series at most."""
        self._standings = standings
        self._runs = runs
        self._stages = stages

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = [standing for _, standing in self._standings() if standing.conditions]
        shown = nlargest(self._runs, found, key=_urgency)
        yield _conditions(shown)
        text = "Runs without series of their conditions, because of metricsRuns."
        yield GaugeMetricFamily("boresight_runs_left_out", text, value=len(found) - len(shown))

        finished = [(standing, stage) for standing in found for stage in standing.finished]
        last = nlargest(self._stages, finished, key=lambda item: item[1].completed)
        yield _stage_metrics(last)
        yield from _results(last)
        text = "Finished stages without series of their figures, because of metricsStages."
        yield GaugeMetricFamily("boresight_stages_left_out", text, value=len(finished) - len(last))


def _urgency(standing: Standing) -> tuple[bool, bool, float]:
    """Stalled runs first, then those that go on, then those that are through; of each the youngest."""
    status = {condition.type: condition.status for condition in standing.conditions}
    return status.get("Stalled") == "True", status.get("Succeeded") != "True", standing.created


def _conditions(runs: Iterable[Standing]) -> GaugeMetricFamily:
    text = "1 for each condition of a run, with its present status and reason."
    family = GaugeMetricFamily("boresight_run_condition", text, labels=(*RUN, "type", "status", "reason"))
    for run in runs:
        for condition in run.conditions:
            family.add_metric((*_name(run), condition.type, condition.status, condition.reason), 1)
    return family


def _stage_metrics(finished: Iterable[Finished]) -> GaugeMetricFamily:
    text = "Headline metrics of stages that finished."
    family = GaugeMetricFamily("boresight_stage_metric", text, labels=(*RUN, "stage", "name"))
    for run, stage in finished:
        for name, value in stage.metrics:
            family.add_metric((*_name(run), stage.name, name), value)
    return family


def _results(finished: Iterable[Finished]) -> Iterator[GaugeMetricFamily]:
    value = GaugeMetricFamily("boresight_evaluation_result", "Lines of evaluations that finished.", labels=RESULT)
    low, high = (
        GaugeMetricFamily(f"boresight_evaluation_result_{end}", f"The {end} end of the 95% interval.", labels=RESULT)
        for end in ("low", "high")
    )
    for run, stage in finished:
        for result in stage.results:
            labels = (*_name(run), result.suite, result.name, result.candidate, result.baseline)
            for family, number in ((value, result.value), (low, result.low), (high, result.high)):
                if number is not None:
                    family.add_metric(labels, number)
    yield from (value, low, high)


def _name(run: Standing) -> tuple[str, str, str]:
    return run.namespace, run.kind, run.name
