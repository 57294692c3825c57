"""On a real API server: examples/gitops as kustomize puts it together, two writers of one object, runs made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiserver.client import NAMESPACES, ApiError, Client, Object, until
from apiserver.control_plane import ControlPlane
from apiserver.runs import states
from apiserver.world import World
from boresight_api.manifest import parse_manifest
from boresight_api.pins import Pin
from boresight_api.plan import plan, sources
from boresight_operator.api import ALIGNMENT_RUNS, EVAL_RUNS
from boresight_operator.names import MANAGER, PROGRESS_MANAGER

REPOSITORY = Path(__file__).parents[2]
EXPERIMENTS = sorted((REPOSITORY / "examples" / "gitops" / "experiments").iterdir())


def built(plane: ControlPlane, folder: Path) -> Object:
    """The one run of an experiment."""
    done = plane.kubectl("kustomize", str(folder))
    assert done.returncode == 0, done.stderr
    found: Object = yaml.safe_load(done.stdout)
    return found


def keys(document: Mapping[str, Any]) -> dict[str, str]:
    """Keys of its stages, if ``prepare`` finds every source as it is now."""
    run = parse_manifest({"apiVersion": document["apiVersion"], "kind": document["kind"], **_bare(document)})
    pins = {s.id: Pin(id=s.id, digest=f"sha256:{s.id * 4}", revision="c" * 40) for s in sources(run)}
    return {stage.name: stage.key or "" for stage in plan(run, pins).stages}


def _bare(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"metadata": document["metadata"], "spec": document["spec"]}


@pytest.fixture(scope="module", autouse=True)
def team(client: Client) -> None:
    client.apply(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-helpful"}})


@pytest.mark.parametrize("folder", EXPERIMENTS, ids=lambda path: path.name)
def test_every_experiment_is_a_run_that_the_api_server_takes(plane: ControlPlane, client: Client, folder: Path) -> None:
    run = built(plane, folder)
    assert run["metadata"]["namespace"] == "team-helpful"
    client.create(ALIGNMENT_RUNS, "team-helpful", run, dryRun="All", fieldValidation="Strict")
    assert all(keys(run).values())


def test_experiments_have_names_of_their_own(plane: ControlPlane) -> None:
    names = {built(plane, folder)["metadata"]["name"] for folder in EXPERIMENTS}
    assert len(names) == len(EXPERIMENTS)


def test_arms_of_a_study_share_what_does_not_differ(plane: ControlPlane) -> None:
    first, second, binary = (
        keys(built(plane, REPOSITORY / "examples" / "gitops" / "experiments" / name))
        for name in ("beta-0.1", "beta-0.3", "binary")
    )
    assert {stage for stage in first if first[stage] == second[stage]} == {"feedback-model", "synthesis"}
    assert set(binary) == {"policy", "evaluation"}


@pytest.mark.usefixtures("no_operator")
def test_a_tool_that_reconciles_the_spec_and_the_operator_never_conflict(plane: ControlPlane, client: Client) -> None:
    """Each applies again and again without force; a field with two owners would be refused with 409."""
    body = built(plane, EXPERIMENTS[0])
    path = ALIGNMENT_RUNS.path("team-helpful", body["metadata"]["name"])

    def apply(manager: str, document: Object, subresource: str = "") -> Object:
        answer: Object = client.call(
            "PATCH", path + subresource, document, query={"fieldManager": manager}, content_type=APPLY
        )
        return answer

    head = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": {"name": body["metadata"]["name"]}}
    versions = set()
    for _ in range(2):
        apply("argocd-controller", body)
        apply(MANAGER, {**head, "status": {"stage": "policy", "conditions": [_condition()]}}, "/status")
        apply(PROGRESS_MANAGER, {**head, "status": {"percent": 62}}, "/status")
        versions.add(apply("argocd-controller", body)["metadata"]["resourceVersion"])
    assert len(versions) == 1  # nobody had anything to change the second time
    with pytest.raises(ApiError, match="conflict"):
        apply("argocd-controller", {**head, "status": {"percent": 1}}, "/status")


# -- runs that are applied again -------------------------------------------------------------------------------------


def trains_nothing(world: World) -> bool:
    """Whether an evaluation that is applied now finds everything in the store, and asks for no device."""
    run = world.evaluation()
    world.kubelet.play(run, "prepare")
    world.await_condition(run, "Succeeded", "True")
    assert states(world.now(run)) == {"prepare": "Succeeded", "evaluation": "Cached"}
    return world.jobs(run, "evaluation") == []


def test_a_run_that_is_deleted_and_applied_again_trains_nothing_twice(world: World) -> None:
    run = world.evaluation()
    world.play(run, "prepare", "evaluation")
    world.await_condition(run, "Succeeded", "True")
    world.delete(run)
    until(lambda: not world.client.list(EVAL_RUNS, world.namespace), "the run is gone")
    assert trains_nothing(world)


def test_a_run_that_is_applied_in_another_namespace_with_the_same_store_trains_nothing_twice(
    world: World, namespaces: Callable[[], str]
) -> None:
    run = world.evaluation()
    world.play(run, "prepare", "evaluation")
    world.await_condition(run, "Succeeded", "True")
    assert trains_nothing(replace(world, namespace=namespaces()))


APPLY = "application/apply-patch+yaml"


def _condition() -> Object:
    times = {"lastTransitionTime": "2026-11-22T00:00:00Z", "observedGeneration": 1}
    return {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", **times}
