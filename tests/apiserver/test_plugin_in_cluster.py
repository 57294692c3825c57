"""``kubectl boresight artifacts|report|logs --in-cluster``: the pod on a real API server, its node played."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from apiserver.client import Object, until
from apiserver.kubelet import End
from apiserver.kubelet_logs import KubeletLogs
from apiserver.plugin import Background, Plugin
from apiserver.world import World
from boresight_operator.api import JOBS, PODS

OURS = "app.kubernetes.io/managed-by=kubectl-boresight"


@pytest.fixture
def measured(world: World) -> Object:
    """A run that has ended, in a namespace that takes restricted pods alone."""
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    path = f"/api/v1/namespaces/{world.namespace}"
    world.client.call("PATCH", path, labels, content_type="application/merge-patch+json")
    run = world.evaluation("measured")
    world.play(run, "prepare", "evaluation")
    world.await_condition(run, "Succeeded", "True")
    return run


def helper(world: World) -> Object:
    """The pod, once it is there."""
    (pod,) = until(lambda: world.client.list(PODS, world.namespace, labels=OURS), "the pod of the command")
    return pod


def no_helper(world: World) -> None:
    """Waits until it is gone."""
    until(lambda: not world.client.list(PODS, world.namespace, labels=OURS), "the pod is removed")


def play(world: World, logs: KubeletLogs, text: str, code: int = 0) -> Object:
    """Run the pod and let it print ``text``."""
    pod = world.kubelet.run(helper(world))
    logs.write(pod, text)
    logs.end(pod)
    world.kubelet.end(pod, End(code))
    return pod


def test_artifacts_are_listed_by_a_pod_with_the_runs_own_access(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object
) -> None:
    with plugin.start("artifacts", "ls", "--in-cluster", "-o", "json") as listing:
        pod = play(world, kubelet_logs, "[]\n")
        said = listing.end()
    assert (said.code, said.out) == (0, "[]\n")
    no_helper(world)
    (container,) = pod["spec"]["containers"]
    command = ["boresight", "artifacts", "ls", "--output", "json", "--store", "s3://alignment/test"]
    assert container["command"] == command
    assert container["image"] == "boresight-trainer:test"
    secrets = {v["name"]: v["valueFrom"]["secretKeyRef"]["name"] for v in container["env"] if "valueFrom" in v}
    assert secrets["AWS_SECRET_ACCESS_KEY"] == "boresight-storage"
    assert {"name": "AWS_ENDPOINT_URL_S3", "value": "https://minio.storage:9000"} in container["env"]
    assert pod["metadata"]["ownerReferences"][0]["uid"] == measured["metadata"]["uid"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    world.nothing_changes(measured, seconds=1)


def test_its_exit_code_and_last_words_come_through(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object
) -> None:
    with plugin.start("artifacts", "verify", "0123456789", "--in-cluster", "--run", "measured") as verifying:
        pod = play(world, kubelet_logs, "error: 1 artifact of 1 cannot be used\n", 1)
        said = verifying.end()
    assert said.code == 1
    assert "1 artifact of 1 cannot be used" in said.out
    assert pod["spec"]["containers"][0]["command"][2:4] == ["verify", "0123456789"]
    no_helper(world)


def test_a_report_is_written_there_and_taken_down_here(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object, tmp_path: Path
) -> None:
    with plugin.start("report", "measured", "--in-cluster") as reporting:
        pod = play(world, kubelet_logs, "<!doctype html><html>the page</html>\n")
        said = reporting.end()
    assert said.code == 0, said
    assert (tmp_path / "measured-report/report.html").read_text() == "<!doctype html><html>the page</html>"
    command = pod["spec"]["containers"][0]["command"]
    assert command[:4] == ["boresight", "report", "--output", "-"]
    given = json.loads(pod["metadata"]["annotations"]["boresight.dev/run-object"])
    assert given["status"]["plan"] == world.now(measured)["status"]["plan"]
    assert "managedFields" not in given["metadata"]
    mount = command[command.index("--object") + 1]
    assert mount.rpartition("/")[0] in {m["mountPath"] for m in pod["spec"]["containers"][0]["volumeMounts"]}
    no_helper(world)


def test_a_report_that_does_not_arrive_whole_is_not_written(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object, tmp_path: Path
) -> None:
    with plugin.start("report", "measured", "--in-cluster", "-o", "page.html") as reporting:
        play(world, kubelet_logs, "<!doctype html><html>the pa")
        said = reporting.end()
    assert said.code == 1
    assert "the report did not arrive whole" in said
    assert not (tmp_path / "page.html").exists()
    with plugin.start("report", "measured", "--in-cluster", "-o", "page.html") as reporting:
        play(world, kubelet_logs, "error: s3://alignment/test: AccessDenied\n", 75)
        said = reporting.end()
    assert "the pod could not write the report (exit code 75): error: s3://alignment/test: AccessDenied" in said


def test_kept_logs_are_read_by_a_pod(world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object) -> None:
    (job,) = world.jobs(measured, "evaluation")
    world.client.delete(JOBS, world.namespace, job["metadata"]["name"], propagationPolicy="Background")
    until(lambda: not world.kubelet.pods(measured, "evaluation"), "its pod is gone")
    with plugin.start("logs", "measured", "--stage", "evaluation", "--in-cluster") as reading:
        pod = play(world, kubelet_logs, "it counted\n")
        said = reading.end()
    assert (said.code, said.out) == (0, "it counted\n"), said
    command = pod["spec"]["containers"][0]["command"]
    assert command[:8] == ["boresight", "logs", "--stage", "evaluation", "--attempt", "1", "--rank", "0"]


@pytest.mark.parametrize("stop", ["interrupt", "terminate"])
def test_the_pod_is_removed_however_the_command_ends(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object, stop: str
) -> None:
    with plugin.start("artifacts", "du", "--in-cluster") as sizing:
        pod = world.kubelet.run(helper(world))
        kubelet_logs.write(pod, "so far\n")
        assert sizing.process.stdout is not None
        assert sizing.process.stdout.readline() == "so far\n"
        stop_it(sizing, stop)
        assert sizing.end().code == 130
    no_helper(world)


def stop_it(command: Background, how: str) -> None:
    if how == "interrupt":
        command.interrupt()
    else:
        command.process.terminate()


def test_a_pod_that_cannot_start_says_why_and_is_removed(world: World, plugin: Plugin, measured: Object) -> None:
    with plugin.start("artifacts", "ls", "--in-cluster") as listing:
        pod = helper(world)
        world.kubelet.waiting(pod, "CreateContainerConfigError", 'secret "boresight-storage" not found')
        said = listing.end()
    assert said.code == 1
    assert 'cannot start: CreateContainerConfigError: secret "boresight-storage" not found' in said
    no_helper(world)


def test_what_a_pod_cannot_do_is_not_offered(plugin: Plugin) -> None:
    said = plugin("artifacts", "pull", "0123456789", "folder", "--in-cluster")
    assert said.code == 2
    assert "No such option" in said


def test_without_access_from_here_the_message_names_the_way(world: World, plugin: Plugin, measured: Object) -> None:
    said = plugin("artifacts", "ls")
    assert said.code == 1
    assert "s3://alignment/test cannot be read from here: store: found no AWS_ACCESS_KEY_ID" in said
    assert "--in-cluster" in said
    said = plugin("results", "measured", "-o", "json")
    assert said.code == 0
    (row,) = json.loads(said.out)
    assert (row["suite"], row["name"], row["candidate"], row["value"]) == ("Holdout", "loss", "policy", 1.25)
    assert "these are the first rows alone, as the run's status has them" in said.err
    assert plugin("compare", "measured", "measured").code == 1
