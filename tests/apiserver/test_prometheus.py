"""A real Prometheus beside the operator and a stage: what dashboards and alerts ask for is there, with its names."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from apiserver.client import Client, Object, until
from apiserver.control_plane import ADMIN, ControlPlane, Process, free_port
from apiserver.kubelet import End, Kubelet, Store, failure
from apiserver.operator_process import OperatorProcess
from apiserver.prometheus_server import PrometheusServer, of_pods, of_service
from apiserver.world import World
from boresight_api.outcome import FailureClass, SuiteResult
from builders_chart import VALUES
from kits.chart import CHART, NAMESPACE, Helm
from kits.monitoring_programs import PROMETHEUS
from kits.programs import HELM, executable

STAGE_PROCESS = Path(__file__).with_name("stage_process.py")
STAGE_HOST = "127.0.0.2"
"""Of the one pod that is scraped; other tests' pods have another address."""
DASHBOARDS = [json.loads(path.read_text()) for path in sorted((CHART / "files" / "dashboards").glob("*.json"))]
PANELS = [
    pytest.param(target["expr"], id=f"{dashboard['title']}: {panel['title']} {target['refId']}")
    for dashboard in DASHBOARDS
    for panel in dashboard["panels"]
    for target in panel["targets"]
]
WIN_RATE = SuiteResult(
    suite="Pairwise", name="winRate", candidate="policy", baseline="initial", value="0.61", low="0.52", high="0.7", n=64
)


@dataclass(frozen=True)
class Scene:
    """One run whose stage runs, one that was judged, and one that is stalled."""

    prometheus: PrometheusServer
    namespace: str
    running: Object
    judged: Object
    stalled: Object


@pytest.fixture(scope="module")
def scene(
    plane: ControlPlane,
    client: Client,
    kubelet: Kubelet,
    one_operator: OperatorProcess,
    namespaces: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    """Everything at work, and scraped as the chart says."""
    kubelet.store = Store()
    world = World(client, namespaces(), kubelet, one_operator.start())
    folder = tmp_path_factory.mktemp("prometheus")
    rendering = Helm(executable(HELM, print), folder).render(VALUES["monitored"])
    port = free_port()
    scrapes = [
        of_pods(rendering.one("PodMonitor"), plane.kubeconfig("prometheus", ADMIN), {STAGE_HOST: port}),
        of_service(rendering.one("ServiceMonitor"), world.operator.address, NAMESPACE),
    ]
    with PrometheusServer(executable(PROMETHEUS, print), folder, rendering, scrapes) as prometheus:
        prometheus.await_series("boresight_leader")  # rates are of what happens from now on
        running, process = _run(world, folder, port)
        try:
            yield Scene(prometheus, world.namespace, running, _judge(world), _stall(world))
        finally:
            process.kill()


def _run(world: World, folder: Path, port: int) -> tuple[Object, Process]:
    """A run whose feedback model is trained, by a process that listens on ``port``."""
    run = world.alignment("running")
    world.play(run, "prepare")
    (pod,) = world.kubelet.await_pods(run, "feedback-model")
    document = world.kubelet.document(pod)
    told = (STAGE_HOST, str(port), "feedback-model", document.key or "", pod["metadata"]["uid"])
    process = Process("stage", (sys.executable, STAGE_PROCESS, *told), folder / "stage.log")
    until(lambda: _serves(process), "the stage's process serves its progress")
    world.kubelet.run(pod, ip=STAGE_HOST)
    return run, process


def _serves(process: Process) -> bool:
    """Raises RuntimeError with its log if it has ended."""
    process.check()
    return "serving" in process.tail()


def _judge(world: World) -> Object:
    """An evaluation that has ended, and with it its pods."""
    run = world.evaluation("judged")
    world.play(run, "prepare")
    pod = world.start(run, "evaluation")
    outcome = world.kubelet.outcome(pod).model_copy(update={"results": (WIN_RATE,)})
    world.kubelet.end(pod, End(0, outcome.to_bytes().decode()))
    world.await_condition(run, "Succeeded", "True")
    return run


def _stall(world: World) -> Object:
    """A run whose data cannot be used."""
    run = world.synthesis("stalled")
    pod = world.start(run, "prepare")
    world.kubelet.end(pod, failure("prepare", FailureClass.INVALID_DATA, "prompts.jsonl, row 7: found no prompt"))
    world.await_condition(run, "Stalled", "True")
    return run


@pytest.mark.parametrize("expression", PANELS)
def test_every_panel_of_the_dashboards_has_data(scene: Scene, expression: str) -> None:
    for variable in ("$namespace", "$run", "$stage"):
        expression = expression.replace(variable, ".*")

    def numbers() -> list[float]:
        return [value for _, value in scene.prometheus.query(expression) if not math.isnan(value)]

    assert until(numbers, f"data of {expression}", seconds=40)


def test_dashboards_offer_the_runs_that_there_are(scene: Scene) -> None:
    (runs,) = (dashboard for dashboard in DASHBOARDS if dashboard["uid"] == "boresight-runs")
    offered = {}
    for variable in runs["templating"]["list"]:
        if variable["type"] == "query":
            series, _, label = variable["query"]["query"].removeprefix("label_values(").rstrip(")").rpartition(", ")
            series = series.replace("$namespace", scene.namespace).replace("$run", "running")
            offered[variable["name"]] = set(scene.prometheus.get(f"label/{label}/values", **{"match[]": series}))
    assert scene.namespace in offered["namespace"]
    assert offered["run"] == {"running", "judged", "stalled"}
    assert offered["stage"] == {"feedback-model"}


def test_series_of_a_stage_have_the_names_on_its_pod(scene: Scene) -> None:
    ((labels, _),) = scene.prometheus.await_series(f'boresight_train_loss{{namespace="{scene.namespace}"}}')
    told = {name: labels[name] for name in ("namespace", "run", "stage", "attempt")}
    assert told == {"namespace": scene.namespace, "run": "running", "stage": "feedback-model", "attempt": "1"}


def test_series_of_a_run_have_its_namespace_not_the_operator_s(scene: Scene) -> None:
    selected = f'boresight_run_condition{{namespace="{scene.namespace}", type="Stalled", status="True"}}'
    ((labels, value),) = scene.prometheus.await_series(selected)
    assert (labels["kind"], labels["run"], labels["reason"], value) == (
        "FeedbackSynthesis",
        "stalled",
        "InvalidData",
        1,
    )
    ((leader, _),) = scene.prometheus.query("boresight_leader")
    assert leader["namespace"] == NAMESPACE


def test_the_win_rate_stays_when_the_pod_that_found_it_has_ended(scene: Scene) -> None:
    selected = f'{{__name__=~"boresight_evaluation_result.*", namespace="{scene.namespace}", name="winRate"}}'
    found = scene.prometheus.await_series(selected)
    assert {labels["run"] for labels, _ in found} == {"judged"}
    assert {labels["__name__"].removeprefix("boresight_evaluation_result"): value for labels, value in found} == {
        "": 0.61,
        "_low": 0.52,
        "_high": 0.7,
    }


def test_every_alert_is_evaluated_and_the_stalled_run_is_about_to_fire(scene: Scene) -> None:
    def rules() -> list[Object]:
        found = [rule for group in scene.prometheus.get("rules")["groups"] for rule in group["rules"]]
        return [] if any(rule["health"] == "unknown" for rule in found) else found

    found = until(rules, "every rule is evaluated")
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"] == []

    def pending() -> bool:
        alerts = scene.prometheus.get("alerts")["alerts"]
        return any(
            alert["labels"]["alertname"] == "BoresightRunStalled" and alert["labels"]["run"] == "stalled"
            for alert in alerts
        )

    assert until(pending, "BoresightRunStalled of run stalled")
