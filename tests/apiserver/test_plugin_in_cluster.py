"""``kubectl boresight artifacts|report|logs --in-cluster``: the pod on a real API server, its node played."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from apiserver.client import Object, until
from apiserver.helper_pods import OURS, framed, helper, no_helper, play, start, write_and_end
from apiserver.kubelet_logs import KubeletLogs
from apiserver.plugin import Background, Plugin
from apiserver.world import World
from boresight_operator.api import EVENTS, JOBS, PODS


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


def test_artifacts_are_listed_by_a_pod_with_the_runs_own_access(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object
) -> None:
    with plugin.start("artifacts", "ls", "--in-cluster", "-o", "json") as listing:
        pod = play(world, kubelet_logs, "[]\n", stderr="the bucket is slow\n\x1b[31mred\n")
        said = listing.end()
    assert (said.code, said.out, said.err) == (0, "[]\n", "the bucket is slow\n\ufffd[31mred\n")
    no_helper(world)
    (container,) = pod["spec"]["containers"]
    command = ["artifacts", "ls", "--output", "json", "--store", "s3://alignment/test"]
    assert container["command"][3:] == command
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
        pod = play(world, kubelet_logs, "broken\n", 1, stderr="error: 1 artifact of 1 cannot be used\n")
        said = verifying.end()
    assert (said.code, said.out, said.err) == (1, "broken\n", "error: 1 artifact of 1 cannot be used\n")
    assert pod["spec"]["containers"][0]["command"][4:6] == ["verify", "0123456789"]
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
    assert command[3:6] == ["report", "--output", "-"]
    given = json.loads(pod["metadata"]["annotations"]["boresight.dev/document"])
    assert given["status"]["plan"] == world.now(measured)["status"]["plan"]
    assert "managedFields" not in given["metadata"]
    mount = command[command.index("--object") + 1]
    assert mount.rpartition("/")[0] in {m["mountPath"] for m in pod["spec"]["containers"][0]["volumeMounts"]}
    no_helper(world)


def test_a_report_that_does_not_arrive_whole_is_not_written(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object, tmp_path: Path
) -> None:
    with plugin.start("report", "measured", "--in-cluster", "-o", "page.html") as reporting:
        pod = start(world, kubelet_logs)
        begin, *others = framed(pod, "<!doctype html><html>" + "the page " * 2_000).splitlines(keepends=True)
        assert len(others) == 3
        write_and_end(world, kubelet_logs, pod, begin + "".join(others[1:]))
        said = reporting.end()
    assert (said.code, said.out) == (1, "")
    assert "did not arrive whole: found 8192 bytes where 16384 should have come; the pod ended with exit code 0" in said
    assert not (tmp_path / "page.html").exists()
    with plugin.start("report", "measured", "--in-cluster", "-o", "page.html") as reporting:
        play(world, kubelet_logs, "", 75, stderr="error: s3://alignment/test: AccessDenied\n")
        said = reporting.end()
    assert said.err.splitlines() == [
        "error: s3://alignment/test: AccessDenied",
        "error: the pod could not write the report (exit code 75)",
    ]


def test_a_pod_that_is_killed_is_not_taken_for_one_that_has_printed_all(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object
) -> None:
    with plugin.start("artifacts", "du", "--in-cluster") as sizing:
        pod = start(world, kubelet_logs)
        write_and_end(world, kubelet_logs, pod, framed(pod, "so far\n", None), 137, "OOMKilled")
        said = sizing.end()
    assert (said.code, said.out) == (1, "so far\n")
    assert "its end is missing, after 7 bytes; the pod ended with exit code 137 (OOMKilled)" in said
    no_helper(world)


def test_a_real_process_in_a_pod_with_a_claim(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, tmp_path: Path
) -> None:
    """The pod's own command, both streams in its log; what comes here can be piped on."""
    claim = {"volumes": [{"name": "s", "persistentVolumeClaim": {"claimName": "s"}}]}
    mount = {"volumeMounts": [{"name": "s", "mountPath": str(tmp_path)}]}
    storage = {"uri": (tmp_path / "store").as_uri()}
    run = world.evaluation("folder", storage=storage, compute={"podTemplate": {**claim, **mount}})
    world.kubelet.await_pods(run, "prepare")
    with plugin.start("artifacts", "ls", "-o", "json", "--in-cluster") as listing:
        pod = start(world, kubelet_logs)
        program, *words = pod["spec"]["containers"][0]["command"]
        command = [Path(sys.executable).with_name(program), *words]
        log = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
        write_and_end(world, kubelet_logs, pod, log.stdout)
        said = listing.end()
    assert (said.code, json.loads(said.out), said.err) == (0, [], "")


def test_kept_logs_are_read_by_a_pod(world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object) -> None:
    (job,) = world.jobs(measured, "evaluation")
    world.client.delete(JOBS, world.namespace, job["metadata"]["name"], propagationPolicy="Background")
    until(lambda: not world.kubelet.pods(measured, "evaluation"), "its pod is gone")
    with plugin.start("logs", "measured", "--stage", "evaluation", "--in-cluster") as reading:
        pod = play(world, kubelet_logs, "it counted\n")
        said = reading.end()
    assert (said.code, said.out) == (0, "it counted\n"), said
    command = pod["spec"]["containers"][0]["command"]
    assert command[3:10] == ["logs", "--stage", "evaluation", "--attempt", "1", "--rank", "0"]


@pytest.mark.parametrize("stop", ["interrupt", "terminate"])
def test_the_pod_is_removed_however_the_command_ends(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object, stop: str
) -> None:
    with plugin.start("artifacts", "du", "--in-cluster") as sizing:
        pod = start(world, kubelet_logs)
        kubelet_logs.write(pod, framed(pod, "so far\n", None))
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


def test_why_a_pod_waits_is_told_at_once(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, measured: Object
) -> None:
    with plugin.start("artifacts", "ls", "--in-cluster") as listing:
        pod = helper(world)
        name = pod["metadata"]["name"]
        world.kubelet.unschedulable(pod, "0/2 nodes are available: 2 Insufficient cpu")
        began = time.monotonic()
        told = f"pod {name} waits: Unschedulable: 0/2 nodes are available: 2 Insufficient cpu\n"
        assert listing.first_news() == told
        world.kubelet.bind(pod, "node-1")
        world.kubelet.status(pod, conditions=[{"type": "PodScheduled", "status": "True"}])
        world.kubelet.waiting(pod, "ContainerCreating", "")
        warn(world, pod, "FailedMount", 'MountVolume.SetUp failed for volume "ca": configmap "ca" not found')
        assert listing.first_news().startswith(
            f'pod {name} waits: FailedMount: MountVolume.SetUp failed for volume "ca"'
        )
        world.kubelet.waiting(pod, "ImagePullBackOff", "Back-off pulling image")
        assert listing.first_news() == f"pod {name} waits: ImagePullBackOff: Back-off pulling image\n"
        assert time.monotonic() - began < 10
        play(world, kubelet_logs, "[]\n")
        said = listing.end()
    assert (said.code, said.out) == (0, "[]\n"), "and it was waited for"


def warn(world: World, pod: Object, reason: str, message: str) -> None:
    """An event as a node writes it."""
    about = {
        "kind": "Pod",
        "name": pod["metadata"]["name"],
        "namespace": world.namespace,
        "uid": pod["metadata"]["uid"],
    }
    event = {"metadata": {"name": f"{pod['metadata']['name']}.1"}, "involvedObject": about, "type": "Warning"}
    times = dict.fromkeys(("firstTimestamp", "lastTimestamp"), "2026-11-29T10:00:00Z")
    world.client.create(EVENTS, world.namespace, {**event, **times, "reason": reason, "message": message})


def test_a_pod_that_a_node_rejects_says_why_at_once(world: World, plugin: Plugin, measured: Object) -> None:
    with plugin.start("artifacts", "ls", "--in-cluster") as listing:
        message = "Pod was rejected: Node didn't have enough resource: cpu, requested: 2000, used: 1500, capacity: 3000"
        world.kubelet.bind(helper(world), "node-1")
        world.kubelet.status(helper(world), phase="Failed", reason="OutOfcpu", message=message)
        said = listing.end(10)
    assert said.code == 1
    assert f"was rejected: OutOfcpu: {message}" in said
    no_helper(world)


def test_what_a_pod_cannot_do_says_what_to_do_instead(world: World, plugin: Plugin, measured: Object) -> None:
    said = plugin("artifacts", "pull", "0123456789", "folder", "--in-cluster")
    assert (said.code, said.out) == (1, "")
    assert "--in-cluster: pull copies to this machine, and a pod's log is no way for that" in said
    assert "`kubectl port-forward` to its Service and AWS_ENDPOINT_URL_S3=http://localhost:PORT" in said
    assert not world.client.list(PODS, world.namespace, labels=OURS)
    assert "--in-cluster" not in plugin.ok("artifacts", "pull", "--help")


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
