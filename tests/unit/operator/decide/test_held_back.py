"""What was to start and may not any more: nothing is made of a spec that is not allowed, or that makes no plan."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from boresight_operator.decision import StartAttempt
from boresight_operator.names import attempt_name
from boresight_operator.settings import Limits
from boresight_operator.views import Claim, Part, Refusal, Rival, Usage
from builders_manifests import an_alignment_run
from builders_operator import NOW, World, a_run, over, said, settings, success


def prepare_starts() -> World:
    world = a_run()
    world.status = world.decide().status
    return world


def policy_starts() -> World:
    world = a_run().done_until("synthesis").runs("synthesis")
    outcome = success("synthesis", world.key("synthesis"))
    world.update("synthesis", complete=True, pods=(over(said(outcome)),))
    world.status = world.decide().status
    return world


def refused(make: Callable[[], World], stage: str, reason: str) -> World:
    """The API server did not take its Job."""
    world = make()
    key = world.stage(stage).key
    name = attempt_name("first", world.uid, stage, key, 1, Part.WORK)
    world.refusals = (Refusal(name, "Job", reason, "no", NOW + 1000),)
    world.status = world.decide().status
    assert (world.stage(stage).state, world.stage(stage).attempt) == ("Waiting", 1)
    return world


UNBORN: dict[str, tuple[str, Callable[[], World]]] = {
    "prepare Starting": ("prepare", prepare_starts),
    "prepare Waiting/PodsForbidden": ("prepare", lambda: refused(prepare_starts, "prepare", "Forbidden")),
    "prepare Waiting/NameConflict": ("prepare", lambda: refused(prepare_starts, "prepare", "NameConflict")),
    "policy Starting": ("policy", policy_starts),
    "policy Waiting/PodsForbidden": ("policy", lambda: refused(policy_starts, "policy", "Forbidden")),
}
"""Attempts with a number and without a Job."""
EDITS: dict[str, dict[str, object]] = {
    "image": {"compute": {"podTemplate": {"image": "registry.example/other:1"}}},
    "tolerations": {"compute": {"podTemplate": {"tolerations": [{"operator": "Exists"}]}}},
    "priority class": {"compute": {"podTemplate": {"priorityClassName": "mine"}}},
    "no plan": {"task": "Nope"},
}


def started(world: World) -> list[tuple[str, int]]:
    return [(e.stage, e.attempt) for d in world.decisions for e in d.effects if isinstance(e, StartAttempt)]


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("unborn", UNBORN)
def test_an_attempt_without_job_gets_none_from_a_spec_that_may_not_start(unborn: str, edit: str) -> None:
    stage, make = UNBORN[unborn]
    world = make()
    world.decisions.clear()
    world.edit(**EDITS[edit]).settle()
    assert started(world) == []
    assert world.condition("Accepted").status == "False"
    found = world.stage(stage)
    assert (found.state, found.reason, found.attempt, found.job_uid) == ("Pending", "NotStarted", 1, None)


@pytest.mark.parametrize("unborn", UNBORN)
def test_once_the_spec_may_start_the_next_attempt_has_the_next_number(unborn: str) -> None:
    stage, make = UNBORN[unborn]
    world = make().edit(**EDITS["image"]).settle()
    del world.document["spec"]["compute"]["podTemplate"]
    world.settle()
    assert started(world)[-1] == (stage, 2)
    assert world.stage(stage).state == "Running"


def at_a_limit(world: World) -> Callable[[], None]:
    world.settings, world.usage = settings(limits=Limits(max_runs=1)), Usage(runs=1)
    return lambda: setattr(world, "usage", Usage())


def behind_another(world: World) -> Callable[[], None]:
    key = world.key("policy")
    world.rivals = {key: (Rival("AlignmentRun", "older", "other", 0.0, Claim.LIVE),)}
    return world.rivals.clear


@pytest.mark.parametrize(
    ("unborn", "hold"),
    [("prepare Starting", at_a_limit), ("policy Starting", at_a_limit), ("policy Starting", behind_another)],
)
def test_a_number_is_not_given_again_after_another_wait(
    unborn: str, hold: Callable[[World], Callable[[], None]]
) -> None:
    """Something may have been made under it, and names are made of it."""
    stage, make = UNBORN[unborn]
    world = make().edit(**EDITS["image"]).settle()
    del world.document["spec"]["compute"]["podTemplate"]
    release = hold(world)
    world.settle()
    assert world.stage(stage).reason in {"NamespaceLimit", "SameKeyRunning"}
    release()
    world.decisions.clear()
    world.settle()
    assert started(world) == [(stage, 2)]


@pytest.mark.parametrize("edit", EDITS)
def test_a_job_that_is_there_goes_on(edit: str) -> None:
    world = a_run(an_alignment_run()).done_until("policy").runs("policy").edit(**EDITS[edit]).settle()
    assert (world.stage("policy").state, world.job("policy").deleting) == ("Running", False)
