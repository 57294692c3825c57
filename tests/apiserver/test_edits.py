"""Every pair of what is edited and where the stage stands: one run for each, side by side, played to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from apiserver.client import Object, until
from apiserver.runs import condition_of, stage_of, states, summary
from apiserver.world import World

STATES = ("preparing", "waiting", "running", "succeeded", "suspended")


@dataclass(frozen=True)
class Edit:
    """A class of fields."""

    spec: dict[str, Any]
    new_key: bool
    """Whether the evaluation has another key after it."""
    keeps_attempt: bool
    """Whether an attempt that runs (or waits for a node) goes on as it is."""


EDITS = {
    "parameter": Edit({"seed": 7}, new_key=True, keeps_attempt=False),
    "source": Edit({"candidate": {"uri": "hf://a/other"}}, new_key=True, keeps_attempt=False),
    "storage": Edit({"storage": {"uri": "s3://alignment/elsewhere-{state}"}}, new_key=False, keeps_attempt=True),
    "compute": Edit({"compute": {"resources": {"requests": {"cpu": "3"}}}}, new_key=False, keeps_attempt=True),
    "retries": Edit({"retry": {"error": 3}}, new_key=False, keeps_attempt=True),
    "retention": Edit({"retainPodsSeconds": 3600}, new_key=False, keeps_attempt=True),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_at_every_state_ends_in_the_right_place(world: World, name: str) -> None:
    edit = EDITS[name]
    runs = {state: world.evaluation(state, storage={"uri": f"s3://alignment/{state}"}) for state in STATES}
    for state, run in runs.items():
        BRING[state](world, run)
    before = {state: stage_of(world.now(run), "evaluation") for state, run in runs.items()}
    for state, run in runs.items():
        world.edit(run, **filled(edit.spec, state))
    for run in runs.values():
        world.await_run(run, lambda run: run["status"]["observedGeneration"] == run["metadata"]["generation"], "seen")
    finish(world, list(runs.values()))
    for state, run in runs.items():
        now = stage_of(world.now(run), "evaluation")
        told = f"{name} while {state}: {summary(world.now(run))}"
        assert now["state"] in {"Succeeded", "Cached"}, told
        if "key" in before[state]:
            assert (now["key"] != before[state]["key"]) is edit.new_key, told
        if edit.keeps_attempt and name != "storage" and state in {"waiting", "running", "succeeded"}:
            assert now["attempt"] == before[state]["attempt"], told
        if edit.new_key and state in {"waiting", "running", "succeeded"}:
            assert now["attempt"] > before[state]["attempt"], told
        attempts = [job["metadata"]["labels"]["boresight.dev/attempt"] for job in world.jobs(run, "evaluation")]
        assert len(set(attempts)) == len(attempts), told


def filled(spec: Any, state: str) -> Any:
    """``{state}`` in every text."""
    if isinstance(spec, dict):
        return {name: filled(value, state) for name, value in spec.items()}
    return spec.replace("{state}", state) if isinstance(spec, str) else spec


def preparing(world: World, run: Object) -> None:
    world.start(run, "prepare")


def waiting(world: World, run: Object) -> None:
    world.play(run, "prepare")
    world.kubelet.unschedulable(world.kubelet.await_pods(run, "evaluation")[0], "no node")
    world.await_stage(run, "evaluation", "Waiting", reason="Unschedulable")


def running(world: World, run: Object) -> None:
    world.play(run, "prepare")
    world.start(run, "evaluation")


def succeeded(world: World, run: Object) -> None:
    world.play(run, "prepare", "evaluation")


def suspended(world: World, run: Object) -> None:
    running(world, run)
    world.edit(run, suspend=True)
    world.await_stage(run, "evaluation", "Suspended")


BRING: dict[str, Callable[[World, Object], None]] = {
    "preparing": preparing,
    "waiting": waiting,
    "running": running,
    "succeeded": succeeded,
    "suspended": suspended,
}


def finish(world: World, runs: list[Object]) -> None:
    """Lift suspensions, and let every pod that comes succeed until all runs have. Never do two pods of one run live."""
    for run in runs:
        world.edit(run, suspend=False)
    until(lambda: not [run for run in runs if not step(world, run)], "all runs succeed", seconds=60, every=0.2)


def step(world: World, run: Object) -> bool:
    """Whether the run has succeeded, and nothing of it is to be played any more."""
    now = world.now(run)
    live = [pod for pod in world.kubelet.pods(run) if pod["status"].get("phase", "Pending") in {"Pending", "Running"}]
    keyed = [pod for pod in live if pod["metadata"]["labels"]["boresight.dev/stage"] != "prepare"]
    assert len(keyed) <= 1, f"two attempts live: {summary(now)}"
    for pod in live:
        if not pod["metadata"].get("deletionTimestamp"):
            world.kubelet.run(pod)
            world.kubelet.succeed(pod)
    fresh = now["status"].get("observedGeneration") == now["metadata"]["generation"]
    return not live and fresh and condition_of(now, "Succeeded").get("status") == "True"


def test_an_invalid_edit_at_every_state_changes_nothing_and_can_be_taken_back(world: World) -> None:
    runs = {state: world.evaluation(state, storage={"uri": f"s3://alignment/{state}"}) for state in STATES}
    for state, run in runs.items():
        BRING[state](world, run)
    before = {state: states(world.now(run)) for state, run in runs.items()}
    for run in runs.values():
        world.edit(run, compute={"podTemplate": {"nodeSelector": {"-a": "b"}}})
    for run in runs.values():
        world.await_condition(run, "Accepted", "False")
        world.await_condition(run, "Stalled", "True")
    assert {state: states(world.now(run)) for state, run in runs.items()} == before
    for run in runs.values():
        world.edit(run, compute={"podTemplate": None})
        world.await_condition(run, "Accepted", "True")
    finish(world, list(runs.values()))
