"""How attempts end, and what follows: one run for each class of failure, played side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from apiserver.client import Object
from apiserver.kubelet import End, failure
from apiserver.runs import condition_of, stage_of
from apiserver.world import World
from boresight_api.outcome import FailureClass
from boresight_operator.api import JOBS

RUBBISH = "\x00\x1b[31m{not json" * 400
"""More than the 4 KiB that Kubernetes keeps of a termination message."""


@dataclass(frozen=True)
class Case:
    """An end of the stage's first attempt."""

    name: str
    end: Callable[[World, Object], object]
    failure_class: str
    again: bool
    """Whether a second attempt follows."""
    charged: str | None = None
    """The budget that pays for it."""


def exits(failure_class: FailureClass, message: str = "it broke") -> Callable[[World, Object], object]:
    """As the trainer ends: exit code and outcome."""
    return lambda world, pod: world.kubelet.end(
        pod, failure("evaluation", failure_class, message, key=pod["metadata"]["annotations"]["boresight.dev/key"])
    )


def ends(code: int, *, reason: str = "", message: str = "") -> Callable[[World, Object], object]:
    """As a killed process ends: no outcome."""
    return lambda world, pod: world.kubelet.end(pod, End(code, message, reason))


CASES = [
    Case("invalid-config", exits(FailureClass.INVALID_CONFIG, "spec.x: found y"), "InvalidConfig", again=False),
    Case("invalid-data", exits(FailureClass.INVALID_DATA, "row 7: found 3"), "InvalidData", again=False),
    Case("diverged", exits(FailureClass.DIVERGED, "the loss is not a number"), "Diverged", again=False),
    Case("out-of-memory", ends(137, reason="OOMKilled"), "OutOfMemory", again=True, charged="outOfMemoryRetries"),
    Case("cuda-memory", exits(FailureClass.OUT_OF_MEMORY), "OutOfMemory", again=True, charged="outOfMemoryRetries"),
    Case(
        "error", exits(FailureClass.ERROR, "Traceback ... KeyError: 'x'"), "Error", again=True, charged="errorRetries"
    ),
    Case("signal", ends(139), "Error", again=True, charged="errorRetries"),
    Case("rubbish", ends(1, message=RUBBISH), "Error", again=True, charged="errorRetries"),
    Case("hung", exits(FailureClass.HUNG), "Hung", again=True, charged="infrastructureRetries"),
    Case(
        "infrastructure",
        exits(FailureClass.INFRASTRUCTURE),
        "Infrastructure",
        again=True,
        charged="infrastructureRetries",
    ),
    Case("preempted", lambda world, pod: world.kubelet.disrupt(pod, "for a better one"), "Preempted", again=True),
]


def test_every_class_of_failure_has_its_consequence(world: World) -> None:
    runs = {case.name: world.evaluation(case.name, storage={"uri": f"s3://alignment/{case.name}"}) for case in CASES}
    for run in runs.values():
        world.kubelet.play(run, "prepare")
    for case in CASES:
        case.end(world, world.kubelet.run(world.kubelet.await_pods(runs[case.name], "evaluation")[0]))
    for case in CASES:
        run = world.await_run(
            runs[case.name], lambda run: stage_of(run, "evaluation").get("history"), f"{case.name}: the attempt's end"
        )
        (attempt,) = stage_of(run, "evaluation")["history"]
        assert (attempt["attempt"], attempt["failureClass"]) == (1, case.failure_class), case.name
        if not case.again:
            world.await_stage(run, "evaluation", "Failed")
            world.await_condition(run, "Stalled", "True")
            found = world.await_condition(run, "Succeeded", "False")
            assert found["message"], case.name
    for case in CASES:
        if case.again:
            run = world.await_run(
                runs[case.name],
                lambda run: (
                    stage_of(run, "evaluation").get("attempt") == 2
                    or stage_of(run, "evaluation").get("reason") == "BackOff"
                ),
                f"{case.name}: the second attempt, or the wait before it",
            )
            budgets = {name: stage_of(run, "evaluation").get(name) for name in BUDGETS}
            assert budgets == {name: 1 if name == case.charged else None for name in BUDGETS}, case.name
            assert condition_of(run, "Stalled")["status"] == "False", case.name


BUDGETS = ("outOfMemoryRetries", "errorRetries", "infrastructureRetries", "missingInputRetries")


def test_half_the_tokens_after_memory_ran_out_and_then_failure(world: World) -> None:
    run = world.evaluation()
    world.play(run, "prepare")
    world.kubelet.end(world.start(run, "evaluation"), End(137, reason="OOMKilled"))
    pod = world.start(run, "evaluation", attempt=2)
    document = world.kubelet.document(pod)
    assert document.execution.token_budget_halvings == 1
    assert document.key == stage_of(world.now(run), "evaluation")["key"]
    world.kubelet.end(pod, End(137, reason="OOMKilled"))
    world.await_stage(run, "evaluation", "Failed")
    world.await_condition(run, "Stalled", "True")


def test_a_failure_says_what_and_where_and_how_to_read_on(world: World) -> None:
    run = world.evaluation()
    world.play(run, "prepare")
    pod = world.start(run, "evaluation")
    exits(FailureClass.INVALID_DATA, "eval.jsonl: row 7: found no prompt")(world, pod)
    stalled = world.await_condition(run, "Stalled", "True")
    assert "row 7: found no prompt" in stalled["message"]
    assert "kubectl boresight logs" in stalled["message"]
    assert any(event["type"] == "Warning" for event in world.events(run))


def test_control_characters_of_a_pod_reach_no_status(world: World) -> None:
    run = world.evaluation(retry={"error": 0})
    world.play(run, "prepare")
    world.kubelet.end(world.start(run, "evaluation"), End(1, RUBBISH))
    world.await_stage(run, "evaluation", "Failed")
    text = str(world.now(run)["status"])
    assert "\\x1b" not in text
    assert "\\x00" not in text


def test_the_rank_at_fault_is_named_and_not_those_that_lost_it(later: World) -> None:
    run = later.alignment(feedbackModel={"compute": {"nodes": 2}})
    later.play(run, "prepare")
    first, second = (later.kubelet.run(pod) for pod in later.kubelet.await_pods(run, "feedback-model", count=2))
    key = first["metadata"]["annotations"]["boresight.dev/key"]
    later.kubelet.end(first, failure("feedback-model", FailureClass.PEER_LOST, "rank 1 is gone", key=key))
    later.kubelet.end(second, End(137, reason="OOMKilled"))
    run = later.await_run(run, lambda run: stage_of(run, "feedback-model").get("history"), "the attempt's end")
    (attempt,) = stage_of(run, "feedback-model")["history"]
    assert (attempt["failureClass"], attempt["rank"]) == ("OutOfMemory", 1)


def test_a_lost_outcome_is_looked_for_in_the_store(world: World) -> None:
    """A hand deletes the Job right after its end: prepare finds the artifact, and nothing runs twice."""
    run = world.evaluation()
    world.play(run, "prepare")
    pod = world.start(run, "evaluation")
    world.kubelet.outcome(pod)  # published, and never told
    (job,) = world.jobs(run, "evaluation")
    world.client.delete(JOBS, world.namespace, job["metadata"]["name"], propagationPolicy="Background")
    world.kubelet.play(run, "prepare")
    world.await_run(run, lambda run: stage_of(run, "evaluation").get("state") in {"Cached", "Succeeded"}, "adopted")
    assert len(world.jobs(run, "evaluation")) == 0
    assert stage_of(world.now(run), "evaluation").get("infrastructureRetries") is None, (
        "a deleted attempt costs nothing"
    )


@pytest.mark.long
def test_back_off_ends_and_budgets_are_exact(world: World) -> None:
    run = world.evaluation(retry={"infrastructure": 1, "error": 0})
    world.play(run, "prepare")
    for attempt in (1, 2):
        pod = world.kubelet.run(world.kubelet.await_pods(run, "evaluation", attempt=attempt, seconds=90)[0])
        exits(FailureClass.INFRASTRUCTURE, "the store does not answer")(world, pod)
    world.await_stage(run, "evaluation", "Failed")
    assert stage_of(world.now(run), "evaluation")["infrastructureRetries"] == 1
    assert len(world.jobs(run, "evaluation")) == 2
