"""The waiting table: what an attempt waits for, for how long, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from boresight_operator.decision import DeleteJob, LookAtEvents
from boresight_operator.views import PodView
from builders_manifests import an_alignment_run
from builders_operator import NOW, World, a_pod, a_run, running, several_nodes


def at_policy(**spec: object) -> World:
    return a_run(an_alignment_run(**spec)).done_until("policy").after(1)


def pod(**fields: object) -> Callable[[World], World]:
    return lambda world: world.update("policy", pods=(a_pod(created=world.now, **fields),)).settle()


def waiting(reason: str, message: str = "why") -> Callable[[World], World]:
    return pod(node="node-a", has_container_status=True, waiting_reason=reason, waiting_message=message)


def told(event: str) -> Callable[[World], World]:
    return lambda world: world.update("policy", events=(event,)).settle()


@dataclass(frozen=True)
class Row:
    name: str
    happen: Callable[[World], World]
    reason: str
    limited: bool


TABLE = [
    Row("no node fits", pod(unschedulable="0/9 nodes"), "Unschedulable", limited=False),
    Row("queue", lambda world: world.update("policy", suspended=True).settle(), "QuotaPending", limited=False),
    Row("secret", waiting("CreateContainerConfigError", 'secret "s" not found'), "SecretMissing", limited=True),
    Row(
        "key of a secret",
        waiting("CreateContainerConfigError", "couldn't find key K in Secret default/s"),
        "SecretMissing",
        limited=True,
    ),
    Row("config map", waiting("CreateContainerConfigError", 'configmap "c" not found'), "ConfigError", limited=True),
    Row("container", waiting("CreateContainerError"), "ConfigError", limited=True),
    Row("image", waiting("ErrImagePull"), "ImagePull", limited=True),
    Row("image again", waiting("ImagePullBackOff"), "ImagePull", limited=True),
    Row("mount", told("FailedMount: MountVolume.SetUp failed"), "MountFailed", limited=True),
    Row("attach", told("FailedAttachVolume: Multi-Attach error"), "MountFailed", limited=True),
    Row("quota", told('FailedCreate: pods "x" is forbidden: exceeded quota: compute'), "PodsForbidden", limited=True),
    Row("security", told('FailedCreate: violates PodSecurity "restricted:latest"'), "PodsForbidden", limited=True),
    Row("webhook", told('FailedCreate: admission webhook "x" denied the request'), "PodsForbidden", limited=True),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_status_says_what_it_waits_for_and_whether_time_is_limited(row: Row) -> None:
    world = row.happen(at_policy())
    stage = world.stage("policy")
    assert (stage.state, stage.reason, stage.job_uid) == ("Waiting", row.reason, world.job("policy").uid)
    assert stage.message
    world.after(899).settle()
    assert world.stage("policy").state == "Waiting"
    world.after(10).settle()
    stage = world.stage("policy")
    if row.limited:
        assert (stage.reason, stage.infrastructure_retries) == ("BackOff", 1)
        assert stage.history[-1].reason == "StartTimeout"
        assert world.job("policy").deleting
    else:
        assert (stage.state, stage.reason, stage.attempt) == ("Waiting", row.reason, 1)


def stands_still(**fields: object) -> World:
    """40 seconds after its pod was made, and nobody tells why there is no container."""
    world = pod(node="node-a", **fields)(at_policy()).after(40)
    return world.update("policy", events=()).settle()


SILENT = [
    {"waiting_reason": "ContainerCreating", "has_container_status": True},
    {"waiting_reason": "PodInitializing", "has_container_status": True},
    {},
]


@pytest.mark.parametrize("said", SILENT, ids=["creating", "initializing", "kubelet has not answered"])
def test_a_node_that_gets_no_container_up_and_says_nothing_has_the_time_to_start(said: dict[str, object]) -> None:
    world = stands_still(**said)
    stage = world.stage("policy")
    assert (stage.state, stage.reason, stage.job_uid) == ("Waiting", "ContainerCreating", world.job("policy").uid)
    assert "pod-0 has been on node node-a" in (stage.message or "")
    assert str(said.get("waiting_reason", "")) in (stage.message or "")
    assert 899 <= (world.decide().requeue_after or 0) <= 902
    world.after(890).settle()
    assert world.stage("policy").state == "Waiting"
    world.after(20).settle()
    stage = world.stage("policy")
    assert (stage.reason, stage.infrastructure_retries) == ("BackOff", 1)
    assert (stage.history[-1].reason, stage.history[-1].node) == ("StartTimeout", "node-a")
    assert "ContainerCreating" in (stage.history[-1].message or "")
    assert world.job("policy").deleting


def test_a_container_that_comes_up_late_runs_at_no_charge() -> None:
    world = stands_still().after(800).runs("policy")
    stage = world.stage("policy")
    assert (stage.reason, stage.infrastructure_retries, stage.attempt) == ("Running", None, 1)


@pytest.mark.parametrize(
    "pods",
    [(), (a_pod(created=NOW),), (a_pod(created=NOW, node="node-a"), a_pod(1, created=NOW))],
    ids=["no pod", "no node", "one without node"],
)
def test_without_a_place_for_every_pod_time_has_no_limit(pods: tuple[PodView, ...]) -> None:
    """A Job controller or a scheduler that is down would fail the next attempt, too."""
    world = a_run(tweak=several_nodes("policy", max(1, len(pods)))).done_until("policy").after(40)
    world.update("policy", pods=pods, events=()).settle().after(50_000).settle()
    stage = world.stage("policy")
    assert (stage.state, stage.reason, stage.attempt) == ("Running", "Starting", 1)


def test_another_pod_has_its_own_time_to_start() -> None:
    world = stands_still().after(800)
    world.update("policy", events=None, pods=(a_pod(node="node-b", created=world.now),)).settle()
    assert (world.stage("policy").state, world.stage("policy").reason) == ("Running", "Starting")
    world.after(32).update("policy", events=()).settle().after(800).settle()
    assert (world.stage("policy").state, world.stage("policy").reason) == ("Waiting", "ContainerCreating")


def test_a_process_that_does_not_know_the_events_looks_again_and_keeps_the_time() -> None:
    world = stands_still().after(500)
    since = world.stage("policy").since
    world.update("policy", events=None)
    assert world.decide().effects == (LookAtEvents(world.job("policy").uid),)
    world.settle()
    assert (world.stage("policy").reason, world.stage("policy").since) == ("ContainerCreating", since)
    world.update("policy", events=("FailedMount: no such volume",)).settle()
    assert world.stage("policy").reason == "MountFailed"


def test_the_limit_is_the_runs_own() -> None:
    world = waiting("ErrImagePull")(at_policy(timeouts={"startSeconds": 60}))
    assert 60 <= (world.decide().requeue_after or 0) <= 62
    world.after(62).settle()
    assert world.stage("policy").history[-1].reason == "StartTimeout"


def test_time_in_a_queue_does_not_count_for_the_start() -> None:
    world = at_policy().update("policy", suspended=True).settle().after(5000)
    waiting("ErrImagePull")(world.update("policy", suspended=False))
    world.after(800).settle()
    assert world.stage("policy").reason == "ImagePull"


def test_what_is_cured_runs_at_no_charge() -> None:
    world = waiting("CreateContainerConfigError", 'secret "s" not found')(at_policy()).after(600).runs("policy")
    stage = world.stage("policy")
    assert (stage.state, stage.infrastructure_retries, stage.attempt) == ("Running", None, 1)


def test_an_image_name_that_is_none_fails_at_once() -> None:
    world = waiting("InvalidImageName")(at_policy())
    stage = world.stage("policy")
    assert (stage.state, stage.reason, stage.history[-1].failure_class) == (
        "Failed",
        "InvalidImageName",
        "InvalidConfig",
    )


def test_a_job_without_pod_for_30_seconds_has_its_events_looked_at_once() -> None:
    world = at_policy()
    job = world.job("policy")
    assert LookAtEvents(job.uid) not in world.decide().effects
    assert 28 <= (world.decide().requeue_after or 0) <= 32
    world.after(32)
    assert world.decide().effects == (LookAtEvents(job.uid),)
    world.update("policy", events=())
    assert world.decide().effects == ()


def test_a_pod_without_container_for_30_seconds_has_its_events_looked_at() -> None:
    world = waiting("ContainerCreating", "")(at_policy()).after(40)
    assert world.decide().effects == (LookAtEvents(world.job("policy").uid),)


@pytest.mark.parametrize(
    "place",
    [lambda world: world.update("policy", suspended=True).settle(), pod(unschedulable="0/9 nodes")],
    ids=["queue", "no node"],
)
def test_after_a_place_is_found_it_has_30_seconds_to_start_before_its_events_are_looked_at(
    place: Callable[[World], World],
) -> None:
    world = place(at_policy()).after(3600)
    world.update("policy", suspended=False, pods=(a_pod(node="node-a", created=world.now),)).settle()
    assert not any(isinstance(effect, LookAtEvents) for d in world.decisions for effect in d.effects)
    assert (world.stage("policy").state, world.stage("policy").reason) == ("Running", "Starting")
    assert world.after(32).decide().effects == (LookAtEvents(world.job("policy").uid),)


def test_pods_are_not_forbidden_any_more_once_they_are_there() -> None:
    """The event that told of it is kept for an hour."""
    world = told("FailedCreate: exceeded quota")(at_policy().after(40)).after(890)
    assert world.stage("policy").reason == "PodsForbidden"
    world.update("policy", pods=(a_pod(node="node-a", created=world.now),)).settle().after(30).settle()
    stage = world.stage("policy")
    assert (stage.state, stage.reason, stage.infrastructure_retries) == ("Running", "Starting", None)


def test_what_was_told_of_other_pods_is_looked_at_again_at_once() -> None:
    """Also by a process that has not looked yet: the status stays, and so does the time since when."""
    world = told("FailedMount: no such volume")(at_policy().after(40)).after(100)
    since = world.stage("policy").since
    world.update("policy", events=None, pods=(a_pod(node="node-b", created=world.now),))
    assert world.decide().effects == (LookAtEvents(world.job("policy").uid),)
    assert world.step().status.stages == world.settle().status.stages
    assert (world.stage("policy").reason, world.stage("policy").since) == ("MountFailed", since)
    world.update("policy", events=()).settle()
    assert world.stage("policy").reason == "Starting"


def test_nothing_is_looked_at_while_a_job_is_suspended_or_runs() -> None:
    suspended = at_policy().update("policy", suspended=True).settle().after(100)
    assert suspended.decide().effects == ()
    assert at_policy().runs("policy").after(100).decide().effects == ()


def test_a_cpu_stage_that_somebody_suspends_names_the_setting() -> None:
    world = a_run().settle().update("prepare", suspended=True).settle()
    assert "queueCPUStages" in (world.stage("prepare").message or "")
    gpu = at_policy().update("policy", suspended=True).settle()
    assert "queueCPUStages" not in (gpu.stage("policy").message or "")


def test_an_evicted_job_stays_costs_nothing_and_goes_on() -> None:
    world = at_policy().runs("policy").after(100)
    job = world.job("policy").uid
    world.update("policy", suspended=True, pods=()).settle()
    stage = world.stage("policy")
    assert (stage.reason, stage.preemptions, stage.attempt, stage.job_uid) == ("QuotaPending", 1, 1, job)
    assert (stage.running_since, stage.running_seconds, stage.device_seconds) == (None, 100, 100)
    world.after(1000).settle()
    assert world.stage("policy").preemptions == 1
    world.runs("policy").after(50)
    assert world.stage("policy").state == "Running"
    assert not any(isinstance(effect, DeleteJob) for d in world.decisions for effect in d.effects)


def test_queued_seconds_are_the_time_between_wanting_and_running() -> None:
    world = at_policy()
    before = world.status.queued_seconds or 0
    world.update("policy", suspended=True).settle().after(300).update("policy", suspended=False)
    world.runs("policy").after(1000).settle()
    assert (world.status.queued_seconds or 0) - before == pytest.approx(300, abs=3)
    assert world.stage("policy").queued_seconds == pytest.approx(300, abs=3)


def test_every_rank_must_run() -> None:
    world = a_run(tweak=several_nodes("policy", 2)).done_until("policy")
    world.update("policy", pods=(running(0),)).settle()
    assert world.stage("policy").reason == "Starting"
    world.update("policy", pods=(running(0), a_pod(1, created=NOW, unschedulable="no node"))).settle()
    assert world.stage("policy").reason == "Unschedulable"
    world.update("policy", pods=(running(0), running(1))).settle()
    assert world.stage("policy").reason == "Running"


# -- a node that does not answer -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pod", "late", "reason"),
    [
        ({}, 1000, "Running"),
        ({"deleting_since": 30}, 300, "Running"),
        ({"deleting_since": 30}, 340, "NodeLost"),
        ({"deleting_since": 30, "disruption": "node is unreachable"}, 3600, "NodeLost"),
    ],
)
def test_a_pod_that_was_to_end_long_ago_is_told_with_its_node(pod: dict[str, object], late: int, reason: str) -> None:
    """Nothing takes its place, for it may run; but the status says who can help, and how."""
    world = at_policy().runs("policy").after(100)
    since = pod.get("deleting_since")
    at = {"deleting_since": world.now + since} if isinstance(since, int) else {}
    world.update("policy", pods=(running(created=NOW, **{**pod, **at}),)).settle().after(late).settle()
    stage = world.stage("policy")
    assert (stage.state, stage.reason, stage.attempt) == ("Running", reason, 1)
    assert world.condition("Succeeded").reason == reason
    assert ("node-a" in (stage.message or "")) is (reason == "NodeLost")
    assert not world.job("policy").deleting
    world.update("policy", pods=(running(created=NOW),)).settle()
    assert (world.stage("policy").reason, world.stage("policy").message) == ("Running", None)


def test_a_pod_that_ends_in_time_costs_no_write_and_is_looked_at_again() -> None:
    world = at_policy().runs("policy").after(100).settle()
    before = world.status
    world.update("policy", pods=(running(created=NOW, deleting_since=world.now + 30),))
    decision = world.decide()
    assert decision.status == before
    assert 330 <= (decision.requeue_after or 0) <= 332


# -- deadlines -------------------------------------------------------------------------------------------------------


def test_the_deadline_counts_running_time_only() -> None:
    world = at_policy(timeouts={"stageSeconds": 1000}).update("policy", suspended=True).settle().after(5000)
    world.runs("policy").after(600).update("policy", suspended=True, pods=()).settle().after(5000)
    world.runs("policy").after(300).settle()
    assert world.stage("policy").reason == "Running"
    world.after(200).settle()
    assert world.stage("policy").reason == "DeadlineExceeded"
    assert world.job("policy").deleting


def test_a_stage_past_its_deadline_fails_with_the_step_that_it_reached() -> None:
    from boresight_api.outcome import FailureClass

    world = at_policy(timeouts={"stageSeconds": 100}).runs("policy").after(200).settle()
    assert world.condition("Succeeded").status == "Unknown"
    world.fails("policy", FailureClass.PREEMPTED, step=77)
    assert "step 77, with a checkpoint" in world.condition("Stalled").message
    assert world.stage("policy").state == "Failed"


def test_a_stage_that_finishes_while_it_is_stopped_has_succeeded() -> None:
    world = at_policy(timeouts={"stageSeconds": 100}).runs("policy").after(200).settle().succeeds("policy")
    assert world.stage("policy").state == "Succeeded"


def test_the_deadline_counts_over_attempts_at_one_key() -> None:
    from boresight_api.outcome import FailureClass

    world = (
        at_policy(timeouts={"stageSeconds": 150})
        .runs("policy")
        .after(100)
        .fails("policy", FailureClass.PREEMPTED, step=9)
    )
    world.runs("policy").after(60).settle()
    assert world.stage("policy").reason == "DeadlineExceeded"
