"""What /metrics shows of single runs: conditions and the figures of finished stages, capped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from boresight_operator.api import ALIGNMENT_RUNS
from boresight_operator.cache import Cache
from boresight_operator.observe import run_view
from boresight_operator.run_metrics import RunMetrics
from boresight_operator.settings import NamespaceSettings
from boresight_operator.siblings import Siblings
from boresight_operator.views import RunView
from builders_manifests import an_alignment_run
from builders_operator import World, a_run, metric
from prometheus_client import CollectorRegistry
from unit.operator.decide.test_situations import SITUATIONS

Labels = dict[str, str]


class Cluster:
    """Runs as the cache has them, and what a scrape finds."""

    def __init__(self, *, runs: int = 100, stages: int = 100) -> None:
        self.cache = Cache()
        settings = NamespaceSettings(storage={"uri": "s3://store"})
        self.siblings = Siblings(self.cache, lambda _: settings, lambda uid, stages: 0, lambda uid: None)
        self.registry = CollectorRegistry()
        self.registry.register(RunMetrics(self.siblings.all, runs=runs, stages=stages))
        self._version = 0

    def put(self, name: str, status: Mapping[str, Any], *, created: int = 0) -> RunView:
        """Store a run, made in that minute."""
        self._version += 1
        metadata = {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "generation": 1,
            "resourceVersion": str(self._version),
            "creationTimestamp": f"2027-01-15T08:{created:02d}:00Z",
        }
        document = {**an_alignment_run(), "metadata": metadata, "status": dict(status)}
        self.cache.observe(ALIGNMENT_RUNS, "MODIFIED", document)
        self.siblings.changed(f"uid-{name}")
        return run_view(document)

    def series(self, name: str) -> Iterator[tuple[Labels, float]]:
        """Of one metric."""
        for family in self.registry.collect():
            yield from ((sample.labels, sample.value) for sample in family.samples if sample.name == name)

    def runs(self) -> set[str]:
        """Those with series of their conditions."""
        return {labels["run"] for labels, _ in self.series("boresight_run_condition")}

    def value(self, name: str) -> float:
        """Of a metric without labels."""
        ((_, value),) = self.series(name)
        return value


def status_of(world: World) -> dict[str, Any]:
    status: dict[str, Any] = world.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return status


def stage(name: str, completed: str, **metrics: str) -> dict[str, Any]:
    numbers = [{"name": metric, "value": value} for metric, value in metrics.items()]
    return {"name": name, "state": "Succeeded", "completionTime": f"2027-01-15T{completed}Z", "metrics": numbers}


A_CONDITION = {"conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}]}


# -- conditions ------------------------------------------------------------------------------------------------------


def test_each_condition_is_one_series_with_its_present_status_and_reason() -> None:
    cluster, world = Cluster(), SITUATIONS["Diverged"]()
    cluster.put("first", status_of(world))
    found = list(cluster.series("boresight_run_condition"))
    run = {"namespace": "team", "kind": "AlignmentRun", "run": "first"}
    written = [
        ({**run, "type": c.type, "status": c.status.value, "reason": c.reason}, 1.0) for c in world.status.conditions
    ]
    assert found == written
    assert ({**run, "type": "Stalled", "status": "True", "reason": "Diverged"}, 1.0) in found


def test_a_condition_that_changes_leaves_no_series_of_what_it_was() -> None:
    cluster, world = Cluster(), a_run()
    for _ in range(2):
        cluster.put("first", status_of(world.settle()))
        world.runs("prepare")
    types = [labels["type"] for labels, _ in cluster.series("boresight_run_condition")]
    assert len(types) == len(set(types)) == len(world.status.conditions)


def test_a_run_that_is_being_decided_on_keeps_its_series() -> None:
    cluster, world = Cluster(), a_run()
    run = cluster.put("first", status_of(world.settle()))
    before = list(cluster.series("boresight_run_condition"))
    cluster.siblings.reserve(run, world.status)
    assert list(cluster.series("boresight_run_condition")) == before != []


def test_conditions_that_somebody_else_writes_are_no_series() -> None:
    cluster = Cluster()
    foreign = {"type": "Reviewed", "status": "True", "reason": "ByHand"}
    cluster.put("first", {"conditions": [*A_CONDITION["conditions"], foreign]})
    assert [labels["type"] for labels, _ in cluster.series("boresight_run_condition")] == ["Accepted"]


def test_a_run_without_a_status_is_neither_shown_nor_left_out() -> None:
    cluster = Cluster(runs=0)
    cluster.put("new", {})
    assert (cluster.runs(), cluster.value("boresight_runs_left_out")) == (set(), 0)


def test_the_cap_keeps_stalled_runs_then_those_that_go_on_then_the_youngest() -> None:
    statuses = {name: status_of(SITUATIONS[name]()) for name in ("Diverged", "Running", "Succeeded")}
    order = [("stalled", "Diverged", 0), ("going", "Running", 1), ("young", "Succeeded", 9), ("old", "Succeeded", 8)]
    for cap in range(5):
        cluster = Cluster(runs=cap)
        for name, situation, created in reversed(order):
            cluster.put(name, statuses[situation], created=created)
        assert cluster.runs() == {name for name, *_ in order[:cap]}
        assert cluster.value("boresight_runs_left_out") == len(order) - cap


# -- figures ---------------------------------------------------------------------------------------------------------


def test_headline_metrics_stay_after_the_pods() -> None:
    cluster, world = Cluster(), a_run().settle()
    world.runs("prepare").succeeds("prepare")
    world.runs("feedback-model").succeeds("feedback-model", metrics=(metric("holdoutLoss", "1.25"),))
    cluster.put("first", status_of(world))
    labels = {"namespace": "team", "kind": "AlignmentRun", "run": "first"}
    assert list(cluster.series("boresight_stage_metric")) == [
        ({**labels, "stage": "feedback-model", "name": "holdoutLoss"}, 1.25)
    ]


def test_results_of_an_evaluation_come_with_their_interval() -> None:
    cluster = Cluster()
    line = {"suite": "Pairwise", "name": "winRate", "candidate": "policy", "baseline": "initial", "n": 64}
    results = [{**line, "value": "0.61", "low": "0.52", "high": "0.7"}, {**line, "name": "ties", "value": "0.1"}]
    evaluation = stage("evaluation", "09:00:00", winRateVsInitial="0.61")
    cluster.put("first", {**A_CONDITION, "stages": [evaluation], "results": results})
    base = {"namespace": "team", "kind": "AlignmentRun", "run": "first"}
    labels = {**base, "suite": "Pairwise", "name": "winRate", "candidate": "policy", "baseline": "initial"}
    assert list(cluster.series("boresight_evaluation_result")) == [(labels, 0.61), ({**labels, "name": "ties"}, 0.1)]
    assert list(cluster.series("boresight_evaluation_result_low")) == [(labels, 0.52)]
    assert list(cluster.series("boresight_evaluation_result_high")) == [(labels, 0.7)]


def test_results_of_an_evaluation_that_is_to_be_made_again_are_not_shown() -> None:
    cluster = Cluster()
    line = {"suite": "Pairwise", "name": "winRate", "candidate": "policy", "baseline": "initial", "value": "0.61"}
    running = {"name": "evaluation", "state": "Running"}
    cluster.put("first", {**A_CONDITION, "stages": [running], "results": [line]})
    assert list(cluster.series("boresight_evaluation_result")) == []


def test_the_cap_keeps_the_stages_that_finished_last() -> None:
    cluster = Cluster(stages=2)
    cluster.put(
        "a", {**A_CONDITION, "stages": [stage("policy", "08:00:00", loss="1"), stage("evaluation", "10:00:00", n="2")]}
    )
    cluster.put("b", {**A_CONDITION, "stages": [stage("policy", "09:00:00", loss="3"), stage("prepare", "11:00:00")]})
    shown = {(labels["run"], labels["stage"]) for labels, _ in cluster.series("boresight_stage_metric")}
    assert shown == {("a", "evaluation"), ("b", "policy")}
    assert cluster.value("boresight_stages_left_out") == 1


def test_what_is_no_number_in_a_status_edited_by_hand_is_left_out() -> None:
    cluster = Cluster()
    edited = stage("policy", "08:00:00", loss="low", gap="inf", pairs="7")
    edited["metrics"] += [{"name": "pairs", "value": "8"}, {"name": "none"}]
    cluster.put("first", {**A_CONDITION, "stages": [edited, {**edited, "completionTime": "once"}]})
    assert [(labels["name"], value) for labels, value in cluster.series("boresight_stage_metric")] == [("pairs", 8.0)]
