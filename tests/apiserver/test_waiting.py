"""Why a stage does not run, said in its status: scheduler, kubelet, quota, names, namespaces, queues."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from apiserver.client import NAMESPACES, Object, until
from apiserver.runs import condition_of, resource_of, stage_of
from apiserver.world import World
from boresight_operator.api import JOBS, Resource
from boresight_operator.names import attempt_name
from boresight_operator.views import Part

RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")

WAITS: dict[str, tuple[Callable[[World, Object], object], str]] = {
    "unschedulable": (
        lambda world, pod: world.kubelet.unschedulable(pod, "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        "Unschedulable",
    ),
    "secret": (
        lambda world, pod: world.kubelet.waiting(
            pod, "CreateContainerConfigError", 'secret "boresight-storage" not found'
        ),
        "SecretMissing",
    ),
    "config": (
        lambda world, pod: world.kubelet.waiting(pod, "CreateContainerConfigError", 'configmap "ca" not found'),
        "ConfigError",
    ),
    "image": (
        lambda world, pod: world.kubelet.waiting(pod, "ImagePullBackOff", 'Back-off pulling image "x": not found'),
        "ImagePull",
    ),
}


def test_each_wait_is_named_with_its_cause(world: World) -> None:
    runs = {name: world.evaluation(name, storage={"uri": f"s3://alignment/{name}"}) for name in WAITS}
    for name, (wait, _) in WAITS.items():
        wait(world, world.kubelet.await_pods(runs[name], "prepare")[0])
    for name, (_, reason) in WAITS.items():
        stage = world.await_stage(runs[name], "prepare", "Waiting", reason=reason)
        assert stage["message"], name
        assert stage["attempt"] == 1
        assert condition_of(world.now(runs[name]), "Stalled")["status"] == "False"
    (pod,) = world.kubelet.await_pods(runs["secret"], "prepare")
    world.kubelet.run(pod)
    world.await_stage(runs["secret"], "prepare", "Running")


def test_an_image_name_that_cannot_be_is_the_users_fault(world: World) -> None:
    run = world.evaluation()
    world.kubelet.waiting(world.kubelet.await_pods(run, "prepare")[0], "InvalidImageName", "couldn't parse image name")
    world.await_stage(run, "prepare", "Failed")
    assert stage_of(world.now(run), "prepare")["history"][0]["failureClass"] == "InvalidConfig"


def test_a_quota_on_pods_is_read_from_the_jobs_events(world: World) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    world.client.create(RESOURCE_QUOTAS, world.namespace, quota)
    until(lambda: "status" in world.client.get(RESOURCE_QUOTAS, world.namespace, "none"), "the quota counts")
    run = world.evaluation()
    stage = world.await_stage(run, "prepare", "Waiting", reason="PodsForbidden", seconds=60)
    assert "exceeded quota" in stage["message"]


def test_a_quota_on_jobs_is_waited_for(world: World) -> None:
    hard = {"count/jobs.batch": "0"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": hard}}
    world.client.create(RESOURCE_QUOTAS, world.namespace, quota)
    until(
        lambda: "hard" in world.client.get(RESOURCE_QUOTAS, world.namespace, "none").get("status", {}),
        "the quota counts",
    )
    run = world.evaluation()
    stage = world.await_stage(run, "prepare", "Waiting", reason="PodsForbidden")
    assert "exceeded quota" in stage["message"]
    assert world.jobs(run) == []
    world.client.delete(RESOURCE_QUOTAS, world.namespace, "none")
    world.kubelet.await_pods(run, "prepare", seconds=20)


def a_foreign_job(world: World, run: Object) -> Object:
    name = attempt_name("first", run["metadata"]["uid"], "prepare", None, 1, Part.WORK)
    container = {"name": "theirs", "image": "busybox", "command": ["true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template}}
    return world.client.create(JOBS, world.namespace, body)


def test_a_foreign_job_under_our_name_is_left_alone(world: World) -> None:
    world.operator.kill()
    run = world.evaluation()
    job = a_foreign_job(world, run)
    world.operator.start()
    stage = world.await_stage(run, "prepare", "Waiting", reason="NameConflict")
    assert job["metadata"]["name"] in stage["message"]
    world.await_condition(run, "Stalled", "True", reason="NameConflict")
    assert world.client.get(JOBS, world.namespace, job["metadata"]["name"])["metadata"]["uid"] == job["metadata"]["uid"]
    world.client.delete(JOBS, world.namespace, job["metadata"]["name"], propagationPolicy="Background")
    world.kubelet.await_pods(run, "prepare", seconds=20)


def test_a_job_that_somebody_else_suspends_waits_for_its_quota(world: World) -> None:
    run = world.evaluation()
    pod = world.start(run, "prepare")
    (job,) = world.jobs(run)
    world.client.merge(JOBS, world.namespace, job["metadata"]["name"], {"spec": {"suspend": True}})
    world.await_stage(run, "prepare", "Waiting", reason="QuotaPending")
    world.client.merge(JOBS, world.namespace, job["metadata"]["name"], {"spec": {"suspend": False}})
    (other,) = world.kubelet.await_pods(run, "prepare")
    assert other["metadata"]["uid"] != pod["metadata"]["uid"]
    world.kubelet.run(other)
    stage = world.await_stage(run, "prepare", "Running")
    assert (stage["attempt"], stage.get("infrastructureRetries")) == (1, None), "the same Job, and nothing is charged"


def test_a_queue_gets_the_label_and_a_suspended_job(world: World) -> None:
    run = world.evaluation(compute={"queueName": "team-vision"})
    world.play(run, "prepare")
    stage = world.await_stage(run, "evaluation", "Waiting", reason="QuotaPending")
    (job,) = world.jobs(run, "evaluation")
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-vision"
    assert stage["attempt"] == 1
    (prepare,) = world.jobs(run, "prepare")
    assert "kueue.x-k8s.io/queue-name" not in prepare["metadata"]["labels"], "CPU stages only if settings say so"
    world.client.merge(
        JOBS, world.namespace, job["metadata"]["name"], {"spec": {"suspend": False}}
    )  # as Kueue admits it
    world.start(run, "evaluation")
    assert stage_of(world.now(run), "evaluation")["queuedSeconds"] >= 0


def test_a_namespace_in_deletion_gets_nothing_more(world: World) -> None:
    """Something of the user's holds the run back, and so the namespace."""
    run = world.evaluation()
    world.start(run, "prepare")
    name = run["metadata"]["name"]
    world.client.merge(resource_of(run), world.namespace, name, {"metadata": {"finalizers": ["example.com/hold"]}})
    world.client.delete(NAMESPACES, None, world.namespace)
    until(
        lambda: world.now(run)["metadata"].get("deletionTimestamp"), "the run is deleted with its namespace", seconds=40
    )
    until(lambda: not world.jobs(run), "its Jobs go", seconds=20)
    world.nothing_changes(run)
    world.client.merge(resource_of(run), world.namespace, name, {"metadata": {"finalizers": None}})
    until(lambda: world.client.find(NAMESPACES, None, world.namespace) is None, "the namespace goes", seconds=30)


@pytest.mark.long
def test_a_start_that_takes_too_long_is_infrastructure(world: World) -> None:
    run = world.evaluation(timeouts={"startSeconds": 5}, retry={"infrastructure": 0})
    world.kubelet.waiting(world.kubelet.await_pods(run, "prepare")[0], "ImagePullBackOff", "Back-off pulling image")
    world.await_stage(run, "prepare", "Failed", seconds=30)
    assert stage_of(world.now(run), "prepare")["history"][0]["failureClass"] == "Infrastructure"
