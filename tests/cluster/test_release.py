"""The chart's release, upgraded and uninstalled under a run that goes on."""

from __future__ import annotations

from apiserver.client import CRDS, until
from apiserver.runs import states
from boresight_operator.api import ALIGNMENT_RUNS
from cluster.first_run import FirstRun
from cluster.tenants import LONG, PATIENCE, RealTenant


def test_an_upgrade_changes_the_operator_and_leaves_crds_and_the_running_pod_as_they_are(
    team: RealTenant, first: FirstRun
) -> None:
    run = team.start_run("upgraded", policy={**LONG, "dpo": {"beta": "0.21"}}, stopAfter="Policy")
    pod = team.await_step(run, "policy", 3)["metadata"]["uid"]
    crds = {crd["metadata"]["uid"] for crd in team.client.list(CRDS)}
    operators = {pod["metadata"]["uid"] for pod in team.stack.operator_pods()}

    team.stack.upgrade(podAnnotations={"example.com/changed": "yes"})
    until(lambda: not operators & {p["metadata"]["uid"] for p in team.stack.operator_pods()}, "new pods", seconds=60)

    assert {crd["metadata"]["uid"] for crd in team.client.list(CRDS)} == crds
    stage = team.await_stage(run, "policy", "Succeeded", seconds=2 * PATIENCE)
    assert stage["attempt"] == 1
    assert [each["metadata"]["uid"] for each in team.pods(run, "policy")] == [pod]


def test_an_uninstalled_release_leaves_runs_and_artifacts_and_the_next_one_finds_them(
    team: RealTenant, first: FirstRun
) -> None:
    run = team.start_run("outlives", policy={**LONG, "dpo": {"beta": "0.22"}}, stopAfter="Policy")
    team.await_step(run, "policy", 3)
    runs = {item["metadata"]["uid"] for item in team.client.list(ALIGNMENT_RUNS, team.namespace)}
    team.stack.uninstall()
    try:
        assert {item["metadata"]["uid"] for item in team.client.list(ALIGNMENT_RUNS, team.namespace)} == runs
        keys = [stage["key"] for stage in team.now(first.run)["status"]["stages"] if stage["name"] != "prepare"]
        assert team.boresight("artifacts", "verify", *keys).count("ok ") == 4
        until(
            lambda: all(pod["status"]["phase"] == "Succeeded" for pod in team.pods(run, "policy")),
            "the pod ends without an operator",
            seconds=2 * PATIENCE,
        )
    finally:
        team.stack.upgrade()
    stage = team.await_stage(run, "policy", "Succeeded", seconds=60)
    assert stage["attempt"] == 1
    assert set(states(team.now(first.run)).values()) == {"Succeeded"}
