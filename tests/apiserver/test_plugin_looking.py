"""``kubectl boresight list``, ``status``, ``wait``, ``watch`` on a real API server."""

from __future__ import annotations

import csv
import io
import json

import pytest
from apiserver.kubelet import End, failure
from apiserver.plugin import Plugin
from apiserver.world import World
from boresight_api.outcome import FailureClass


def test_list_shows_all_three_kinds_newest_first(world: World, plugin: Plugin) -> None:
    world.alignment("aligned", suspend=True)
    world.synthesis("pairs", suspend=True)
    run = world.evaluation("measured")
    world.play(run, "prepare", "evaluation")
    world.await_condition(run, "Succeeded", "True")
    rows = json.loads(plugin.ok("list", "-o", "json"))
    assert {(row["kind"], row["name"], row["status"]) for row in rows} == {
        ("AlignmentRun", "aligned", "Suspended"),
        ("FeedbackSynthesis", "pairs", "Suspended"),
        ("EvalRun", "measured", "Succeeded"),
    }
    assert [row["started"] for row in rows] == sorted((row["started"] for row in rows), reverse=True)
    assert plugin.ok("list").split()[:7] == ["NAMESPACE", "NAME", "KIND", "STATUS", "STAGE", "PROGRESS", "STARTED"]
    everywhere = csv.DictReader(io.StringIO(plugin.ok("list", "-A", "-o", "csv")))
    assert {"aligned", "pairs", "measured"} <= {row["name"] for row in everywhere}


def test_status_is_the_tree_of_stages(world: World, plugin: Plugin) -> None:
    run = world.evaluation("tree")
    world.play(run, "prepare")
    pod = world.start(run, "evaluation")
    world.kubelet.disrupt(pod, "a node was drained")
    world.start(run, "evaluation", attempt=2)
    out = plugin.ok("status", "tree")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert out.splitlines()[0].startswith(f"EvalRun {world.namespace}/tree: Running (evaluation)")
    assert "Succeeded" in lines["prepare"]
    assert "Running" in lines["evaluation"]
    (attempt,) = [line for line in out.splitlines() if "└ attempt 1" in line]
    assert "Preempted" in attempt
    assert "on node-1" in attempt
    document = json.loads(plugin.ok("status", "tree", "-o", "json"))
    assert (document["status"], document["state"]) == ("Running", "Running")
    assert document["stages"][1]["attempts"][0]["failureClass"] == "Preempted"


def test_status_says_why_a_run_waits(world: World, plugin: Plugin) -> None:
    run = world.evaluation("waits")
    (pod,) = world.kubelet.await_pods(run, "prepare")
    world.kubelet.unschedulable(pod, "0/2 nodes are available: 2 Insufficient cpu")
    world.await_stage(run, "prepare", "Waiting", reason="Unschedulable")
    assert "prepare: Unschedulable: 0/2 nodes are available: 2 Insufficient cpu" in plugin.ok("status", "waits")


def test_status_of_a_failed_run_has_cause_and_next_command(world: World, plugin: Plugin) -> None:
    run = world.evaluation("failed")
    world.start(run, "prepare")
    (pod,) = world.kubelet.pods(run, "prepare")
    world.kubelet.end(pod, failure("prepare", FailureClass.INVALID_DATA, "row 7: prompt: found nothing"))
    world.await_condition(run, "Succeeded", "False")
    out = plugin.ok("status", "failed")
    assert "prepare: attempt 1: InvalidData: row 7: prompt: found nothing" in out
    assert f"kubectl boresight logs failed -n {world.namespace} --stage prepare --attempt 1" in out


def test_wait_tells_success_failure_and_time_apart(world: World, plugin: Plugin) -> None:
    run = world.evaluation("good")
    said = plugin("wait", "good", "--timeout", "1s")
    assert said.code == 124
    assert "not within 1 s: Succeeded" in said
    with plugin.start("wait", "good", "--for", "Prepared") as waiting:
        world.play(run, "prepare")
        assert waiting.end().code == 0
    world.play(run, "evaluation")
    assert plugin("wait", "good", "--for", "stage=evaluation", "--timeout", "20s").code == 0
    assert plugin("wait", "good", "--timeout", "20s").code == 0
    bad = world.evaluation("bad")
    pod = world.start(bad, "prepare")
    world.kubelet.end(pod, End(65, "not an outcome"))
    said = plugin("wait", "bad", "--timeout", "30s")
    assert said.code == 1
    assert "Succeeded is out of reach: EvalRun" in said
    assert "has no stage polcy; it has prepare, evaluation" in plugin("wait", "good", "--for", "stage=polcy")


def test_wait_notices_that_the_run_is_deleted(world: World, plugin: Plugin) -> None:
    run = world.evaluation("gone")
    with plugin.start("wait", "gone") as waiting:
        assert waiting.first_news().startswith(f"EvalRun {world.namespace}/gone: ")
        world.delete(run)
        said = waiting.end()
    assert said.code == 1
    assert "is gone: it was deleted" in said


@pytest.mark.parametrize("end", ["Succeeded", "Failed"])
def test_watch_writes_a_line_for_every_change_and_ends_with_the_run(world: World, plugin: Plugin, end: str) -> None:
    run = world.evaluation("seen")
    with plugin.start("watch", "seen") as watching:
        world.play(run, "prepare")
        pod = world.start(run, "evaluation")
        if end == "Succeeded":
            world.kubelet.succeed(pod)
        else:
            world.kubelet.end(pod, failure("evaluation", FailureClass.DIVERGED, "step 3: loss is not a number"))
        said = watching.end()
    assert said.code == (0 if end == "Succeeded" else 1)
    lines = said.out.splitlines()
    assert f"evaluation: {end}" in lines
    assert len(lines) == len(set(lines)), "nothing is told twice"
    assert lines[-1].startswith("evaluation: " if end == "Succeeded" else "kubectl boresight logs")


def test_a_run_that_no_operator_has_seen_says_so(world: World, plugin: Plugin) -> None:
    world.operator.terminate()
    world.evaluation("unseen")
    assert "no operator has seen it yet" in plugin.ok("status", "unseen")
