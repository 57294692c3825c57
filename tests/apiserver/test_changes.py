"""What a user does to a run: suspend, resume, edit, stop after, retry, delete, make anew; and runs that share keys."""

from __future__ import annotations

import time

import pytest
from apiserver.client import ApiError, until
from apiserver.kubelet import End, failure
from apiserver.runs import condition_of, stage_of, states
from apiserver.world import World
from boresight_api.outcome import FailureClass
from boresight_operator.api import JOBS
from boresight_operator.names import RUN_UID_LABEL

# -- suspend ---------------------------------------------------------------------------------------------------------


def test_suspending_ends_the_attempt_and_resuming_is_a_new_one_free_of_charge(world: World) -> None:
    run = world.evaluation()
    world.play(run, "prepare")
    world.start(run, "evaluation")
    world.edit(run, suspend=True)
    world.await_condition(run, "Suspended", "True")
    world.await_stage(run, "evaluation", "Suspended")
    until(lambda: not world.jobs(run, "evaluation"), "its Job is gone", seconds=15)
    world.nothing_changes(run, seconds=1)
    world.edit(run, suspend=False)
    world.kubelet.run(world.kubelet.await_pods(run, "evaluation", attempt=2)[0])
    stage = world.await_stage(run, "evaluation", "Running", attempt=2)
    assert [stage.get(name) for name in ("infrastructureRetries", "errorRetries")] == [None, None]
    world.await_condition(run, "Suspended", "False")


def test_a_resumed_stage_says_at_which_step_it_goes_on(world: World) -> None:
    """The stopped pod tells it at its end, and is gone a moment later."""
    run = world.evaluation()
    world.play(run, "prepare")
    world.start(run, "evaluation")
    key = world.await_stage(run, "evaluation", "Running")["key"]
    world.kubelet.on_stop = lambda _: failure("evaluation", FailureClass.PREEMPTED, "stopped", key=key, step=7)
    world.edit(run, suspend=True)
    world.await_condition(run, "Suspended", "True")
    until(lambda: not world.jobs(run, "evaluation"), "its Job is gone", seconds=15)
    world.edit(run, suspend=False)
    world.kubelet.run(world.kubelet.await_pods(run, "evaluation", attempt=2)[0])
    stage = world.await_stage(run, "evaluation", "Running", attempt=2)
    assert stage["resumedFromStep"] == 7
    assert stage["history"][0]["stepsGained"] == 7


def test_a_run_that_is_made_suspended_starts_nothing(world: World) -> None:
    run = world.evaluation(suspend=True)
    world.await_condition(run, "Suspended", "True")
    assert world.jobs(run) == []
    world.edit(run, suspend=False)
    world.play(run, "prepare", "evaluation")


# -- edits -----------------------------------------------------------------------------------------------------------


def test_an_edit_runs_exactly_the_stages_whose_keys_change(world: World) -> None:
    run = world.alignment()
    world.play(run, "prepare", "feedback-model", "synthesis", "policy", "evaluation")
    before = {stage["name"]: stage.get("key") for stage in world.now(run)["status"]["stages"]}
    world.edit(run, policy={"dpo": {"beta": "0.3"}})
    for stage in ("prepare", "policy", "evaluation"):
        pods = world.kubelet.await_pods(run, stage)
        world.kubelet.run(pods[0])
        world.kubelet.succeed(pods[0])
    world.await_condition(run, "Succeeded", "True")
    after = {stage["name"]: stage.get("key") for stage in world.now(run)["status"]["stages"]}
    assert {name for name in before if before[name] != after[name]} == {"policy", "evaluation"}
    assert {name: len(world.jobs(run, name)) for name in ("feedback-model", "synthesis")} == {
        "feedback-model": 1,
        "synthesis": 1,
    }


def test_a_running_stage_that_left_the_plan_is_stopped_and_said_to_be(world: World) -> None:
    run = world.alignment()
    world.play(run, "prepare")
    world.start(run, "feedback-model")
    key = stage_of(world.now(run), "feedback-model")["key"]
    world.edit(run, feedbackModel={"training": {"epochs": 1}})
    world.await_run(run, lambda run: stage_of(run, "feedback-model").get("key") != key, "another key")
    until(lambda: [e for e in world.events(run) if e["reason"] == "WorkDiscarded"], "event WorkDiscarded")
    world.kubelet.play(run, "prepare")
    pod = world.kubelet.run(world.kubelet.await_pods(run, "feedback-model", attempt=2)[0])
    assert world.kubelet.document(pod).key == stage_of(world.now(run), "feedback-model")["key"]


def test_compute_counts_from_the_next_attempt(world: World) -> None:
    run = world.alignment()
    world.play(run, "prepare")
    pod = world.start(run, "feedback-model")
    world.edit(run, compute={"resources": {"requests": {"cpu": "3"}}})
    world.await_run(run, lambda run: run["status"]["observedGeneration"] == run["metadata"]["generation"], "seen")
    stage = stage_of(world.now(run), "feedback-model")
    assert (stage["state"], stage["attempt"]) == ("Running", 1)
    assert "next attempt" in str(world.now(run)["status"]), "the status says that it counts from then on"
    world.kubelet.end(pod, End(137, reason="OOMKilled"))
    (second,) = world.kubelet.await_pods(run, "feedback-model", attempt=2)
    assert second["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "3"


def test_an_edit_that_cannot_be_leaves_what_runs_alone(world: World) -> None:
    run = world.evaluation()
    world.play(run, "prepare")
    pod = world.start(run, "evaluation")
    world.edit(run, compute={"podTemplate": {"nodeSelector": {"-a": "b"}}})
    world.await_condition(run, "Accepted", "False")
    found = world.await_condition(run, "Stalled", "True")
    assert "nodeSelector" in found["message"] + condition_of(world.now(run), "Accepted")["message"]
    assert states(world.now(run))["evaluation"] == "Running"
    world.kubelet.succeed(pod)
    world.await_stage(run, "evaluation", "Succeeded")
    world.edit(run, compute={"podTemplate": None})
    world.await_condition(run, "Accepted", "True")
    world.await_condition(run, "Succeeded", "True")


def test_stop_after_holds_the_run_until_it_is_lifted(world: World) -> None:
    run = world.alignment(stopAfter="FeedbackModel")
    world.play(run, "prepare", "feedback-model")
    world.await_stage(run, "synthesis", "Waiting", reason="StoppedAfter")
    world.nothing_changes(run, seconds=1)
    world.edit(run, stopAfter=None)
    world.kubelet.await_pods(run, "synthesis")


def test_the_retry_annotation_clears_a_stall_and_prepares_anew(world: World) -> None:
    run = world.evaluation(retry={"error": 0})
    world.play(run, "prepare")
    world.kubelet.end(world.start(run, "evaluation"), End(1))
    world.await_condition(run, "Stalled", "True")
    world.annotate(run, retry="1")
    world.kubelet.play(run, "prepare")
    pods = world.kubelet.await_pods(run, "evaluation", attempt=2)
    world.kubelet.run(pods[0])
    world.kubelet.succeed(pods[0])
    world.await_condition(run, "Succeeded", "True")
    assert condition_of(world.now(run), "Stalled")["status"] == "False"


# -- deletion --------------------------------------------------------------------------------------------------------


def test_a_run_deleted_while_nobody_watches_is_gone_at_once(world: World) -> None:
    run = world.evaluation()
    world.play(run, "prepare")
    world.start(run, "evaluation")
    world.operator.kill()
    started = time.monotonic()
    world.delete(run)
    with pytest.raises(ApiError):
        world.now(run)
    assert time.monotonic() - started < 2, "no finalizer of ours holds it"
    until(lambda: not world.jobs(run) and not world.kubelet.pods(run), "its Jobs and pods go", seconds=20)
    assert world.config_maps(run) == []
    world.operator.start()
    time.sleep(1)
    assert world.client.list(JOBS, world.namespace) == []


def test_a_run_made_anew_under_its_name_is_another_run(world: World) -> None:
    first = world.evaluation("again")
    world.play(first, "prepare")
    world.start(first, "evaluation")
    world.operator.stop()  # it believes in the first run until it goes on
    world.delete(first)
    second = world.evaluation("again")
    world.operator.go_on()
    world.play(second, "prepare")
    pods = world.kubelet.await_pods(second, "evaluation")
    assert {pod["metadata"]["labels"][RUN_UID_LABEL] for pod in pods} == {second["metadata"]["uid"]}
    until(
        lambda: not world.jobs(first) and not world.config_maps(first), "nothing is left for the dead UID", seconds=20
    )
    assert world.now(second)["metadata"]["uid"] == second["metadata"]["uid"]
    world.nothing_changes(second, seconds=1)
    assert world.jobs(first) == []


# -- one key, many runs ----------------------------------------------------------------------------------------------


def test_the_oldest_works_and_the_others_take_its_artifact(world: World) -> None:
    first = world.evaluation("first")
    world.await_run(first, lambda run: states(run), "it has begun")
    time.sleep(1.1)  # creation times have seconds
    second = world.evaluation("second")
    world.play(first, "prepare")
    world.play(second, "prepare")
    world.start(first, "evaluation")
    stage = world.await_stage(second, "evaluation", "Waiting", reason="SameKeyRunning")
    assert "first" in stage["message"]
    assert world.jobs(second, "evaluation") == []
    world.play(first, "evaluation")
    stage = world.await_stage(second, "evaluation", "Cached")
    assert stage["artifact"] == stage_of(world.now(first), "evaluation")["artifact"]
    world.await_condition(second, "Succeeded", "True")


def test_if_the_oldest_is_deleted_the_next_takes_over(world: World) -> None:
    first = world.evaluation("first")
    world.await_run(first, lambda run: states(run), "it has begun")
    time.sleep(1.1)
    second = world.evaluation("second")
    world.play(first, "prepare")
    world.play(second, "prepare")
    world.start(first, "evaluation")
    world.await_stage(second, "evaluation", "Waiting", reason="SameKeyRunning")
    world.delete(first)
    world.start(second, "evaluation")
    assert not world.kubelet.pods(first), "the first one's pod ended before the second one's began"


def test_an_evaluation_alone_has_the_key_of_a_runs_own(world: World) -> None:
    """plan(EvalRun).key == plan(AlignmentRun).evaluation.key is a unit test; here two kinds share one artifact."""
    run = world.synthesis("pairs")
    world.play(run, "prepare", "synthesis")
    other = world.synthesis("pairs-again")
    world.kubelet.play(other, "prepare")
    stage = world.await_stage(other, "synthesis", "Cached")
    assert stage["key"] == stage_of(world.now(run), "synthesis")["key"]


def test_twenty_runs_that_differ_in_beta_train_one_feedback_model(world: World) -> None:
    runs = [world.alignment(f"beta-{n}", policy={"dpo": {"beta": f"0.{n + 1:02}"}}) for n in range(20)]
    for run in runs:
        world.kubelet.play(run, "prepare")
    for stage in ("feedback-model", "synthesis"):
        worker = until(
            lambda stage=stage: next((run for run in runs if world.jobs(run, stage)), None), f"a Job of {stage}"
        )
        world.kubelet.play(worker, stage)
        world.await_stage(worker, stage, "Succeeded")
    for run in runs:
        world.kubelet.await_pods(run, "policy", seconds=30)
    made = world.client.list(JOBS, world.namespace)
    counts = {stage: sum(job["metadata"]["labels"]["boresight.dev/stage"] == stage for job in made) for stage in STAGES}
    assert counts == {"prepare": 20, "feedback-model": 1, "synthesis": 1, "policy": 20}


STAGES = ("prepare", "feedback-model", "synthesis", "policy")
