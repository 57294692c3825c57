"""The whole life of each kind on a real API server with its real Job controller; the kubelet is played."""

from __future__ import annotations

import pytest
from apiserver.audit import AuditLog
from apiserver.client import ApiError, until
from apiserver.control_plane import ControlPlane
from apiserver.identity import NAME
from apiserver.kubelet import DIGEST
from apiserver.runs import condition_of, stage_of, states
from apiserver.world import KIND_STAGES, World
from boresight_operator.api import CONFIG_MAPS, EVAL_RUNS, NETWORK_POLICIES, SERVICES
from boresight_operator.names import MAX_OBJECT_NAME, RUN_UID_LABEL
from builders_manifests import a_synthesis, an_alignment_run, an_eval_run

SMALLEST = {"AlignmentRun": an_alignment_run, "EvalRun": an_eval_run, "FeedbackSynthesis": a_synthesis}
SINGLE_NODE_WRITES = 6
MULTI_NODE_WRITES = 7
RUN_WRITES = 3
CLEAN_UP_DELETES = 2


@pytest.mark.parametrize("kind", KIND_STAGES)
def test_a_run_lives_from_apply_to_its_artifacts(world: World, kind: str) -> None:
    run = world.create(SMALLEST[kind]())
    stages = KIND_STAGES[kind]
    for number, stage in enumerate(("prepare", *stages)):
        pod = world.start(run, stage)
        now = world.now(run)
        assert now["status"]["stage"] == stage
        assert condition_of(now, "Succeeded")["status"] == "Unknown"
        assert condition_of(now, "Stalled")["status"] == "False"
        behind = stages[number:]
        assert {name: states(now)[name] for name in behind} == dict.fromkeys(
            behind, "Unknown" if stage == "prepare" else "Pending"
        )
        (job,) = world.jobs(run, stage)
        assert job["metadata"]["uid"] == stage_of(now, stage)["jobUID"]
        assert devices(job) == (0 if stage == "prepare" else 1), (
            "prepare asks for no GPU, and none runs before its turn"
        )
        world.kubelet.succeed(pod)
        done = world.await_stage(run, stage, "Succeeded")
        if stage != "prepare":
            assert done["artifact"] == {"uri": f"s3://alignment/test/artifacts/{done['key']}", "digest": DIGEST}
    world.await_condition(run, "Succeeded", "True")
    now = world.now(run)
    assert condition_of(now, "Reconciling")["status"] == "False"
    assert condition_of(now, "Stalled")["status"] == "False"
    assert {c["observedGeneration"] for c in now["status"]["conditions"]} == {now["metadata"]["generation"]}
    assert states(now) == dict.fromkeys(("prepare", *stages), "Succeeded")
    assert now["status"]["sources"], "what it read is pinned"
    assert "finalizers" not in now["metadata"]
    assert "annotations" not in now["metadata"]
    assert {entry["manager"] for entry in now["metadata"]["managedFields"] if entry.get("subresource") == "status"} == {
        "boresight"
    }
    world.nothing_changes(run)


def devices(job: dict) -> int:  # type: ignore[type-arg]
    limits = job["spec"]["template"]["spec"]["containers"][0].get("resources", {}).get("limits", {})
    return int(limits.get("nvidia.com/gpu", 0))


def test_everything_made_belongs_to_the_run(world: World) -> None:
    run = world.evaluation("owner")
    world.play(run, "prepare")
    world.start(run, "evaluation")
    labels = f"{RUN_UID_LABEL}={run['metadata']['uid']}"
    policies = world.client.list(NETWORK_POLICIES, world.namespace, labels=labels)
    made = [*world.jobs(run), *world.config_maps(run), *policies]
    assert len(world.jobs(run)) == 2
    assert len(policies) == 1
    assert world.client.list(SERVICES, world.namespace, labels=labels) == [], "ranks alone need names"
    for each in made:
        (owner,) = each["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (run["metadata"]["uid"], True, True)
        assert len(each["metadata"]["name"]) <= MAX_OBJECT_NAME
    assert all(each["immutable"] for each in world.config_maps(run))
    (pod, *_) = world.kubelet.pods(run, "evaluation")
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_restricted_pod_security_takes_our_pods(world: World) -> None:
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    world.client.call(
        "PATCH", f"/api/v1/namespaces/{world.namespace}", labels, content_type="application/merge-patch+json"
    )
    run = world.evaluation()
    world.play(run, "prepare")
    world.start(run, "evaluation")


def test_ranks_find_each_other_and_end_together(later: World) -> None:
    run = later.alignment("ranks", feedbackModel={"compute": {"nodes": 2, "devicesPerNode": 4}})
    later.play(run, "prepare")
    pods = [later.kubelet.run(pod) for pod in later.kubelet.await_pods(run, "feedback-model", count=2)]
    assert sorted(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for pod in pods) == [
        "0",
        "1",
    ]
    (job,) = later.jobs(run, "feedback-model")
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", 2)
    (service,) = later.client.list(SERVICES, later.namespace, labels=f"{RUN_UID_LABEL}={run['metadata']['uid']}")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert {pod["spec"]["subdomain"] for pod in pods} == {service["metadata"]["name"]}
    for pod in pods:
        later.kubelet.succeed(pod)
    later.await_stage(run, "feedback-model", "Succeeded")


def test_parts_of_a_synthesis_are_merged_without_a_device(world: World) -> None:
    run = world.synthesis("parts", compute={"nodes": 3})
    world.play(run, "prepare")
    for pod in world.kubelet.await_pods(run, "synthesis", count=3):
        world.kubelet.run(pod)
        world.kubelet.succeed(pod)

    def merge_pod() -> list[dict] | None:  # type: ignore[type-arg]
        pods = world.kubelet.pods(run, "synthesis")
        return [pod for pod in pods if pod["metadata"]["labels"]["boresight.dev/part"] == "merge"] or None

    (pod,) = until(merge_pod, "the merge's pod", seconds=15)
    assert "nvidia.com/gpu" not in pod["spec"]["containers"][0]["resources"].get("limits", {})
    world.kubelet.run(pod)
    world.kubelet.succeed(pod)
    world.await_condition(run, "Succeeded", "True")


# -- how much it writes ----------------------------------------------------------------------------------------------


def test_a_run_writes_no_more_than_its_budget(plane: ControlPlane, world: World) -> None:
    log = AuditLog(plane.audit)
    run = world.evaluation("frugal")
    world.kubelet.play(run, "prepare")
    world.kubelet.play(run, "evaluation")
    world.await_condition(run, "Succeeded", "True")
    world.nothing_changes(run)
    writes = [write for write in log.writes(user=NAME, namespace=world.namespace) if write.budgeted]
    stages = 2
    assert len(writes) <= stages * SINGLE_NODE_WRITES + RUN_WRITES, "\n".join(map(str, writes))
    assert {write.code // 100 for write in writes} == {2}, "no write is refused or repeated"


def test_ranks_cost_one_write_more(plane: ControlPlane, later: World) -> None:
    log = AuditLog(plane.audit)
    run = later.alignment("frugal", feedbackModel={"compute": {"nodes": 2}}, stopAfter="FeedbackModel")
    later.kubelet.play(run, "prepare")
    later.kubelet.play(run, "feedback-model", count=2)
    later.await_stage(run, "synthesis", "Waiting", reason="StoppedAfter")
    later.nothing_changes(run)
    writes = [write for write in log.writes(user=NAME, namespace=later.namespace) if write.budgeted]
    assert len(writes) <= SINGLE_NODE_WRITES + MULTI_NODE_WRITES + RUN_WRITES, "\n".join(map(str, writes))


def test_a_reconcile_with_nothing_to_do_writes_nothing(plane: ControlPlane, world: World) -> None:
    run = world.evaluation("still")
    world.play(run, "prepare")
    world.start(run, "evaluation")
    log = AuditLog(plane.audit)
    for number in range(5):
        world.annotate(run, note=str(number))  # wakes the operator, and asks for nothing
    world.nothing_changes(run, seconds=1)
    assert [str(write) for write in log.writes(user=NAME, namespace=world.namespace) if write.budgeted] == []


def test_a_field_of_the_status_that_somebody_else_keeps_is_not_fought_over(plane: ControlPlane, world: World) -> None:
    """A server-side apply cannot take away what another manager wrote, and its answer says that nothing changed."""
    run = world.evaluation("kept")
    world.kubelet.await_pods(run, "prepare")
    world.client.merge(EVAL_RUNS, world.namespace, "kept", {"status": {"keyMetric": "forged 0.99"}}, "status")
    until(lambda: world.operator.said("status.keyMetric is kept by another field manager"), "the operator says so")
    log = AuditLog(plane.audit)
    world.nothing_changes(run)
    assert [str(write) for write in log.writes(user=NAME, namespace=world.namespace) if write.budgeted] == []
    world.play(run, "prepare", "evaluation")
    world.await_condition(run, "Succeeded", "True")


def test_jobs_and_pods_go_after_their_time_and_the_run_stays(plane: ControlPlane, world: World) -> None:
    run = world.evaluation("tidy", retainPodsSeconds=0)
    world.kubelet.play(run, "prepare")
    log = AuditLog(plane.audit)
    world.kubelet.play(run, "evaluation")
    world.await_condition(run, "Succeeded", "True")
    until(lambda: not world.jobs(run) and not world.kubelet.pods(run), "Jobs and pods are gone", seconds=15)
    stage_maps = [each for each in world.config_maps(run) if "boresight.dev/stage" in each["metadata"]["labels"]]
    assert stage_maps == []
    deletes = [write for write in log.writes(user=NAME, namespace=world.namespace) if write.verb == "delete"]
    assert len(deletes) <= 2 * CLEAN_UP_DELETES, "\n".join(map(str, deletes))
    assert condition_of(world.now(run), "Succeeded")["status"] == "True"
    world.nothing_changes(run)


def test_a_deleted_run_leaves_nothing(world: World) -> None:
    run = world.evaluation("short")
    world.play(run, "prepare")
    world.start(run, "evaluation")
    world.delete(run, propagationPolicy="Foreground")

    def gone() -> bool:
        left = [*world.jobs(run), *world.kubelet.pods(run), *world.config_maps(run)]
        try:
            world.now(run)
        except ApiError:
            return not left
        return False

    until(gone, "the run and all that it owned are gone", seconds=20)
    labels = f"{RUN_UID_LABEL}={run['metadata']['uid']}"
    assert world.client.list(NETWORK_POLICIES, world.namespace, labels=labels) == []
    assert world.client.list(CONFIG_MAPS, world.namespace, labels=labels) == []


def test_kubectl_tells_the_story(plane: ControlPlane, world: World) -> None:
    run = world.evaluation("story")
    world.play(run, "prepare")
    world.start(run, "evaluation")
    line = plane.kubectl("get", "eval", "story", "-n", world.namespace, "--no-headers").stdout.split()
    assert line[:2] == ["story", "TextToText"]
    assert line[3] == "evaluation"
    world.play(run, "evaluation")
    described = plane.kubectl("describe", "eval", "story", "-n", world.namespace).stdout
    for word in ("StageSucceeded", "Succeeded", "Artifact", "boresight-operator"):
        assert word in described
    until(lambda: world.events(run), "events")
    assert all(event["reason"][0].isupper() and " " not in event["reason"] for event in world.events(run))
