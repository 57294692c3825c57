"""The editing table: every class of field, edited while the stage ``policy`` is in every state of its life."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from boresight_api.outcome import FailureClass, StageFinding, StageState
from boresight_api.status import RunStatus, StageProgress, StageStateName
from boresight_operator.decide import decide
from boresight_operator.decide.editing import OLD_COMPUTE
from boresight_operator.decision import DeleteJob, StartAttempt
from boresight_operator.views import Claim, PodView, Rival
from builders_manifests import an_alignment_run
from builders_operator import World, a_run, ended, failure, over, running, said, several_nodes, success

F = FailureClass


def at_policy() -> World:
    return a_run().done_until("policy").after(5)


def runs() -> World:
    return at_policy().runs("policy").after(100)


def same_key() -> World:
    world = a_run()
    world.rivals = {world.key("policy"): (Rival("AlignmentRun", "older", "u", 0, Claim.LIVE),)}
    return world.done_until("policy")


def starting() -> World:
    """Named in the status, its Job not made yet."""
    world = a_run().done_until("synthesis").runs("synthesis")
    job = world.job("synthesis")
    world.update("synthesis", complete=True, pods=(over(said(success("synthesis", job.key or ""))),))
    world.status = world.decide().status
    return world


STATES: dict[str, Callable[[], World]] = {
    "Pending": lambda: a_run().done_until("synthesis").runs("synthesis"),
    "Unknown": lambda: runs().ends("policy"),
    "Starting": starting,
    "Running/Starting": at_policy,
    "Running": runs,
    "Waiting/QuotaPending": lambda: at_policy().update("policy", suspended=True).settle(),
    "Waiting/BackOff": lambda: runs().fails("policy", F.INFRASTRUCTURE),
    "Waiting/SameKeyRunning": same_key,
    "Suspended": lambda: runs().edit(suspend=True).settle().ends("policy"),
    "Failed": lambda: runs().fails("policy", F.DIVERGED),
    "Succeeded": lambda: runs().succeeds("policy"),
}
UNDER_WAY = {"Starting", "Running/Starting", "Running", "Waiting/QuotaPending"}


@dataclass(frozen=True)
class Edit:
    name: str
    spec: dict[str, object]
    stops: bool
    """Whether an attempt of ``policy`` that is under way is stopped."""
    prepares: bool
    """Whether ``prepare`` runs again."""
    key_stays: bool = True


EDITS = [
    Edit("parameter of policy", {"policy": {"dpo": {"beta": "0.3"}}}, stops=True, prepares=True, key_stays=False),
    Edit("parameter of evaluation", {"evaluation": {"suites": [{"name": "Holdout", "maxPrompts": 9}]}}, False, True),
    Edit("seed", {"seed": 7}, stops=True, prepares=True, key_stays=False),
    Edit("source", {"model": {"uri": "hf://other/model"}}, stops=False, prepares=True),
    Edit("storage", {"storage": {"uri": "s3://elsewhere/x"}}, stops=True, prepares=True),
    Edit("storage's secret", {"storage": {"uri": "s3://bucket/team", "secretName": "new"}}, False, True),
    Edit("hub", {"hub": {"endpoint": "https://mirror.example"}}, stops=False, prepares=True),
    Edit("compute", {"compute": {"resources": {"requests": {"memory": "64Gi"}}}}, stops=False, prepares=False),
    Edit("pod template", {"compute": {"podTemplate": {"nodeSelector": {"a": "b"}}}}, stops=False, prepares=False),
    Edit("queue", {"compute": {"queueName": "other"}}, stops=False, prepares=False),
    Edit("retry budget", {"retry": {"infrastructure": 9}}, stops=False, prepares=False),
    Edit("timeouts", {"timeouts": {"startSeconds": 60}}, stops=False, prepares=False),
    Edit("checkpoint", {"policy": {"checkpoint": {"everySeconds": 60}}}, stops=False, prepares=False),
    Edit("retention", {"retainPodsSeconds": 5}, stops=False, prepares=False),
    Edit("stopAfter", {"stopAfter": "FeedbackModel"}, stops=False, prepares=False),
    Edit("suspend", {"suspend": True}, stops=True, prepares=False),
    Edit("invalid spec", {"task": "TextToImage"}, stops=False, prepares=False),
]


def edited(state: str, edit: Edit) -> tuple[World, World]:
    """Before and after."""
    before = STATES[state]()
    world = STATES[state]()
    world.edit(**edit.spec).settle()
    return before, world


PAIRS = [pytest.param(state, edit, id=f"{edit.name} while {state}") for edit in EDITS for state in STATES]


@pytest.mark.parametrize(("state", "edit"), PAIRS)
def test_an_edit_stops_what_it_must_and_nothing_else(state: str, edit: Edit) -> None:
    before, world = edited(state, edit)
    known = {job.uid for job in before.jobs if job.stage == "policy" and not (job.complete or job.failed)}
    stopped = {job.uid for job in world.jobs if job.deleting and job.uid in known}
    alive = state in UNDER_WAY and state != "Starting"
    assert bool(stopped) is (alive and edit.stops)
    if alive and not edit.stops:
        assert world.stage("policy").job_uid == before.stage("policy").job_uid
        assert world.stage("policy").attempt == before.stage("policy").attempt


@pytest.mark.parametrize(("state", "edit"), PAIRS)
def test_finished_stages_stay_finished_unless_their_key_or_their_store_goes(state: str, edit: Edit) -> None:
    before, world = edited(state, edit)
    was = {stage.name: stage for stage in before.status.stages}
    keys = {stage.name: stage.key for stage in world.full_plan().stages} if edit.name != "invalid spec" else {}
    for stage in world.status.stages:
        if stage.name == "prepare" or was[stage.name].state not in {"Succeeded", "Cached"}:
            continue
        left = edit.name not in {"source", "invalid spec"} and keys[stage.name] != was[stage.name].key
        gone = edit.name == "storage" or left
        assert (stage.state == was[stage.name].state) is not gone, stage.name


@pytest.mark.parametrize(("state", "edit"), PAIRS)
def test_prepare_runs_again_exactly_when_the_plan_or_the_store_is_another(state: str, edit: Edit) -> None:
    before, world = edited(state, edit)
    again = world.stage("prepare").attempt != before.stage("prepare").attempt
    if state == "Suspended":
        assert not again  # nothing starts while a run is suspended
    elif state == "Unknown":
        stage = world.stage("prepare")  # it ran already: if it was asked something else, it is stopped first
        superseded = (stage.state, stage.reason) == ("Waiting", "PreviousAttemptEnding")
        assert superseded is edit.prepares
    else:
        assert again is edit.prepares


@pytest.mark.parametrize(("state", "edit"), PAIRS)
def test_after_an_edit_every_attempt_has_a_new_number_and_the_new_key(state: str, edit: Edit) -> None:
    before, world = edited(state, edit)
    old = {(job.stage, job.attempt) for job in before.jobs}
    for decision in world.decisions[len(before.decisions) :]:
        for effect in decision.effects:
            if isinstance(effect, StartAttempt) and effect.stage != "prepare":
                assert (effect.stage, effect.attempt) not in old
                assert effect.key == world.key(effect.stage)


# -- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ("train", "at step 310, 60 of them its own"),
        ("reference", "at 310 of 500 of its phase reference"),
        (None, "at 310 of 500"),
    ],
)
def test_work_that_is_discarded_is_said_with_its_steps(phase: str | None, said: str) -> None:
    world = runs()
    told = {"name": "policy", "attempt": 1, "pod_uid": "p", "step": 310, "total_steps": 500}
    pod = StageProgress(**told, phase=phase, updated_time="2027-01-15T08:00:00Z")
    stages = tuple(
        stage.model_copy(update={"resumed_from_step": 250}) if stage.name == "policy" else stage
        for stage in world.status.stages
    )
    world.status = world.status.model_copy(update={"progress": (pod,), "stages": stages})
    decision = world.edit(policy={"dpo": {"beta": "0.3"}}).step()
    event = next(event for event in decision.events if event.reason == "WorkDiscarded")
    assert (event.type, event.message) == ("Warning", f"policy attempt 1 is stopped {said}: its key left the plan")


def test_an_edit_back_goes_on_from_the_checkpoint() -> None:
    world = runs()
    key = world.key("policy")
    world.edit(policy={"dpo": {"beta": "0.3"}}).settle().ends("policy")
    world.edit(policy={"dpo": {"beta": "0.1"}}).settle().ends("prepare")
    world.store = {"policy": StageFinding(name="policy", state=StageState.CHECKPOINT, step=250, attempt=1)}
    world.runs("prepare").succeeds("prepare")
    stage = world.stage("policy")
    assert (stage.key, stage.resumed_from_step, stage.attempt) == (key, 250, 2)


def test_a_late_outcome_of_a_stopped_attempt_is_taken_when_its_key_is_back() -> None:
    world = runs()
    world.edit(policy={"dpo": {"beta": "0.3"}}).settle()
    job = world.job("policy")
    world.update("policy", pods=(over(said(success("policy", job.key or ""))),))
    world.settle()
    assert world.stage("policy").state != "Succeeded"
    world.edit(policy={"dpo": {"beta": "0.1"}}).settle()
    assert world.stage("policy").state == "Succeeded"
    assert world.stage("policy").artifact is not None


def test_a_late_outcome_is_taken_while_the_run_is_suspended() -> None:
    world = runs().edit(suspend=True).settle()
    job = world.job("policy")
    world.update("policy", pods=(over(said(success("policy", job.key or ""))),)).settle()
    assert world.stage("policy").state == "Succeeded"


def test_stages_before_the_edited_one_are_not_run_again() -> None:
    world = runs().edit(policy={"dpo": {"beta": "0.3"}}).settle().ends("policy")
    world.runs("prepare").succeeds("prepare").runs("policy").succeeds("policy")
    counts = {job.stage: job.attempt for job in world.jobs}
    assert (counts["feedback-model"], counts["synthesis"]) == (1, 1)


# -- sources, storage, compute ---------------------------------------------------------------------------------------


def test_a_source_edit_stops_the_running_stage_only_when_its_key_has_changed() -> None:
    world = runs().edit(model={"uri": "hf://other/model"}).settle()
    assert world.stage("policy").state == "Running"
    world.runs("prepare").succeeds("prepare")
    assert [effect for d in world.decisions for effect in d.effects if isinstance(effect, DeleteJob)]
    assert world.stage("feedback-model").key == world.key("feedback-model")


def test_a_moved_store_that_has_everything_runs_nothing_again() -> None:
    world = runs().succeeds("policy").runs("evaluation").succeeds("evaluation")
    world.edit(storage={"uri": "s3://bucket/copy"}).settle()
    assert world.condition("Succeeded").status == "Unknown"
    present = {stage.name: "sha256:" + "1" * 64 for stage in world.full_plan().stages}
    world.store = {n: StageFinding(name=n, state=StageState.PRESENT, digest=d) for n, d in present.items()}
    world.runs("prepare").succeeds("prepare")
    assert world.condition("Succeeded").status == "True"
    artifact = world.stage("policy").artifact
    assert artifact is not None
    assert artifact.uri == f"s3://bucket/copy/artifacts/{world.key('policy')}"


def test_a_finished_run_does_not_run_again_because_the_settings_moved_their_store() -> None:
    from boresight_api.spec import Storage
    from builders_operator import settings

    world = runs().succeeds("policy").runs("evaluation").succeeds("evaluation")
    before = world.status
    world.settings = settings(storage=Storage(uri="s3://bucket/elsewhere"))
    assert world.settle().status == before


def test_a_running_attempt_with_other_compute_says_so_and_the_next_one_uses_it() -> None:
    world = runs().edit(compute={"devicesPerNode": 0}).settle()
    assert world.stage("policy").message == OLD_COMPUTE
    world.fails("policy", F.PREEMPTED, step=9).runs("policy")
    assert world.stage("policy").message is None
    assert world.job("policy").devices == 0


# -- the annotation --------------------------------------------------------------------------------------------------


def test_the_annotation_gives_whole_budgets_and_runs_prepare() -> None:
    world = runs().fails("policy", F.DIVERGED)
    assert world.condition("Succeeded").status == "False"
    world.annotations = {"boresight.dev/retry": "once more"}
    world.settle()
    assert (world.status.retry, world.stage("prepare").attempt) == ("once more", 2)
    assert world.condition("Stalled").status == "False"
    world.runs("prepare").succeeds("prepare")
    assert world.stage("policy").attempt == 2
    world.settle()
    assert world.stage("prepare").attempt == 2


def test_the_annotation_of_a_new_run_asks_for_nothing() -> None:
    world = a_run(annotations={"boresight.dev/retry": "1"}).prepared()
    assert world.stage("prepare").attempt == 1


def test_the_annotation_of_a_finished_run_says_nothing_for_nothing_runs() -> None:
    world = runs().succeeds("policy").runs("evaluation").succeeds("evaluation")
    world.annotations = {"boresight.dev/retry": "2"}
    world.decisions.clear()
    world.settle()
    assert world.status.retry == "2"
    assert [event for decision in world.decisions for event in decision.events] == []
    assert world.condition("Succeeded").status == "True"


def test_removing_the_annotation_does_nothing() -> None:
    world = a_run(annotations={"boresight.dev/retry": "1"}).done_until("policy").runs("policy")
    before = world.status
    world.annotations = {}
    assert world.settle().status == before


def test_a_running_stage_goes_on_through_a_retry() -> None:
    world = runs()
    world.annotations = {"boresight.dev/retry": "1"}
    world.settle().runs("prepare").succeeds("prepare")
    assert (world.stage("policy").state, world.stage("policy").attempt) == ("Running", 1)


# -- suspend, stopAfter, invalid -------------------------------------------------------------------------------------


def stopped(world: World, step: int) -> World:
    """The pod of the policy's deleted Job ends: its checkpoint is of ``step``."""
    job = world.job("policy")
    outcome = failure("policy", job.key, FailureClass.PREEMPTED, "stopped on request", step)
    pod = over(said(outcome), deleting_since=world.now)
    return world.update("policy", deleting=True, pods=(pod,)).settle()


def test_a_resumed_stage_says_where_it_goes_on() -> None:
    world = stopped(runs().edit(suspend=True).settle(), 40).ends("policy").edit(suspend=False).settle()
    stage = world.stage("policy")
    assert (stage.attempt, stage.resumed_from_step) == (2, 40)
    assert (stage.history[0].reason, stage.history[0].steps_gained) == ("Suspended", 40)
    world.runs("policy").after(100).edit(suspend=True).settle()
    stopped(world, 90).ends("policy").edit(suspend=False).settle()
    assert world.stage("policy").resumed_from_step == 90
    assert [entry.steps_gained for entry in world.stage("policy").history] == [40, 50]


def test_a_run_that_is_resumed_before_its_pod_has_ended_waits_for_what_that_says() -> None:
    world = runs().edit(suspend=True).settle().edit(suspend=False).settle()
    assert world.stage("policy").reason == "PreviousAttemptEnding"
    stage = stopped(world, 40).stage("policy")
    assert (stage.attempt, stage.resumed_from_step) == (2, 40)


def test_a_pod_that_ends_for_another_key_says_nothing_about_the_present_one() -> None:
    world = runs().after(100).edit(policy={"dpo": {"beta": "0.3"}}).settle()
    stopped(world, 40)
    assert world.stage("policy").resumed_from_step is None


def test_suspending_deletes_the_job_and_says_so_when_it_is_gone() -> None:
    world = runs().edit(suspend=True).settle()
    assert world.job("policy").deleting
    assert world.condition("Suspended").status == "False"
    world.ends("policy")
    assert world.condition("Suspended").status == "True"
    assert world.condition("Reconciling").status == "False"


@pytest.mark.parametrize(("others", "status"), [((running(1),), "False"), ((over(ended(76), 1),), "True")])
def test_a_run_is_suspended_when_its_last_rank_has_ended(others: tuple[PodView, ...], status: str) -> None:
    """A Job has failed (FailureTarget) as soon as its first rank has."""
    world = a_run(tweak=several_nodes("policy", 2)).done_until("policy").runs("policy", running(0), running(1))
    world.edit(suspend=True).settle()
    pods = (over(ended(76)), *others)
    world.update("policy", failed=("PodFailurePolicy", "rule at index 0"), pods=pods).settle()
    assert world.condition("Suspended").status == status


def test_resuming_waits_until_the_stopped_pods_are_gone() -> None:
    world = runs().edit(suspend=True).settle().edit(suspend=False).settle()
    assert world.stage("policy").reason == "PreviousAttemptEnding"
    world.ends("policy")
    assert (world.stage("policy").state, world.stage("policy").attempt) == ("Running", 2)


def test_stop_after_holds_and_lets_go() -> None:
    world = (
        a_run(an_alignment_run(stopAfter="Synthesis")).done_until("synthesis").runs("synthesis").succeeds("synthesis")
    )
    assert (world.stage("policy").state, world.stage("policy").reason) == ("Waiting", "StoppedAfter")
    assert world.stage("evaluation").state == "Pending"
    world.edit(stopAfter="Policy").settle().runs("policy")
    assert world.stage("policy").state == "Running"


def test_the_last_valid_plans_stage_goes_on_and_its_result_counts() -> None:
    world = runs().edit(task="TextToImage").settle()
    assert world.condition("Accepted").status == "False"
    assert "spec.task" in world.condition("Accepted").message
    world.succeeds("policy")
    assert world.stage("policy").state == "Succeeded"
    world.edit(task="TextToText").settle()
    assert (world.condition("Accepted").status, world.stage("evaluation").state) == ("True", "Running")


def test_nothing_is_started_for_a_run_that_is_being_deleted() -> None:
    world = runs().fails("policy", F.ERROR).after(1000)
    world.deleting = True
    decision = world.decide()
    assert (decision.effects, decision.events, decision.status) == ((), (), world.status)


def test_a_status_of_a_newer_operator_is_left_alone() -> None:
    world = runs()
    world.status_problem = "status.stages[2].gang"
    decision = world.decide()
    assert decision.effects == ()
    assert decision.status.stages == world.status.stages


# -- status lost -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_after_its_status_was_lost_a_run_goes_on_without_a_second_attempt_of_what_runs(state: str) -> None:
    world = STATES[state]()
    alive = {job.uid for job in world.jobs if not (job.complete or job.failed or job.deleting) and job.key}
    kept = world.status.sources
    world.status = RunStatus(sources=kept)
    world.settle(rounds=12)
    ending = world.stage("prepare").reason == "PreviousAttemptEnding"
    if ending:
        world.ends("prepare")
    assert world.stage("prepare").state == ("Running" if not world.document["spec"].get("suspend") else "Pending")
    assert alive <= {job.uid for job in world.jobs if not job.deleting}
    numbers = [job.attempt for job in world.jobs if job.stage == "prepare"]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("state", ["Running", "Waiting/QuotaPending", "Succeeded"])
def test_sources_come_back_with_a_lost_status(state: str) -> None:
    """The saved plan has the pins, so the observation has: who asks the status what went in is told again."""
    world = STATES[state]()
    before, sources = world.observe(), world.status.sources
    world.status = RunStatus()
    assert sources
    assert decide(dataclasses.replace(before, run=world.run)).status.sources == sources


def test_a_lie_about_a_jobs_uid_costs_an_attempt_and_no_charge() -> None:
    world = runs()
    lie = world.stage("policy").model_copy(update={"job_uid": "somebody-elses"})
    world.status = world.status.model_copy(
        update={"stages": tuple(lie if s.name == "policy" else s for s in world.status.stages)}
    )
    world.settle()
    stage = world.stage("policy")
    assert (stage.state, stage.infrastructure_retries, stage.error_retries) == ("Unknown", None, None)
    assert world.job("policy").deleting


def test_a_status_that_claims_success_without_an_artifact_is_not_believed() -> None:
    world = runs()
    lie = world.stage("policy").model_copy(update={"state": StageStateName.SUCCEEDED})
    stages = tuple(lie if s.name == "policy" else s for s in world.status.stages)
    world.status = world.status.model_copy(update={"stages": stages})
    world.settle()
    assert world.stage("policy").state in {"Unknown", "Running"}


def test_a_builder_is_no_test_double_of_decide() -> None:
    """The world stores what ``decide`` says and nothing else."""
    world = runs()
    assert dataclasses.replace(world).decide() == world.decide()
