"""``kubectl boresight run``, ``suspend``, ``resume``, ``retry``, ``plan``, ``pin`` on a real API server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from apiserver.client import Object
from apiserver.kubelet import SIGTERM_BEFORE_A_CHECKPOINT, failure
from apiserver.plugin import Plugin
from apiserver.runs import stage_of, states
from apiserver.world import World
from boresight_api.outcome import FailureClass
from boresight_operator.api import ALIGNMENT_RUNS, EVAL_RUNS
from builders_manifests import an_alignment_run, an_eval_run


def written(folder: Path, document: dict[str, object], name: str = "run.yaml") -> str:
    """The path of a manifest file."""
    path = folder / name
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return str(path)


def test_run_applies_and_watches_to_the_end(world: World, plugin: Plugin, tmp_path: Path) -> None:
    file = written(tmp_path, an_eval_run())
    with plugin.start("run", file) as running:
        assert running.first_news() == f"evalrun/first applied in namespace {world.namespace}\n"
        run = world.now({"kind": "EvalRun", "metadata": {"namespace": world.namespace, "name": "first"}})
        world.play(run, "prepare", "evaluation")
        said = running.end()
    assert said.code == 0
    assert "evaluation: Succeeded" in said.out.splitlines()
    managers = {entry["manager"] for entry in world.now(run)["metadata"]["managedFields"]}
    assert "kubectl-boresight" in managers
    assert "last-applied" not in json.dumps(world.now(run)["metadata"].get("annotations", {}))


def test_ctrl_c_ends_the_watching_and_not_the_run(world: World, plugin: Plugin, tmp_path: Path) -> None:
    with plugin.start("run", written(tmp_path, an_eval_run())) as running:
        running.first_news()
        run = world.now({"kind": "EvalRun", "metadata": {"namespace": world.namespace, "name": "first"}})
        world.start(run, "prepare")
        running.interrupt()
        assert running.end().code == 130
    world.nothing_changes(run, seconds=1)
    assert states(world.now(run))["prepare"] == "Running"


def test_what_another_tool_has_set_is_not_taken_from_it(world: World, plugin: Plugin, tmp_path: Path) -> None:
    body = an_eval_run(seed=1)
    path = EVAL_RUNS.path(world.namespace, "first")
    query = {"fieldManager": "argocd-controller"}
    world.client.call("PATCH", path, body, query=query, content_type="application/apply-patch+yaml")
    said = plugin("run", written(tmp_path, an_eval_run(seed=2)))
    assert said.code == 1
    assert "somebody else sets the same fields" in said
    assert 'conflict with "argocd-controller"' in said
    assert "change them there, in Git or with the tool that applied them" in said
    with plugin.start("run", written(tmp_path, an_eval_run(seed=2)), "--force-conflicts") as running:
        assert running.first_news().startswith("evalrun/first applied")
        found = world.now({"kind": "EvalRun", "metadata": {"namespace": world.namespace, "name": "first"}})
        assert found["spec"]["seed"] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spec": {**an_eval_run()["spec"], "taks": "x"}}, "spec.taks: found an unknown field"),
        ({"metadata": {"name": "first", "namespace": "elsewhere"}}, "found elsewhere, and --namespace"),
    ],
)
def test_faulty_manifests_never_reach_the_server(
    plugin: Plugin, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    said = plugin("run", written(tmp_path, {**an_eval_run(), **change}))
    assert said.code in {1, 64}
    assert words in said


def test_what_the_server_alone_refuses_is_told_in_its_words(plugin: Plugin, tmp_path: Path) -> None:
    document = an_eval_run()
    document["metadata"]["labels"] = {"team": "x" * 64}
    said = plugin("run", written(tmp_path, document))
    assert said.code == 64
    assert "run.yaml: " in said
    assert "metadata.labels" in said


def test_suspend_resume_and_retry(world: World, plugin: Plugin) -> None:
    run = world.evaluation("acted")
    world.start(run, "prepare")
    world.kubelet.on_stop = lambda pod: SIGTERM_BEFORE_A_CHECKPOINT
    assert plugin.ok("suspend", "acted").startswith("evalrun/acted suspended")
    world.await_condition(run, "Suspended", "True")
    assert plugin.ok("suspend", "acted") == "evalrun/acted is suspended already\n"
    assert plugin.ok("resume", "acted") == "evalrun/acted resumed\n"
    pod = world.start(run, "prepare", attempt=2)
    world.kubelet.end(pod, failure("prepare", FailureClass.INVALID_DATA, "row 7"))
    world.await_condition(run, "Succeeded", "False")
    assert plugin.ok("retry", "acted").startswith("evalrun/acted tried again")
    world.play(run, "prepare", "evaluation")
    world.await_condition(run, "Succeeded", "True")


def test_plan_says_what_an_edit_would_do_again_and_what_that_costs(
    world: World, plugin: Plugin, tmp_path: Path
) -> None:
    run = world.alignment("first")
    world.play(run, "prepare", "feedback-model", "synthesis")
    world.start(run, "policy")
    same = json.loads(plugin.ok("plan", written(tmp_path, an_alignment_run()), "-o", "json"))
    assert [stage["state"] for stage in same["stages"]] == ["Cached", "Cached", "ToRun", "ToRun"]
    assert same["stake"] == []
    assert "nothing that" in plugin("plan", written(tmp_path, an_alignment_run()))
    beta = written(tmp_path, an_alignment_run(policy={"dpo": {"beta": "0.3"}}))
    plan = json.loads(plugin.ok("plan", beta, "-o", "json"))
    assert [stage["state"] for stage in plan["stages"]] == ["Cached", "Cached", "ToRun", "ToRun"]
    (stake,) = plan["stake"]
    assert (stake["stage"], stake["state"], stake["certain"]) == ("policy", "Running", True)
    assert "again: policy: " in plugin.ok("plan", beta)
    assert "is at work and would be stopped" in plugin.ok("plan", beta)
    source = written(tmp_path, an_alignment_run(model={"uri": "hf://Qwen/Qwen2.5-1.5B-Instruct"}))
    plan = json.loads(plugin.ok("plan", source, "-o", "json"))
    assert {stage["state"] for stage in plan["stages"]} == {"Unknown"}
    assert [stake["stage"] for stake in plan["stake"]] == ["feedback-model", "synthesis", "policy"]
    assert not any(stake["certain"] for stake in plan["stake"])
    assert "(unless prepare finds the same content)" in plugin.ok("plan", source)


def test_plan_counts_device_hours(world: World, plugin: Plugin, tmp_path: Path) -> None:
    run = world.alignment("first")
    world.play(run, "prepare", "feedback-model", "synthesis")
    world.edit(run, suspend=True)
    world.await_condition(run, "Suspended", "True")
    had_run_for(world, run, {"feedback-model": 7200, "synthesis": 34560})
    edited = an_alignment_run(synthesis={"samplesPerPrompt": 2})
    out = plugin.ok("plan", written(tmp_path, edited))
    assert "again: synthesis: " in out
    assert "9.6 device-hours so far" in out
    assert f"at stake: 9.6 device-hours of {world.namespace}/first" in out
    everything = an_alignment_run(seed=7)
    assert "at stake: 11.6 device-hours" in plugin.ok("plan", written(tmp_path, everything))


def test_a_finished_run_is_edited(world: World, plugin: Plugin, tmp_path: Path) -> None:
    """What `git commit` with another beta does: the plan says what it costs, and no more than that is done again."""
    run = world.alignment("first", suspend=False)
    world.play(run, "prepare", "feedback-model", "synthesis", "policy", "evaluation")
    world.await_condition(run, "Succeeded", "True")
    assert plugin.ok("wait", "first") == f"{world.namespace}/first: Succeeded\n"
    had_run_for(world, run, {"feedback-model": 7200, "synthesis": 34560, "policy": 90000, "evaluation": 3600})
    edited = written(tmp_path, an_alignment_run(suspend=False, policy={"dpo": {"beta": "0.3"}}))
    out = plugin.ok("plan", edited)
    assert [line.split(":")[1].strip() for line in out.splitlines() if line.startswith("again: ")] == [
        "policy",
        "evaluation",
    ]
    assert "again: policy: " in out
    assert "25.0 device-hours so far" in out
    assert f"at stake: 26.0 device-hours of {world.namespace}/first" in out
    before = keys(world, run)
    with plugin.start("run", edited, "--force-conflicts") as running:
        assert running.first_news() == f"alignmentrun/first applied in namespace {world.namespace}\n"
        assert "not within 2 s: Succeeded" in plugin("wait", "first", "--timeout", "2s"), "the old success is none"
        with plugin.start("wait", "first", "--timeout", "60s") as waiting:
            world.play(run, "prepare")
            world.start(run, "policy")
            assert "Running (policy)" in plugin.ok("status", "first")
            world.play(run, "policy", "evaluation")
            said = waiting.end()
        assert (said.code, said.out) == (0, f"{world.namespace}/first: Succeeded\n"), said
        assert running.end().code == 0
    after = keys(world, run)
    assert {stage for stage in after if after[stage] != before[stage]} == {"policy", "evaluation"}
    assert len(world.jobs(run, "feedback-model")) <= 1
    lines = {line.split()[0]: line for line in plugin.ok("status", "first").splitlines()}
    assert lines["AlignmentRun"].startswith(f"AlignmentRun {world.namespace}/first: Succeeded")
    assert all("Succeeded" in lines[stage] or "Cached" in lines[stage] for stage in after)
    assert json.loads(plugin.ok("plan", edited, "-o", "json"))["stake"] == []


def had_run_for(world: World, run: Object, device_seconds: dict[str, int]) -> None:
    """As if its stages had taken so long on devices."""
    world.operator.terminate()
    now = world.now(run)
    for stage, seconds in device_seconds.items():
        stage_of(now, stage)["deviceSeconds"] = seconds
    world.client.call("PUT", ALIGNMENT_RUNS.path(world.namespace, run["metadata"]["name"], "status"), now)
    world.operator.start()


def keys(world: World, run: Object) -> dict[str, str]:
    """Of its stages, without prepare."""
    return {stage["name"]: stage["key"] for stage in world.now(run)["status"]["stages"] if stage.get("key")}


def test_what_another_run_has_made_is_not_done_again(world: World, plugin: Plugin, tmp_path: Path) -> None:
    run = world.alignment("other")
    world.play(run, "prepare", "feedback-model")
    document = an_alignment_run()
    plan = json.loads(plugin.ok("plan", written(tmp_path, document), "-o", "json"))
    assert {stage["state"] for stage in plan["stages"]} == {"Unknown"}, "its pins are not this run's"
    world.alignment("first", suspend=True)
    assert "nothing that" in plugin.ok("plan", written(tmp_path, document))
    resolved = yaml.safe_load(plugin.ok("plan", written(tmp_path, document), "-o", "yaml"))
    assert resolved["spec"]["policy"]["dpo"]["loss"] == "Sigmoid"


def test_pin_writes_what_a_run_has_read(world: World, plugin: Plugin, tmp_path: Path) -> None:
    run = world.alignment("first")
    file = written(tmp_path, an_alignment_run())
    assert "has no pin of it: it is not prepared yet" in plugin("pin", file)
    world.play(run, "prepare")
    sources = {source["uri"]: source for source in world.now(run)["status"]["sources"]}
    said = plugin("pin", file)
    assert said.code == 0, said
    spec = yaml.safe_load(Path(file).read_text())["spec"]
    feedback = spec["data"]["feedback"][0]
    assert feedback["digest"] == sources[feedback["uri"]]["digest"]
    assert spec["model"]["revision"] == sources[spec["model"]["uri"]]["revision"]
    assert spec["recipe"] == world.now(run)["status"]["recipe"]
    assert "4 stages are known" in said
    keys = [stage["key"] for stage in json.loads(plugin.ok("plan", file, "-o", "json"))["stages"]]
    assert keys == [stage["key"] for stage in world.now(run)["status"]["stages"][1:]], "and the keys stay"
    assert "everything is pinned already" in plugin.ok("pin", file, "--from-run", "first")
    assert "found no run" in plugin("pin", written(tmp_path, an_alignment_run(), "b.yaml"), "--from-run", "second")
