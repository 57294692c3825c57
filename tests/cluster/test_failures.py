"""What goes wrong in a cluster, done to runs in real pods: each goes on, or says why it cannot."""

from __future__ import annotations

import random
import time

import pytest
from apiserver.client import Object, until
from apiserver.runs import condition_of, stage_of, states
from boresight_operator.api import JOBS, PODS
from boresight_operator.names import RUN_UID_LABEL, STAGE_LABEL
from cluster.first_run import STAGES
from cluster.node import Node
from cluster.tenants import LONG, PATIENCE, RealTenant
from kits.chart import NAMESPACE

pytestmark = pytest.mark.usefixtures("first")


def training(team: RealTenant, name: str, beta: str) -> tuple[Object, Object]:
    """A run whose policy, which no other run has, has done some steps; and its pod."""
    run = team.start_run(name, policy={**LONG, "dpo": {"beta": beta}}, stopAfter="Policy")
    return run, team.await_step(run, "policy", 3)


def policy_at_its_end(team: RealTenant, run: Object) -> Object:
    return team.await_stage(run, "policy", "Succeeded", seconds=2 * PATIENCE)


def classes(stage: Object) -> list[str]:
    """How the attempts before the last one ended."""
    return [attempt["failureClass"] for attempt in stage.get("history", []) if "failureClass" in attempt]


def node_of(team: RealTenant, pod: Object) -> Node:
    return next(node for node in team.stack.cluster.nodes if node.plan.name == pod["spec"]["nodeName"])


def test_a_deleted_pod_leaves_a_checkpoint_and_the_next_attempt_goes_on_from_it(team: RealTenant) -> None:
    run, pod = training(team, "deleted", "0.11")
    team.client.delete(PODS, team.namespace, pod["metadata"]["name"])
    stage = policy_at_its_end(team, run)
    assert classes(stage) == ["Preempted"]
    assert stage["attempt"] == 2
    assert stage["resumedFromStep"] >= 3


def test_a_killed_trainer_is_started_once_more(team: RealTenant) -> None:
    run, pod = training(team, "killed", "0.12")
    node_of(team, pod).kill_container(pod)
    stage = policy_at_its_end(team, run)
    assert classes(stage) == ["Error"]
    assert stage["attempt"] == 2


def test_an_image_that_does_not_exist_is_named_and_the_run_goes_on_when_it_is_corrected(team: RealTenant) -> None:
    missing = "boresight.test/nothing:1"
    run = team.start_run(
        "no-image",
        compute={"podTemplate": {"image": missing}},
        timeouts={"startSeconds": 5},
        stopAfter="Prepare",
    )
    stage = team.await_stage(run, "prepare", "Waiting", reason="ImagePull", seconds=60)
    assert missing in stage["message"]
    team.edit(run, compute={"podTemplate": {"image": team.stack.trainer.reference}})
    stage = team.await_stage(run, "prepare", "Succeeded", seconds=PATIENCE)
    assert set(classes(stage)) == {"Infrastructure"}


def test_a_stage_that_needs_more_memory_than_it_may_have_is_tried_with_half_a_batch_and_then_says_so(
    team: RealTenant,
) -> None:
    little = {"resources": {"requests": {"memory": "100Mi"}, "limits": {"memory": "100Mi"}}}
    run = team.start_run("little", policy={"dpo": {"beta": "0.13"}, "compute": little}, stopAfter="Policy")
    failed = team.await_condition(run, "Succeeded", "False", reason="OOMKilled", seconds=3 * PATIENCE)
    assert "more memory than its limit" in failed["message"]
    stage = stage_of(team.now(run), "policy")
    assert classes(stage) == ["OutOfMemory", "OutOfMemory"]
    killed = [pod["status"]["containerStatuses"][0]["state"]["terminated"] for pod in team.pods(run, "policy")]
    assert [end["reason"] for end in killed] == ["OOMKilled", "OOMKilled"]


def test_a_drained_node_costs_a_run_nothing_but_the_steps_since_its_checkpoint(team: RealTenant) -> None:
    run, pod = training(team, "drained", "0.14")
    node = pod["spec"]["nodeName"]
    selector = f"--pod-selector={RUN_UID_LABEL}={run['metadata']['uid']}"
    try:
        team.stack.cluster.kubectl("drain", node, selector, "--delete-emptydir-data", "--timeout=120s")
        stage = policy_at_its_end(team, run)
    finally:
        team.stack.cluster.kubectl("uncordon", node)
    assert classes(stage) == ["Preempted"]
    assert stage["resumedFromStep"] >= 3
    assert team.pods(run, "policy")[-1]["spec"]["nodeName"] != node


def test_a_store_that_is_away_for_a_minute_stops_no_stage(team: RealTenant) -> None:
    run, _ = training(team, "store-away", "0.15")
    team.stack.scale_minio(0)
    try:
        time.sleep(60)
    finally:
        team.stack.scale_minio(1)
    stage = policy_at_its_end(team, run)
    assert stage["attempt"] == 1
    assert team.boresight("artifacts", "verify", stage["key"]).count("ok ") == 1


def test_an_operator_that_is_killed_again_and_again_does_nothing_twice(team: RealTenant) -> None:
    dice = random.Random(5)
    run = team.start_run("killed-operator", seed=5)
    kills = 0
    end = time.monotonic() + 5 * PATIENCE
    while condition_of(team.now(run), "Succeeded").get("status") != "True":
        assert time.monotonic() < end, team.explanation()
        time.sleep(dice.uniform(1, 12))
        victim = dice.choice(team.stack.operator_pods())
        team.client.delete(PODS, NAMESPACE, victim["metadata"]["name"], gracePeriodSeconds=0)
        kills += 1
    assert kills >= 3
    assert states(team.now(run)) == dict.fromkeys(STAGES, "Succeeded")
    jobs = team.client.list(JOBS, team.namespace, labels=f"{RUN_UID_LABEL}={run['metadata']['uid']}")
    assert sorted(job["metadata"]["labels"][STAGE_LABEL] for job in jobs) == sorted(STAGES)
    until(lambda: all(map(_ready, team.stack.operator_pods())), "both replicas are back", seconds=60)


def test_a_kubelet_that_starts_again_finds_the_pod_that_went_on_without_it(team: RealTenant) -> None:
    run, pod = training(team, "kubelet", "0.16")
    node = node_of(team, pod)
    node.kill_kubelet()
    try:
        time.sleep(5)
    finally:
        node.start_kubelet()
    stage = policy_at_its_end(team, run)
    assert stage["attempt"] == 1
    assert [pod["metadata"]["uid"] for pod in team.pods(run, "policy")] == [pod["metadata"]["uid"]]


def _ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
