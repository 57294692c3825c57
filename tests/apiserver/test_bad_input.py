"""What users, hands, clocks and old releases do wrong: a condition with a useful message, and nobody else is slower."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from apiserver.client import CRDS, ApiError, until
from apiserver.control_plane import ControlPlane
from apiserver.crds import CRD_FILES, install_crds
from apiserver.kubelet import End
from apiserver.runs import condition_of, stage_of, states
from apiserver.world import World


def test_a_run_without_a_store_says_so(world: World) -> None:
    """Here the namespace's settings name one, so a folder that no volume holds takes its place."""
    run = world.evaluation(storage={"uri": "file:///nowhere"})
    found = world.await_condition(run, "Stalled", "True")
    message = found["message"] + condition_of(world.now(run), "Accepted")["message"]
    assert "spec.storage.uri" in message
    assert world.jobs(run) == []


def test_an_image_that_is_not_allowed_is_refused_with_its_field(world: World) -> None:
    run = world.evaluation(compute={"podTemplate": {"image": "evil:1"}})
    world.await_condition(run, "Accepted", "False")
    assert "spec.compute.podTemplate.image" in str(world.now(run)["status"]["conditions"])


def test_a_longest_name_fits_everywhere(world: World) -> None:
    run = world.synthesis("n" * 63, compute={"nodes": 2})
    world.play(run, "prepare")
    world.kubelet.await_pods(run, "synthesis", count=2)
    assert all(len(job["metadata"]["name"]) <= 52 for job in world.jobs(run))


def test_a_name_that_is_too_long_is_refused_at_once(world: World) -> None:
    with pytest.raises(ApiError, match="at most 63 characters"):
        world.evaluation("n" * 64)


def test_a_pod_that_claims_another_key_is_not_believed(world: World) -> None:
    run = world.evaluation(retry={"error": 0})
    world.play(run, "prepare")
    pod = world.start(run, "evaluation")
    outcome = world.kubelet.outcome(pod)
    other = outcome.model_copy(update={"key": "f" * 64})
    world.kubelet.end(pod, End(0, other.to_bytes().decode()))
    stage = world.await_run(run, lambda run: stage_of(run, "evaluation").get("history"), "the attempt's end")
    assert "artifact" not in stage_of(stage, "evaluation")
    assert states(stage)["evaluation"] != "Succeeded"


def test_an_exit_of_zero_with_rubbish_is_no_success(world: World) -> None:
    run = world.evaluation(retry={"error": 0})
    world.play(run, "prepare")
    world.kubelet.end(world.start(run, "evaluation"), End(0, "x" * 5000))
    run = world.await_run(run, lambda run: stage_of(run, "evaluation").get("history"), "the attempt's end")
    assert states(run)["evaluation"] != "Succeeded"


def test_a_prepare_that_reports_another_plan_is_not_believed(world: World) -> None:
    run = world.evaluation()
    pod = world.start(run, "prepare")
    outcome = world.kubelet.outcome(pod)
    assert outcome.prepare is not None
    lie = outcome.model_copy(update={"prepare": outcome.prepare.model_copy(update={"plan": "a" * 64})})
    world.kubelet.end(pod, End(0, lie.to_bytes().decode()))
    run = world.await_run(run, lambda run: stage_of(run, "prepare").get("history"), "the attempt's end")
    assert states(run).get("evaluation") != "Starting"
    assert world.jobs(run, "evaluation") == []


def test_clocks_of_nodes_that_are_wrong_do_no_harm(world: World) -> None:
    """The kubelet of the pod lives a day ahead, then a day behind."""
    run = world.evaluation()
    for stage, days in (("prepare", 1), ("evaluation", -1)):
        (pod,) = world.kubelet.await_pods(run, stage)
        world.kubelet.clock = lambda days=days: datetime.now(UTC) + timedelta(days=days)
        world.kubelet.run(pod)
        world.await_stage(run, stage, "Running")
        world.kubelet.succeed(pod)
        world.await_stage(run, stage, "Succeeded")
    now = world.now(run)["status"]
    assert now.get("deviceSeconds", 0) < 60
    assert all(stage.get("deviceSeconds", 0) < 60 for stage in now["stages"])


def test_fifty_wrong_runs_do_not_hold_up_a_right_one(world: World) -> None:
    wrong = [world.evaluation(f"wrong-{n}", storage={"uri": "file:///nowhere"}) for n in range(50)]
    run = world.evaluation("right")
    started = time.monotonic()
    world.kubelet.await_pods(run, "prepare")
    assert time.monotonic() - started < 5
    world.await_condition(wrong[-1], "Stalled", "True")


@pytest.mark.parametrize("removed", ["status.prepared", "status.stages[].since"])
def test_crds_older_than_the_operator_stop_it_with_a_message(plane: ControlPlane, world: World, removed: str) -> None:
    """An older CRD has no such field: what the operator writes would vanish. It says so and does no harm."""
    crd = yaml.safe_load(next(path for path in CRD_FILES if "evalruns" in path.name).read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    if removed == "status.prepared":
        del schema["properties"]["prepared"]
    else:
        schema["properties"]["stages"]["items"]["properties"].pop("since", None)
    world.operator.kill()
    client = plane.client()
    client.apply(CRDS, None, crd)
    try:
        _wait_for_schema(plane, client, removed)
        world.operator.start(wait=False)
        run = world.evaluation()
        older = "CustomResourceDefinition evalruns.boresight.dev is older than this operator: install the CRDs"
        until(lambda: world.operator.said(older), "the log says so", seconds=20)
        time.sleep(1)
        assert len(world.jobs(run)) <= 1
        install_crds(client)
        world.kubelet.await_pods(run, "prepare")  # backing off by then, and no restart is needed
    finally:
        world.operator.kill()
        install_crds(client)


def _wait_for_schema(plane, client, removed: str) -> None:  # type: ignore[no-untyped-def]
    field = removed.rpartition(".")[2]
    path = "/openapi/v3/apis/boresight.dev/v1alpha1"

    def without() -> bool:
        schemas = client.call("GET", path)["components"]["schemas"]
        status = schemas["dev.boresight.v1alpha1.EvalRun"]["properties"]["status"]["properties"]
        found = status if field == "prepared" else status["stages"]["items"]["properties"]
        return field not in found

    until(without, "the older CRD is served")
