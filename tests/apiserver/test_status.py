"""A status that is emptied, or set to plausible lies, at every state: the store and the cluster say what is true."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from apiserver.client import Object, until
from apiserver.kubelet import End
from apiserver.runs import condition_of, stage_of, states
from apiserver.world import World

STATES = ("prepare-running", "running", "succeeded", "failed", "suspended", "waiting")


def bring_to(world: World, run: Object, state: str) -> None:
    """Bring an EvalRun to a state of its evaluation."""
    if state == "prepare-running":
        world.start(run, "prepare")
        return
    world.play(run, "prepare")
    if state == "waiting":
        world.kubelet.unschedulable(world.kubelet.await_pods(run, "evaluation")[0], "no node")
        world.await_stage(run, "evaluation", "Waiting", reason="Unschedulable")
        return
    pod = world.start(run, "evaluation")
    if state == "succeeded":
        world.kubelet.succeed(pod)
        world.await_condition(run, "Succeeded", "True")
    elif state == "failed":
        world.kubelet.end(pod, End(64))
        world.await_stage(run, "evaluation", "Failed")
    elif state == "suspended":
        world.edit(run, suspend=True)
        world.await_stage(run, "evaluation", "Suspended")


def finish(world: World, run: Object) -> None:
    """Let everything that comes succeed until the run has."""
    world.edit(run, suspend=False)

    def step() -> bool:
        now = world.now(run)
        for pod in world.kubelet.pods(run):
            alive = pod["status"].get("phase", "Pending") in {"Pending", "Running"}
            if alive and not pod["metadata"].get("deletionTimestamp"):
                world.kubelet.run(pod)
                world.kubelet.succeed(pod)
        keyed = {state for name, state in states(now).items() if name != "prepare"}  # a finished run needs no prepare
        done = keyed <= {"Succeeded", "Cached"}
        return done and condition_of(now, "Succeeded").get("status") == "True"

    until(step, "the run succeeds", seconds=30, every=0.2)


@pytest.mark.parametrize("state", [state for state in STATES if state != "failed"])
def test_an_emptied_status_costs_no_second_training(world: World, state: str) -> None:
    run = world.evaluation(state)
    bring_to(world, run, state)
    jobs_before = len(world.jobs(run, "evaluation"))
    world.write_status(run, None)
    world.await_run(run, lambda run: run.get("status", {}).get("stages"), "a status again")
    finish(world, run)
    now = world.now(run)
    assert states(now)["evaluation"] in {"Succeeded", "Cached"}
    assert now["status"]["sources"], "its sources are pinned"
    extra = 1 if state in {"prepare-running", "suspended"} else 0
    assert len(world.jobs(run, "evaluation")) <= max(jobs_before, 1) + extra
    attempts = [job["metadata"]["labels"]["boresight.dev/attempt"] for job in world.jobs(run, "evaluation")]
    assert len(attempts) == len(set(attempts)), "no number is used twice"


LIES: dict[str, Callable[[Object], None]] = {
    "done-without-artifact": lambda status: stage_of({"status": status}, "evaluation").update(state="Succeeded"),
    "another-attempt": lambda status: stage_of({"status": status}, "evaluation").update(attempt=7, state="Starting"),
    "nobodys-job": lambda status: stage_of({"status": status}, "evaluation").update(
        jobUID="00000000-0000-0000-0000-000000000000", state="Running", attempt=1
    ),
    "another-key": lambda status: stage_of({"status": status}, "evaluation").update(
        key="0" * 64,
        state="Succeeded",
        artifact={"uri": "s3://alignment/test/artifacts/" + "0" * 64, "digest": "sha256:" + "0" * 64},
    ),
    "pending": lambda status: stage_of({"status": status}, "evaluation").update(
        state="Pending", reason=None, attempt=None
    ),
    "no-sources": lambda status: status.update(sources=[]),
    "no-plan": lambda status: status.update(plan=None, prepared=None),
    "ended": lambda status: status.update(
        conditions=[{**c, "status": "True"} if c["type"] == "Succeeded" else c for c in status["conditions"]]
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_plausible_lie_ends_in_the_truth(world: World, lie: str) -> None:
    run = world.evaluation(lie)
    bring_to(world, run, "running")
    status = copy.deepcopy(world.now(run)["status"])
    LIES[lie](status)
    world.write_status(run, without_nones(status))
    finish(world, run)
    now = world.now(run)
    stage = stage_of(now, "evaluation")
    assert stage["state"] in {"Succeeded", "Cached"}
    assert stage["artifact"]["uri"].endswith(stage["key"])
    assert stage["artifact"]["uri"] in world.kubelet.store.artifacts, "what it says to have exists"
    live = [
        pod for pod in world.kubelet.pods(run, "evaluation") if pod["status"].get("phase") in {"Pending", "Running"}
    ]
    assert live == []


def without_nones(value: object) -> object:
    if isinstance(value, dict):
        return {name: without_nones(item) for name, item in value.items() if item is not None}
    return [without_nones(item) for item in value] if isinstance(value, list) else value
