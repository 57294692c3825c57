"""A run's whole life: what is written, what prepare says, several pods, pods that will not end, and what is kept."""

from __future__ import annotations

import dataclasses

import pytest
from boresight_api.outcome import FailureClass, Outcome, OutcomeStatus, PrepareReport, StageFinding, StageState
from boresight_api.status import StageStateName
from boresight_operator.decision import CleanUp, DeleteJob, LookAtNode, SavePlan, StartAttempt
from boresight_operator.names import attempt_name
from boresight_operator.views import PREPARE, Part, Refusal
from builders_manifests import a_synthesis, an_alignment_run, an_eval_run
from builders_operator import (
    NOW,
    World,
    a_run,
    digest_of,
    ended,
    failure,
    metric,
    over,
    pin_of,
    running,
    said,
    settings,
    several_nodes,
    success,
    win_rate,
)

F = FailureClass
STAGES = ("feedback-model", "synthesis", "policy", "evaluation")


def a_whole_life() -> World:
    world = a_run()
    for name in STAGES:
        more = {"results": (win_rate("0.61"),)} if name == "evaluation" else {"metrics": (metric("loss", "1.3"),)}
        world.done_until(name).runs(name).after(100).succeeds(name, **more)
    return world


# -- writes ----------------------------------------------------------------------------------------------------------


def test_a_stage_takes_six_writes() -> None:
    """ConfigMap and Job, the status three times (the last one names the next attempt too), one event."""
    world = a_run().done_until("policy")
    before = len(world.decisions)
    world.runs("policy").after(100).succeeds("policy")
    statuses, last, events = 0, None, 0
    for decision in world.decisions[before:]:
        statuses += decision.status != last and last is not None
        events += len(decision.events) if decision.status != last else 0
        last = decision.status
    made = sum(isinstance(e, StartAttempt) for d in world.decisions[before:] for e in d.effects)
    assert (events, made) == (1, 1)
    assert statuses <= 3


def test_a_plan_is_saved_once_before_the_first_attempt_that_needs_it() -> None:
    world = a_whole_life()
    effects = [effect for decision in world.decisions for effect in decision.effects]
    saved = [effect for effect in effects if isinstance(effect, SavePlan)]
    assert len(saved) == 1
    first = next(e for e in effects if isinstance(e, StartAttempt) and e.key is not None)
    assert effects.index(saved[0]) < effects.index(first)


def test_the_plan_of_a_run_that_was_cached_whole_is_saved_too() -> None:
    world = a_run()
    names = [stage.name for stage in world.full_plan().stages]
    world.store = {name: StageFinding(name=name, state=StageState.PRESENT, digest=digest_of(name)) for name in names}
    world.prepared()
    assert SavePlan(world.full_plan()) in [effect for decision in world.decisions for effect in decision.effects]
    assert world.after(3600).decide().effects == ()


def test_a_finished_run_is_left_alone() -> None:
    world = a_whole_life()
    decision = world.after(3600).decide()
    assert (decision.status, decision.effects, decision.events) == (world.status, (), ())


@pytest.mark.parametrize("state", ["Pending", "Waiting", "Starting"])
def test_nothing_starts_in_a_finished_run_not_even_prepare(state: str) -> None:
    """Its status was edited by hand, or the stages that ``prepare`` was to look at left the plan."""
    world = a_whole_life()
    lie = world.stage(PREPARE).model_copy(update={"state": StageStateName(state), "attempt": 2, "job_uid": None})
    world.status = world.status.model_copy(update={"stages": (lie, *world.status.stages[1:])})
    world.decisions.clear()
    world.settle()
    assert not any(isinstance(e, StartAttempt) for decision in world.decisions for e in decision.effects)
    assert (world.condition("Succeeded").status, world.status.stage) == ("True", None)


def test_the_columns() -> None:
    status = a_whole_life().status
    assert (status.feedback, status.algorithm, status.stage) == ("Language", "DPO", None)
    assert (status.key_metric, status.device_seconds, status.recipe) == ("winRate 0.61", 400, "1")
    assert [(source.name, source.revision) for source in status.sources] == [
        ("model", "c" * 40),
        ("feedback", "c" * 40),
    ]
    assert len(status.results) == 1


def test_progress_is_left_to_its_own_manager() -> None:
    world = a_run().done_until("policy").runs("policy")
    world.status = world.status.model_copy(update={"percent": 40, "remaining_seconds": 9})
    status = world.decide().status
    assert (status.percent, status.remaining_seconds, status.progress) == (None, None, ())


@pytest.mark.parametrize(("document", "stage"), [(a_synthesis(), "synthesis"), (an_eval_run(), "evaluation")])
def test_the_other_kinds_live_by_the_same_rules(document: dict[str, object], stage: str) -> None:
    world = a_run(document).done_until(stage).runs(stage).after(10).succeeds(stage)
    assert world.condition("Succeeded").status == "True"
    assert (world.status.feedback, world.status.algorithm) == (None, None)


def test_times_of_conditions_change_with_their_status_alone() -> None:
    world = a_run().done_until("policy").runs("policy")
    before = {c.type: c.last_transition_time for c in world.status.conditions}
    world.after(500).edit(compute={"queueName": "x"}).settle()
    assert {c.type: c.last_transition_time for c in world.status.conditions} == before
    world.edit(task="TextToImage").settle()
    changed = {c.type for c in world.status.conditions if c.last_transition_time != before[c.type]}
    assert changed == {"Accepted", "Stalled"}


# -- prepare ---------------------------------------------------------------------------------------------------------


def test_a_report_of_another_plan_is_refused_and_says_what_to_do() -> None:
    world = a_run().settle().runs(PREPARE)
    told = world.report().prepare
    assert told is not None
    other = PrepareReport(plan="f" * 64, pins=told.pins, stages=told.stages)
    outcome = Outcome(status=OutcomeStatus.SUCCEEDED, stage=PREPARE, prepare=other)
    world.update(PREPARE, complete=True, pods=(over(said(outcome)),)).settle()
    assert world.stage(PREPARE).reason == "ReportRejected"
    assert "of different releases" in world.condition("Stalled").message


def test_a_report_of_fewer_pins_is_refused() -> None:
    world = a_run().settle().runs(PREPARE)
    told = world.report().prepare
    assert told is not None
    fewer = PrepareReport(plan=told.plan, pins=told.pins[:1], stages=told.stages)
    outcome = Outcome(status=OutcomeStatus.SUCCEEDED, stage=PREPARE, prepare=fewer)
    world.update(PREPARE, complete=True, pods=(over(said(outcome)),)).settle()
    assert world.stage(PREPARE).state == "Failed"


@pytest.mark.parametrize("silent", [("policy",), ("feedback-model", "evaluation"), STAGES])
def test_a_report_that_is_silent_about_a_stage_is_refused_and_says_about_which(silent: tuple[str, ...]) -> None:
    """Taken, it would leave the stage Unknown, and prepare would run again at once, without end and charge."""
    world = a_run().settle().runs(PREPARE)
    told = world.report().prepare
    assert told is not None
    less = told.model_copy(update={"stages": tuple(s for s in told.stages if s.name not in silent)})
    outcome = Outcome(status=OutcomeStatus.SUCCEEDED, stage=PREPARE, prepare=less)
    world.update(PREPARE, complete=True, pods=(over(said(outcome)),)).settle()
    assert (world.stage(PREPARE).state, world.stage(PREPARE).reason) == ("Failed", "ReportRejected")
    assert f"nothing on {', '.join(silent)}: the image" in world.condition("Stalled").message


def test_what_the_store_has_is_cached_and_the_rest_is_run() -> None:
    world = a_run()
    world.store = {
        "feedback-model": StageFinding(name="feedback-model", state=StageState.PRESENT, digest=digest_of("f")),
        "synthesis": StageFinding(name="synthesis", state=StageState.CHECKPOINT, step=12, attempt=4),
    }
    world.prepared()
    assert world.stage("feedback-model").state == "Cached"
    stage = world.stage("synthesis")
    assert (stage.state, stage.attempt, stage.resumed_from_step) == ("Running", 5, 12)
    assert not [job for job in world.jobs if job.stage == "feedback-model"]


def test_prepare_that_fails_is_tried_again_by_the_same_table() -> None:
    world = a_run().settle()
    for _ in range(6):
        world.runs(PREPARE).fails(PREPARE, F.INFRASTRUCTURE, "the store does not answer").after(2000).settle()
    assert world.stage(PREPARE).state == "Failed"
    assert world.stage("feedback-model").state == "Unknown"


def test_a_manifest_whose_sources_are_all_pinned_is_prepared_all_the_same() -> None:
    pinned = {"model": {"digest": pin_of("ab" * 8).digest}, "data": {"feedback": []}}
    document = an_alignment_run(model=pinned["model"])
    document["spec"]["data"]["feedback"][0]["digest"] = "sha256:" + "cd" * 32
    world = a_run(document)
    assert world.observe().plan is not None
    assert world.observe().plan.digest is not None  # type: ignore[union-attr]
    world.settle()
    assert [job.stage for job in world.jobs] == [PREPARE]


def test_no_device_is_asked_for_before_prepare_has_looked() -> None:
    world = a_run().done_until("policy").runs("policy").ends("policy")
    assert [job.stage for job in world.jobs if not job.complete] == [PREPARE]


def test_a_complete_job_whose_pod_was_not_seen_yet_is_looked_at_again() -> None:
    world = a_run().settle()
    world.update(PREPARE, suspended=False, complete=True, completed=world.now).settle()
    decision = world.step()
    assert decision.requeue_after is not None
    assert world.stage(PREPARE).state is StageStateName.RUNNING
    assert not world.stage(PREPARE).history
    world.update(PREPARE, pods=(over(said(world.report())),)).settle()
    assert world.stage(PREPARE).state is StageStateName.SUCCEEDED


def test_a_complete_job_whose_pod_nobody_sees_in_time_is_lost() -> None:
    world = a_run().settle()
    world.update(PREPARE, suspended=False, complete=True, completed=world.now).settle()
    after = world.step().requeue_after
    assert after is not None
    world.after(after).settle()
    assert [entry.reason for entry in world.stage(PREPARE).history] == ["OutcomeLost"]
    assert world.stage(PREPARE).attempt == 2


def test_sources_that_were_lost_are_pinned_anew_and_that_is_said() -> None:
    world = a_run(pins_lost=True)
    assert "SourcesRepinned" in [event.reason for event in world.step().events]


# -- several pods ----------------------------------------------------------------------------------------------------


def test_independent_pods_are_merged_by_a_cpu_job_of_the_same_attempt() -> None:
    world = a_run(tweak=several_nodes("synthesis", 4)).done_until("synthesis")
    work = world.job("synthesis")
    assert (work.completions, work.devices) == (4, 4)
    world.runs("synthesis", *(running(i) for i in range(4))).after(100)
    world.update("synthesis", complete=True, pods=tuple(over(ended(0), i) for i in range(4))).settle()
    merge = world.job("synthesis", Part.MERGE)
    assert (merge.attempt, merge.devices, merge.key) == (1, 0, work.key)
    assert world.stage("synthesis").state == "Running"
    world.runs("synthesis", part=Part.MERGE).after(5).succeeds("synthesis", part=Part.MERGE)
    assert (world.stage("synthesis").state, world.stage("synthesis").device_seconds) == ("Succeeded", 400)
    assert world.stage("policy").state == "Running"


def test_a_merge_that_fails_is_tried_again_alone() -> None:
    world = a_run(tweak=several_nodes("synthesis", 2)).done_until("synthesis")
    world.runs("synthesis", running(0), running(1)).after(100)
    world.update("synthesis", complete=True, pods=(over(ended(0)), over(ended(0), 1))).settle()
    world.runs("synthesis", part=Part.MERGE)
    key = world.key("synthesis")
    pod = over(said(failure("synthesis", key, F.INFRASTRUCTURE)))
    world.update("synthesis", Part.MERGE, failed=("BackoffLimitExceeded", ""), pods=(pod,)).settle()
    world.after(1000).settle()
    parts = [(job.part.value, job.attempt) for job in world.jobs if job.stage == "synthesis"]
    assert parts == [("work", 1), ("merge", 1), ("merge", 2)]


def test_parts_that_are_gone_are_made_again() -> None:
    world = a_run(tweak=several_nodes("synthesis", 2)).done_until("synthesis")
    world.runs("synthesis", running(0), running(1)).after(100)
    world.update("synthesis", complete=True, pods=(over(ended(0)), over(ended(0), 1))).settle()
    pod = over(said(failure("synthesis", world.key("synthesis"), F.MISSING_INPUT)))
    world.update("synthesis", Part.MERGE, failed=("BackoffLimitExceeded", ""), pods=(pod,)).settle()
    world.runs(PREPARE).succeeds(PREPARE).runs("feedback-model").succeeds("feedback-model").after(1000).settle()
    assert (world.job("synthesis").part, world.job("synthesis").attempt) == (Part.WORK, 2)


def test_ranks_of_a_training_stage_are_one_job_whose_rank_zero_speaks() -> None:
    world = a_run(tweak=several_nodes("policy", 2)).done_until("policy")
    key = world.key("policy")
    world.runs("policy", running(0), running(1)).after(50)
    world.update("policy", complete=True, pods=(over(said(success("policy", key))), over(ended(0), 1))).settle()
    assert (world.stage("policy").state, world.stage("policy").device_seconds) == ("Succeeded", 200)
    assert [job.part for job in world.jobs if job.stage == "policy"] == [Part.WORK]


# -- pods that will not end ------------------------------------------------------------------------------------------


def stuck() -> World:
    """Its node stopped answering: the Job failed, the pod is deleted and stays."""
    world = a_run().done_until("policy").runs("policy").after(100)
    pod = running(deleting_since=world.now + 30, name="pod-0")
    return world.update("policy", failed=("PodFailurePolicy", "rule at index 0"), pods=(pod,)).settle()


def test_the_next_attempt_waits_for_the_pods_of_the_one_before() -> None:
    world = stuck().after(100).settle()
    stage = world.stage("policy")
    assert (stage.state, stage.reason) == ("Waiting", "PreviousAttemptEnding")
    assert "pod-0 on node-a" in (stage.message or "")


def test_a_pod_whose_node_is_gone_for_long_enough_holds_nobody_up() -> None:
    world = stuck().after(100).settle()
    assert LookAtNode("node-a") not in world.decide().effects
    world.after(300)
    assert LookAtNode("node-a") in world.decide().effects
    assert world.settle().stage("policy").reason == "PreviousAttemptEnding"
    world.nodes_gone = frozenset({"node-a"})
    assert world.settle().stage("policy").attempt == 2


# -- objects that are not taken --------------------------------------------------------------------------------------


def test_an_object_that_is_not_taken_is_offered_again_and_its_name_is_kept() -> None:
    world = a_run()
    name = attempt_name("first", world.uid, PREPARE, None, 1, Part.WORK)
    world.status = world.decide().status
    world.refusals = (Refusal(name, "Job", "Forbidden", "exceeded quota", NOW),)
    first = world.decide()
    world.status = first.status
    assert world.stage(PREPARE).reason == "PodsForbidden"
    again = world.decide()
    assert [e.attempt for e in again.effects if isinstance(e, StartAttempt)] == [1]
    assert again.requeue_after is not None
    assert 5 <= again.requeue_after <= 10
    world.refusals = ()
    assert world.settle().stage(PREPARE).state == "Running"


def test_what_is_not_taken_for_too_long_is_a_fault_of_the_infrastructure() -> None:
    world = a_run()
    name = attempt_name("first", world.uid, PREPARE, None, 1, Part.WORK)
    world.status = world.decide().status
    world.refusals = (Refusal(name, "Job", "Forbidden", "exceeded quota", NOW),)
    world.status = world.decide().status
    world.status = world.after(1000).decide().status
    stage = world.stage(PREPARE)
    assert (stage.reason, stage.infrastructure_retries) == ("BackOff", 1)


def test_what_will_never_be_taken_fails_at_once_and_an_edit_with_retry_goes_on() -> None:
    """Waiting would hold the key of every younger run for ever."""
    world = a_run()
    name = attempt_name("first", world.uid, PREPARE, None, 1, Part.WORK)
    world.status = world.decide().status
    world.refusals = (Refusal(name, "Job", "Invalid", "spec.template.labels: Invalid value", NOW),)
    decision = world.decide()
    world.status = decision.status
    assert decision.effects == ()
    assert (world.stage(PREPARE).state, world.stage(PREPARE).history[-1].failure_class) == ("Failed", "InvalidConfig")
    assert "Invalid value" in world.condition("Stalled").message
    world.annotations = {"boresight.dev/retry": "1"}
    assert world.settle().stage(PREPARE).attempt == 2


def a_policy(reason: str, message: str = "spec.ingress[1].from[0]: Invalid value") -> Refusal:
    return Refusal("first-network-1234abcd", "NetworkPolicy", reason, message, NOW)


@pytest.mark.parametrize("kind", ["NetworkPolicy", "ConfigMap"])
def test_an_object_that_no_edit_of_the_run_can_mend_stalls_it_until_it_is_taken(kind: str) -> None:
    """A NetworkPolicy is made of the operator's settings: the next attempt would not fare better, the run is not at
    fault, and once the settings are mended nobody need touch it."""
    world = a_run()
    world.status = world.decide().status
    name = attempt_name("first", world.uid, PREPARE, None, 1, Part.WORK)
    world.refusals = (dataclasses.replace(a_policy("Invalid"), kind=kind, name=name),)
    for _ in range(3):
        decision = world.after(3000).decide()
        world.status = decision.status
        assert [e.attempt for e in decision.effects if isinstance(e, StartAttempt)] == [1]
        assert (decision.requeue_after or 0) <= 301
    stage, stalled = world.stage(PREPARE), world.condition("Stalled")
    assert (stage.state, stage.reason, stage.infrastructure_retries) == ("Waiting", "ObjectInvalid", None)
    assert (stalled.status, stalled.reason) == ("True", "ObjectInvalid")
    assert f"{kind} {name}: spec.ingress[1].from[0]: Invalid value" in stalled.message
    assert "ingressFrom" in stalled.message
    world.refusals = ()
    world.settle()
    assert (world.stage(PREPARE).state, world.condition("Stalled").status) == ("Running", "False")


def test_a_network_policy_that_is_forbidden_is_a_fault_of_the_infrastructure_in_time() -> None:
    world = a_run()
    world.refusals = (a_policy("Forbidden", 'cannot patch resource "networkpolicies"'),)
    world._create = lambda start: None  # type: ignore[method-assign]
    for _ in range(40):
        world.status = world.decide().status
        world.after(901)
    stalled = world.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "StartTimeout")
    assert "NetworkPolicy first-network-1234abcd: cannot patch" in stalled.message


# -- retention -------------------------------------------------------------------------------------------------------


def cleaned(world: World) -> list[CleanUp]:
    return [effect for effect in world.decide().effects if isinstance(effect, CleanUp)]


def test_jobs_and_pods_are_kept_for_a_week_after_the_runs_end() -> None:
    world = a_whole_life()
    assert cleaned(world.after(604_000)) == []
    (effect,) = cleaned(world.after(1000))
    assert {job.name for job in effect.jobs} == {job.name for job in world.jobs}
    assert set(effect.stages) == {PREPARE, *STAGES}
    world.step()
    assert cleaned(world) == []
    world.jobs = []
    decision = world.decide()
    assert (decision.status, decision.effects) == (world.status, ())


def test_a_failed_run_keeps_its_last_pods_as_long() -> None:
    world = (
        a_run(an_alignment_run(retainPodsSeconds=60)).done_until("policy").runs("policy").fails("policy", F.DIVERGED)
    )
    assert cleaned(world.after(30)) == []
    assert len(cleaned(world.after(60))) == 1


def test_nothing_is_cleaned_up_while_a_run_works_or_waits() -> None:
    world = a_run(an_alignment_run(retainPodsSeconds=0)).done_until("policy").runs("policy")
    assert cleaned(world.after(1e6)) == []


def test_a_job_that_no_stage_wants_is_deleted_by_its_uid() -> None:
    world = a_run().done_until("policy").runs("policy")
    job = world.job("policy")
    stray = dataclasses.replace(job, uid="stray", name="stray", attempt=7, key="f" * 64)
    world.jobs.append(stray)
    assert DeleteJob("stray", "stray") in world.decide().effects
    assert DeleteJob(job.name, job.uid) not in world.decide().effects


def test_the_settings_say_what_a_run_may_ask_for() -> None:
    world = a_run(an_alignment_run(compute={"podTemplate": {"priorityClassName": "mine"}})).settle()
    assert world.condition("Accepted").reason == "NotAllowed"
    assert "spec.compute.podTemplate.priorityClassName" in world.condition("Accepted").message
    assert world.jobs == []
    world.settings = settings(allowed_priority_classes=("mine",))
    assert world.settle().stage(PREPARE).state == "Running"


def test_keys_are_those_of_the_contract() -> None:
    """``decide`` makes no key of its own."""
    world = a_run(an_eval_run()).prepared()
    assert world.stage("evaluation").key == world.full_plan().stage("evaluation").key
