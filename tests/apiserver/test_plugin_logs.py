"""``kubectl boresight logs``: of live pods by the API server, of dead ones from the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from apiserver.client import until
from apiserver.kubelet import failure
from apiserver.kubelet_logs import KubeletLogs
from apiserver.plugin import Plugin
from apiserver.world import World
from boresight_api.outcome import FailureClass
from boresight_operator.api import JOBS, PODS
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.layout import log_name


def test_the_log_of_the_stage_at_work(world: World, plugin: Plugin, kubelet_logs: KubeletLogs) -> None:
    run = world.evaluation("live")
    (pod,) = world.kubelet.await_pods(run, "prepare")
    world.await_stage(run, "prepare", "Running")
    assert "has not started, so there is no log yet" in plugin("logs", "live")
    world.kubelet.run(pod)
    kubelet_logs.write(pod, "prepare looks\n")
    world.kubelet.succeed(pod)
    world.await_stage(run, "prepare", "Succeeded")
    pod = world.start(run, "evaluation")
    kubelet_logs.write(pod, "evaluation counts\n")
    assert plugin.ok("logs", "live") == "evaluation counts\n"
    assert plugin.ok("logs", "live", "--stage", "prepare") == "prepare looks\n"
    assert "run " in plugin("logs", "live", "--stage", "polcy")
    assert 'has no stage "polcy"; it has prepare, evaluation' in plugin("logs", "live", "--stage", "polcy")
    assert "has no attempt 2 (attempts: 1)" in plugin("logs", "live", "--attempt", "2")


def test_following_ends_with_the_attempt(world: World, plugin: Plugin, kubelet_logs: KubeletLogs) -> None:
    run = world.evaluation("long")
    pod = world.start(run, "prepare")
    kubelet_logs.write(pod, "begins\n")
    with plugin.start("logs", "long", "--follow") as following:
        assert following.process.stdout is not None
        assert following.process.stdout.readline() == "begins\n"
        kubelet_logs.write(pod, "goes on\n")
        assert following.process.stdout.readline() == "goes on\n"
        kubelet_logs.end(pod)
        assert following.end().code == 0


def test_every_rank_and_attempt_has_its_own(world: World, plugin: Plugin, kubelet_logs: KubeletLogs) -> None:
    run = world.synthesis("parts", compute={"nodes": 2})
    world.play(run, "prepare")
    pods = [world.kubelet.run(pod) for pod in world.kubelet.await_pods(run, "synthesis", count=2)]
    for pod in pods:
        index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
        kubelet_logs.write(pod, f"rank {index}\n")
    world.await_run(run, lambda run: "runningSince" in run["status"]["stages"][1], "it runs")
    assert plugin.ok("logs", "parts") == "rank 0\n"
    assert plugin.ok("logs", "parts", "--rank", "1") == "rank 1\n"
    for pod in pods:
        world.kubelet.disrupt(pod, "drained")
    (second,) = world.kubelet.await_pods(run, "synthesis", attempt=2)[:1]
    world.kubelet.run(second)
    kubelet_logs.write(second, "second\n")
    world.await_stage(run, "synthesis", "Running", attempt=2)
    assert plugin.ok("logs", "parts", "--previous", "--rank", "1") == "rank 1\n"
    assert plugin.ok("logs", "parts", "--attempt", "1") == "rank 0\n"


def test_the_log_of_a_pod_that_is_gone_is_the_one_in_the_store(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.evaluation("dead")
    pod = world.start(run, "prepare")
    kubelet_logs.write(pod, "row 7 is empty\n")
    world.kubelet.end(pod, failure("prepare", FailureClass.INVALID_DATA, "row 7: prompt: found nothing"))
    world.await_condition(run, "Succeeded", "False")
    assert plugin.ok("logs", "dead") == "row 7 is empty\n"
    (job,) = world.jobs(run, "prepare")
    world.client.delete(JOBS, world.namespace, job["metadata"]["name"], propagationPolicy="Background")
    until(lambda: not world.client.list(PODS, world.namespace), "its pod is gone")
    said = plugin("logs", "dead")
    assert said.code == 1
    assert "has no Job any more" in said, "nobody knows where the store of the settings is"
    store = FileStore((tmp_path / "store").as_uri())
    monkeypatch.setattr("boresight.cluster.source.ClusterRuns.store", lambda *_: store)
    said = plugin("logs", "dead")
    assert "found no such log, and no pod either (kept of this stage, as stage-attempt-rank: none)" in said
    store.write(log_name(run["metadata"]["uid"], "prepare", 1, "0"), b"row 7 was empty\n")
    assert plugin.ok("logs", "dead") == "row 7 was empty\n"
    assert "kept of this stage, as stage-attempt-rank: prepare-1-0)" in plugin("logs", "dead", "--rank", "3")


def test_a_node_that_lost_the_log_is_said_and_passed_over(
    world: World, plugin: Plugin, kubelet_logs: KubeletLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.evaluation("lost")
    pod = world.start(run, "prepare")
    store = FileStore((tmp_path / "store").as_uri())
    store.write(log_name(run["metadata"]["uid"], "prepare", 1, "0"), b"kept\n")
    monkeypatch.setattr("boresight.cluster.source.ClusterRuns.store", lambda *_: store)
    said = plugin("logs", "lost")
    assert (said.code, said.out) == (0, "kept\n")
    assert f"pod {pod['metadata']['name']}: " in said.err
    assert "looking for the log that its process kept" in said.err
