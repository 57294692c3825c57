"""A run in real pods: made, watched, stopped, resumed, edited, spread over pods."""

from __future__ import annotations

import json
import math
import re

import pytest
from apiserver.client import Object, until
from apiserver.runs import stage_of, states
from boresight_operator.api import JOBS
from boresight_operator.names import RUN_UID_LABEL, STAGE_LABEL
from cluster.first_run import STAGES, FirstRun
from cluster.stack import BUCKET, Stack
from cluster.tenants import LONG, PATIENCE, RealTenant


def test_a_run_goes_from_its_manifest_to_success_in_pods_of_the_real_trainer(first: FirstRun) -> None:
    assert states(first.run) == dict.fromkeys(STAGES, "Succeeded")
    assert all(stage["attempt"] == 1 for stage in first.run["status"]["stages"])
    assert first.job_after_seconds <= 3


def test_its_artifacts_are_in_the_bucket_and_are_what_their_manifests_say(team: RealTenant, first: FirstRun) -> None:
    keys = {stage["key"] for stage in first.run["status"]["stages"] if stage["name"] != "prepare"}
    verified = team.boresight("artifacts", "verify", *keys)
    assert verified.count("ok ") == 4
    objects = team.stack.minio_client().list_objects(BUCKET, f"{team.namespace}/artifacts/", recursive=True)
    manifests = {item.object_name.split("/")[2] for item in objects if item.object_name.endswith("/manifest.json")}
    assert manifests >= keys


def test_prometheus_has_seen_its_stages_under_the_names_that_the_chart_gives_them(
    stack: Stack, first: FirstRun
) -> None:
    namespace = first.run["metadata"]["namespace"]
    series = stack.query(f'max_over_time(boresight_train_step{{namespace="{namespace}",run="first"}}[30m]) > 0')
    assert {labels["stage"] for labels, _ in series} == {"feedback-model", "policy"}
    assert {labels["attempt"] for labels, _ in series} == {"1"}
    loss = f'max_over_time(boresight_train_loss{{namespace="{namespace}",run="first",stage="policy"}}[30m])'
    ((_, largest),) = stack.query(loss)
    assert largest == pytest.approx(math.log(2), abs=0.05), "that of a policy that prefers nothing yet"


def test_prometheus_has_the_operators_own_figures(stack: Stack, first: FirstRun) -> None:
    leaders = stack.query("sum(boresight_leader)")
    assert [value for _, value in leaders] == [1], "of two replicas one leads"
    until(
        lambda: any(value >= 1 for _, value in stack.query('max(boresight_stages{stage="policy",state="Succeeded"})')),
        "the policy of the run is counted",
        seconds=30,
    )
    namespace = first.run["metadata"]["namespace"]
    condition = f'boresight_run_condition{{namespace="{namespace}",run="first",type="Succeeded",status="True"}}'
    assert {value for _, value in stack.query(condition)} == {1}


def test_a_suspended_run_leaves_no_pod_and_goes_on_from_its_checkpoint(team: RealTenant, first: FirstRun) -> None:
    run = team.start_run("suspended", policy=LONG, stopAfter="Policy")
    team.await_step(run, "policy", 3)
    team.edit(run, suspend=True)
    team.await_condition(run, "Suspended", "True", seconds=60)
    assert not [pod for pod in team.pods(run) if pod["status"]["phase"] in {"Pending", "Running"}]

    team.edit(run, suspend=False)
    stage = team.await_stage(run, "policy", "Succeeded", seconds=PATIENCE)
    assert stage["attempt"] == 2
    assert not [attempt for attempt in stage["history"] if "failureClass" in attempt], "to be stopped is no failure"
    resumed = re.search(r"resumed at step (\d+) of", team.log(team.pods(run, "policy")[-1]))
    assert resumed, "the pod has begun anew"
    assert int(resumed[1]) >= 3
    assert stage["resumedFromStep"] == int(resumed[1])


def test_an_edited_beta_trains_the_policy_and_evaluates_it_again_and_nothing_else(
    team: RealTenant, first: FirstRun
) -> None:
    before = team.now(first.run)
    known = {job["metadata"]["uid"] for job in _jobs(team, before)}
    team.edit(before, policy={"dpo": {"beta": "0.3"}})
    team.await_run(
        before, lambda run: stage_of(run, "policy").get("key") != stage_of(before, "policy")["key"], "another plan"
    )
    after = team.await_success(before, stages=3)
    made = [
        job["metadata"]["labels"][STAGE_LABEL] for job in _jobs(team, before) if job["metadata"]["uid"] not in known
    ]
    assert sorted(made) == ["evaluation", "policy", "prepare"]
    for name in ("feedback-model", "synthesis"):
        assert stage_of(after, name)["key"] == stage_of(before, name)["key"]
    manifest = _manifest(team, stage_of(after, "policy")["key"])
    assert manifest["config"]["dpo"]["beta"] == "0.3"


def test_a_synthesis_on_two_pods_runs_on_both_nodes_and_makes_one_artifact(team: RealTenant, first: FirstRun) -> None:
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    spread["labelSelector"] = {"matchLabels": {STAGE_LABEL: "synthesis", "boresight.dev/run": "sharded"}}
    run = team.start_run(
        "sharded",
        synthesis={"samplesPerPrompt": 2, "compute": {"nodes": 2}},
        compute={"podTemplate": {"topologySpreadConstraints": [spread]}},
        stopAfter="Synthesis",
    )
    stage = team.await_stage(run, "synthesis", "Succeeded", seconds=3 * PATIENCE)
    pods = team.pods(run, "synthesis")
    workers = {
        pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]: pod["spec"]["nodeName"]
        for pod in pods
        if "batch.kubernetes.io/job-completion-index" in pod["metadata"]["labels"]
    }
    assert set(workers) == {"0", "1"}
    assert set(workers.values()) == {"node1", "node2"}
    assert len(pods) == 3, "two that work, and one that puts their parts together"
    assert team.boresight("artifacts", "verify", stage["key"]).count("ok ") == 1


def _jobs(team: RealTenant, run: Object) -> list[Object]:
    return team.client.list(JOBS, team.namespace, labels=f"{RUN_UID_LABEL}={run['metadata']['uid']}")


def _manifest(team: RealTenant, key: str) -> Object:
    answer = team.stack.minio_client().get_object(BUCKET, f"{team.namespace}/artifacts/{key}/manifest.json")
    found: Object = json.loads(answer.read())
    return found
