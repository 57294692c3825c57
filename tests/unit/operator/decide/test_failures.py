"""The failure table: what follows from each class, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from boresight_api.outcome import FailureClass, StageFinding, StageState
from boresight_operator.decide.budgets import FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS
from boresight_operator.decision import StartAttempt
from boresight_operator.settings import Limits
from builders_manifests import an_alignment_run
from builders_operator import UID, World, a_run, ended, over, said, settings, success

F = FailureClass
LONG = 2 * LONGEST_BACK_OFF_SECONDS


def at_policy(**spec: object) -> World:
    return a_run(an_alignment_run(**spec)).done_until("policy").after(1)


def starts(world: World, stage: str = "policy") -> list[StartAttempt]:
    """Every attempt of a stage that was started, once."""
    found = [e for d in world.decisions for e in d.effects if isinstance(e, StartAttempt) and e.stage == stage]
    return list(dict.fromkeys(found))


def fail(world: World, kind: FailureClass, times: int = 1, **fields: object) -> World:
    """The stage runs and fails, and its back-off passes."""
    for _ in range(times):
        world.runs("policy").after(100).fails("policy", kind, "why", 40, **fields)
        world.after(LONG).settle()
        if kind is F.MISSING_INPUT and world.stage("prepare").state == "Running":
            world.runs("prepare").succeeds("prepare")
            for name in ("feedback-model", "synthesis"):
                world.runs(name).succeeds(name)
    return world


@dataclass(frozen=True)
class Row:
    failure: FailureClass
    attempts: int
    """How many there are before the stage fails; None: any number."""
    counter: str | None = None
    spec: tuple[tuple[str, object], ...] = ()


TABLE = [
    Row(F.INFRASTRUCTURE, 6, "infrastructure_retries"),
    Row(F.INFRASTRUCTURE, 1, None, (("retry", {"infrastructure": 0}),)),
    Row(F.INFRASTRUCTURE, 3, "infrastructure_retries", (("retry", {"infrastructure": 2}),)),
    Row(F.HUNG, 6, "infrastructure_retries"),
    Row(F.PEER_LOST, 6, "infrastructure_retries"),
    Row(F.OUT_OF_MEMORY, 2, "out_of_memory_retries"),
    Row(F.ERROR, 2, "error_retries"),
    Row(F.ERROR, 1, None, (("retry", {"error": 0}),)),
    Row(F.ERROR, 4, "error_retries", (("retry", {"error": 3}),)),
    Row(F.MISSING_INPUT, 3, "missing_input_retries"),
    Row(F.DIVERGED, 1),
    Row(F.INVALID_DATA, 1),
    Row(F.INVALID_CONFIG, 1),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.failure}-{row.attempts}")
def test_a_budget_is_spent_exactly_and_then_the_stage_fails(row: Row) -> None:
    world = at_policy(**dict(row.spec))
    fail(world, row.failure, row.attempts - 1)
    assert world.stage("policy").state in {"Running", "Starting"}
    fail(world, row.failure)
    stage = world.stage("policy")
    assert stage.state == "Failed"
    assert len(starts(world)) == row.attempts
    assert [entry.attempt for entry in stage.history] == list(range(1, row.attempts + 1))
    if row.counter is not None:
        assert getattr(stage, row.counter) == row.attempts - 1
    world.after(LONG).settle()
    assert len(starts(world)) == row.attempts


def test_what_is_not_the_attempts_fault_costs_nothing() -> None:
    world = at_policy(retry={"infrastructure": 0, "error": 0})
    for number in range(4):
        world.runs("policy").after(100).fails("policy", F.PREEMPTED, step=50 * (number + 1))
        world.after(LONG).settle()
    for _ in range(3):
        world.runs("policy").after(100).ends("policy").runs("prepare").succeeds("prepare").after(LONG).settle()
    for _ in range(3):
        world.runs("policy").after(100).edit(suspend=True).settle().ends("policy").edit(suspend=False).settle()
    stage = world.stage("policy")
    assert stage.state == "Running"
    assert stage.preemptions == 4
    assert (stage.infrastructure_retries, stage.error_retries) == (None, None)
    assert stage.attempt == 11


def test_a_preempted_attempt_goes_on_from_its_checkpoint() -> None:
    world = at_policy().runs("policy").after(100).fails("policy", F.PREEMPTED, step=40)
    stage = world.stage("policy")
    assert (stage.attempt, stage.resumed_from_step, stage.history[0].steps_gained) == (2, 40, 40)
    world.runs("policy").after(100).fails("policy", F.PREEMPTED, step=90)
    assert world.stage("policy").history[1].steps_gained == 50


def test_only_after_memory_ran_out_the_token_budget_is_halved_once() -> None:
    world = fail(at_policy(), F.OUT_OF_MEMORY)
    assert [start.halvings for start in starts(world)] == [0, 1]
    world.runs("policy").fails("policy", F.PREEMPTED)
    assert [start.halvings for start in starts(world)] == [0, 1, 1]


def test_after_two_faults_on_one_node_it_is_avoided() -> None:
    world = fail(at_policy(), F.INFRASTRUCTURE, node="node-a")
    assert starts(world)[-1].avoid_nodes == ()
    fail(world, F.ERROR, node="node-b")
    fail(world, F.HUNG, node="node-a")
    assert starts(world)[-1].avoid_nodes == ("node-a",)


def test_back_off_grows_has_jitter_and_is_the_same_for_everybody() -> None:
    waits = []
    world = at_policy()
    for _ in range(5):
        world.runs("policy").after(100).fails("policy", F.INFRASTRUCTURE)
        assert world.stage("policy").reason == "BackOff"
        waits.append(world.decide().requeue_after or 0)
        assert world.decide() == world.decide()
        world.after(waits[-1] + 1).settle()
        assert world.stage("policy").state == "Running"
    for number, wait in enumerate(waits):
        base = FIRST_BACK_OFF_SECONDS * 2**number
        assert 0.7 * base <= wait <= 1.3 * base + 2
    other = a_run(uid=UID.replace("1", "9")).done_until("policy").runs("policy").fails("policy", F.INFRASTRUCTURE)
    assert other.stage("policy").history[0].end_time is not None


def test_the_settings_bound_what_a_run_may_ask_for() -> None:
    world = a_run(
        an_alignment_run(retry={"infrastructure": 900}), settings=settings(limits=Limits(max_infrastructure_retries=1))
    ).done_until("policy")
    fail(world, F.INFRASTRUCTURE, 2)
    assert world.stage("policy").state == "Failed"


def test_attempts_that_get_nowhere_wait_though_they_cost_nothing() -> None:
    world = at_policy()
    for _ in range(3):
        world.runs("policy").after(1).fails("policy", F.PREEMPTED)
        if world.stage("policy").reason == "BackOff":
            break
    assert world.stage("policy").reason == "BackOff"
    assert world.stage("policy").infrastructure_retries is None


def test_a_job_that_somebody_deletes_again_and_again_is_made_again_more_and_more_slowly() -> None:
    """Each time ``prepare`` looks first; it costs no budget, and no longer than the longest back-off."""
    world, found = at_policy(), []
    for _ in range(4):
        world.runs("policy").after(5).ends("policy").runs("prepare").after(1).succeeds("prepare")
        stage = world.stage("policy")
        found.append((stage.state.value, stage.reason, stage.infrastructure_retries))
        world.after(LONG).settle()
        assert world.stage("policy").state == "Running"
    assert found[0] == ("Running", "Starting", None)
    assert found[1:] == [("Waiting", "BackOff", None)] * 3


def test_budgets_are_those_of_the_key() -> None:
    world = fail(at_policy(), F.INFRASTRUCTURE, 5)
    world.edit(policy={"dpo": {"beta": "0.3"}}).settle().ends("policy")
    world.runs("prepare").succeeds("prepare")
    stage = world.stage("policy")
    assert (stage.infrastructure_retries, stage.attempt) == (None, 7)


def test_a_missing_input_is_made_again_and_then_the_stage_goes_on() -> None:
    world = at_policy()
    world.store = {
        "feedback-model": StageFinding(name="feedback-model", state=StageState.PRESENT, digest="sha256:" + "1" * 64)
    }
    world.runs("policy").fails("policy", F.MISSING_INPUT, "the pairs are gone")
    assert (world.stage("policy").state, world.stage("prepare").state) == ("Unknown", "Running")
    world.runs("prepare").succeeds("prepare")
    states = {stage.name: stage.state.value for stage in world.status.stages}
    assert (states["feedback-model"], states["synthesis"], states["policy"]) == ("Succeeded", "Running", "Pending")
    world.runs("synthesis").succeeds("synthesis")
    assert world.stage("policy").attempt == 2


def test_a_diverged_stage_names_step_and_last_good_checkpoint() -> None:
    world = at_policy().runs("policy").fails("policy", F.PREEMPTED, step=100)
    world.runs("policy").fails("policy", F.DIVERGED, "the loss is not a number", step=130)
    message = world.condition("Stalled").message
    assert "step 130" in message
    assert "last good checkpoint: step 100" in message


def test_an_error_shows_the_end_of_its_traceback_and_nothing_that_controls_a_terminal() -> None:
    world = at_policy(retry={"error": 0}).runs("policy")
    text = "Traceback\x1b[31m\n" + "x" * 700 + "\nValueError: 3 is no 4"
    world.update("policy", failed=("BackoffLimitExceeded", ""), pods=(over(ended(1, text)),)).settle()
    message = world.condition("Stalled").message
    assert "ValueError: 3 is no 4" in message
    assert "\x1b" not in message


def test_device_seconds_are_added_once_per_attempt() -> None:
    world = at_policy().runs("policy").after(100).fails("policy", F.ERROR)
    assert world.stage("policy").device_seconds == 100
    before = world.status.device_seconds
    world.settle().after(LONG).settle()
    assert world.status.device_seconds == before
    world.runs("policy").after(70).ends("policy")
    assert world.stage("policy").device_seconds == 170


STOPS: dict[str, Callable[[World], World]] = {
    "suspended": lambda world: world.edit(suspend=True).settle(),
    "edited": lambda world: world.edit(policy={"dpo": {"beta": "0.3"}}).settle(),
    "moved": lambda world: world.edit(storage={"uri": "s3://bucket/elsewhere"}).settle(),
    "gone": lambda world: world.ends("policy"),
}


@pytest.mark.parametrize("stop", STOPS)
def test_the_time_of_an_evicted_pod_is_counted_once(stop: str) -> None:
    """Its Job stays, and so does the pod that has ended: what ends the attempt finds it there once more."""
    world = a_run().done_until("policy")
    before = world.status.device_seconds or 0
    world.after(5).runs("policy").after(105)
    evicted = over(ended(76, ran=105), created=world.now - 105)
    world.update("policy", suspended=True, pods=(evicted,)).settle().after(50)
    STOPS[stop](world)
    assert (world.status.device_seconds or 0) - before == 105
    assert world.stage("policy").device_seconds == 105


def test_a_pod_of_the_next_admission_is_counted_though_nobody_saw_it_run() -> None:
    world = a_run().done_until("policy").after(5).runs("policy").after(105)
    evicted = over(ended(76, ran=105), created=world.now - 105)
    world.update("policy", suspended=True, pods=(evicted,)).settle().after(50)
    key = world.key("policy")
    again = over(said(success("policy", key), ran=30), uid="again", created=world.now)
    world.update("policy", suspended=False, complete=True, pods=(again, evicted)).settle()
    assert (world.stage("policy").state, world.stage("policy").device_seconds) == ("Succeeded", 135)


def test_history_keeps_the_last_ten_and_numbers_are_never_given_twice() -> None:
    world = at_policy()
    for number in range(14):
        world.runs("policy").after(100).fails("policy", F.PREEMPTED, step=10 * (number + 1))
    stage = world.stage("policy")
    assert [entry.attempt for entry in stage.history] == list(range(5, 15))
    numbers = [start.attempt for start in starts(world)]
    assert numbers == sorted(set(numbers)) == list(range(1, 16))
