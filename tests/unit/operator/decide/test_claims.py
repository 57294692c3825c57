"""Many runs, one key: one attempt is live at a time, and nobody waits for ever."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from boresight_api.status import StageStateName
from boresight_operator.settings import Limits
from boresight_operator.views import Claim, Rival, Usage
from builders_manifests import an_alignment_run
from builders_operator import NOW, World, a_run, artifact, settings


def rival(claim: Claim, created: float = 0.0, key: str = "", uid: str = "other") -> Rival:
    return Rival("AlignmentRun", "older", uid, created, claim, artifact(key) if claim is Claim.DONE else None)


def with_rival(claim: Claim, created: float = 0.0) -> World:
    world = a_run()
    key = world.key("feedback-model")
    world.rivals = {key: (rival(claim, created, key),)}
    return world.prepared()


@pytest.mark.parametrize(
    ("claim", "created", "state"),
    [
        (Claim.LIVE, 0.0, "Waiting"),
        (Claim.LIVE, NOW + 1, "Waiting"),
        (Claim.WANTED, 0.0, "Waiting"),
        (Claim.WANTED, NOW + 1, "Running"),
        (Claim.DONE, 0.0, "Cached"),
        (Claim.DONE, NOW + 1, "Cached"),
    ],
)
def test_the_oldest_works_and_the_others_wait_or_take_what_is_done(claim: Claim, created: float, state: str) -> None:
    assert with_rival(claim, created).stage("feedback-model").state == state


def test_of_two_that_were_made_in_one_second_the_uid_decides() -> None:
    world = a_run()
    key = world.key("feedback-model")
    world.rivals = {key: (rival(Claim.WANTED, world.created, uid="0"),)}
    assert world.prepared().stage("feedback-model").reason == "SameKeyRunning"
    world.rivals = {key: (rival(Claim.WANTED, world.created, uid="z"),)}
    assert world.settle().stage("feedback-model").state == "Running"


def test_who_waits_claims_no_attempt_and_names_whom_it_waits_for() -> None:
    stage = with_rival(Claim.LIVE).stage("feedback-model")
    assert (stage.attempt, stage.job_uid) == (None, None)
    assert "AlignmentRun older" in (stage.message or "")


def test_when_the_other_gives_up_the_next_takes_over() -> None:
    world = with_rival(Claim.LIVE)
    world.rivals = {}
    assert world.settle().stage("feedback-model").attempt == 1


def test_a_cached_stage_says_from_where_and_asks_for_no_device() -> None:
    world = with_rival(Claim.DONE)
    stage = world.stage("feedback-model")
    assert stage.artifact == artifact(world.key("feedback-model"))
    assert stage.message == "made by AlignmentRun older"
    assert not [job for job in world.jobs if job.stage == "feedback-model"]
    assert world.stage("synthesis").state == "Running"


def test_an_attempt_that_was_named_and_not_made_yields() -> None:
    """Two that named theirs at once both step back; then the oldest goes."""
    world = a_run().prepared()
    world.jobs = [job for job in world.jobs if job.stage == "prepare"]
    stage = world.stage("feedback-model").model_copy(
        update={"state": StageStateName.STARTING, "reason": None, "job_uid": None}
    )
    world.status = world.status.model_copy(
        update={"stages": tuple(stage if s.name == stage.name else s for s in world.status.stages)}
    )
    world.rivals = {world.key("feedback-model"): (rival(Claim.LIVE),)}
    decision = world.decide()
    world.status = decision.status
    assert decision.effects == ()
    assert world.stage("feedback-model").reason == "SameKeyRunning"


def test_prepare_is_never_shared() -> None:
    world = a_run()
    world.rivals = {stage.key or "": (rival(Claim.LIVE),) for stage in world.full_plan().stages}
    assert world.settle().stage("prepare").state == "Running"


def test_an_artifact_that_prepare_did_not_find_is_not_taken_from_another_runs_status() -> None:
    from boresight_api.outcome import FailureClass

    world = with_rival(Claim.DONE).runs("synthesis").fails("synthesis", FailureClass.MISSING_INPUT)
    world.runs("prepare").succeeds("prepare")
    assert world.stage("feedback-model").state == "Running"


# -- twenty runs that differ in beta ---------------------------------------------------------------------------------


def claims(world: World) -> Mapping[str, Claim]:
    """What others see of a run."""
    found = {}
    for stage in world.status.stages:
        if stage.key is None:
            continue
        if stage.state in {"Succeeded", "Cached"}:
            found[stage.key] = Claim.DONE
        elif stage.reason == "SameKeyRunning":
            found[stage.key] = Claim.WANTED
        elif stage.state in {"Starting", "Running"} or (stage.state == "Waiting" and stage.attempt is not None):
            found[stage.key] = Claim.LIVE
    return found


def look_around(worlds: list[World]) -> None:
    for world in worlds:
        world.rivals = {}
        for other in worlds:
            if other is world:
                continue
            for key, claim in claims(other).items():
                made = next((s.artifact for s in other.status.stages if s.key == key), None)
                found = Rival("AlignmentRun", other.uid, other.uid, other.created, claim, made)
                world.rivals[key] = (*world.rivals.get(key, ()), found)


def test_a_sweep_of_twenty_runs_trains_one_feedback_model_and_makes_one_set_of_pairs() -> None:
    worlds = [
        a_run(an_alignment_run(policy={"dpo": {"beta": f"0.{n:02d}"}}), uid=f"run-{n:02d}", created=NOW + n)
        for n in range(1, 21)
    ]
    for _ in range(60):
        for world in worlds:
            look_around(worlds)
            world.step()
            job = next((job for job in world.jobs if not (job.complete or job.deleting)), None)
            if job is not None:
                look_around(worlds)
                world.after(10).succeeds(job.stage) if job.stage == "prepare" else world.runs(job.stage)
                if job.stage != "prepare":
                    look_around(worlds)
                    world.after(10).succeeds(job.stage)
        if all(world.condition("Succeeded").status == "True" for world in worlds):
            break
    made = [job.stage for world in worlds for job in world.jobs]
    assert {stage: made.count(stage) for stage in set(made)} == {
        "prepare": 20,
        "feedback-model": 1,
        "synthesis": 1,
        "policy": 20,
        "evaluation": 20,
    }


# -- limits ----------------------------------------------------------------------------------------------------------


def test_a_namespaces_limits_hold_runs_and_devices() -> None:
    world = a_run(settings=settings(limits=Limits(max_devices=8)), usage=Usage(runs=3, devices=8)).prepared()
    stage = world.stage("feedback-model")
    assert (stage.state, stage.reason, stage.attempt) == ("Waiting", "NamespaceLimit", None)
    assert "limits.maxDevices 8" in (stage.message or "")
    world.usage = Usage(runs=3, devices=7)
    assert world.settle().stage("feedback-model").state == "Running"


def test_a_stage_that_no_wait_would_give_its_devices_is_not_allowed() -> None:
    """Nobody but the user, or who runs the operator, can help. A stage that is done does not hold up the others."""
    document = an_alignment_run(compute={"devicesPerNode": 0}, feedbackModel={"compute": {"devicesPerNode": 1}})
    world = a_run(document, settings=settings(limits=Limits(max_devices=1))).done_until("synthesis")
    world.settings = settings(limits=Limits(max_devices=0))
    assert world.settle().condition("Accepted").status == "True"
    fresh = a_run(document, settings=settings(limits=Limits(max_devices=0))).settle()
    assert (fresh.condition("Accepted").reason, fresh.condition("Stalled").status) == ("NotAllowed", "True")
    assert "spec.feedbackModel.compute.devicesPerNode" in fresh.condition("Accepted").message
    assert fresh.jobs == []


def test_prepare_needs_no_device_but_counts_as_a_run() -> None:
    full = Usage(runs=1, devices=99)
    devices = a_run(settings=settings(limits=Limits(max_devices=8)), usage=full).settle()
    assert devices.stage("prepare").state == "Running"
    runs = a_run(settings=settings(limits=Limits(max_runs=1)), usage=full).settle()
    assert runs.stage("prepare").reason == "NamespaceLimit"


def test_a_run_with_an_attempt_under_way_is_counted_already() -> None:
    world = a_run(settings=settings(limits=Limits(max_runs=1))).prepared()
    world.usage = Usage(runs=1)
    world.edit(policy={"dpo": {"beta": "0.3"}}).settle()
    assert world.stage("prepare").state == "Running"
    assert dataclasses.replace(world).decide().status == world.status
