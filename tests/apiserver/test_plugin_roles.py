"""``kubectl boresight`` for people who have Kubernetes' own roles in a namespace, to which the chart's roles add."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from apiserver.client import Object
from apiserver.control_plane import ControlPlane
from apiserver.helper_pods import play
from apiserver.kubelet import failure
from apiserver.kubelet_logs import KubeletLogs
from apiserver.members import Members
from apiserver.plugin import Plugin
from apiserver.world import World
from boresight_api.outcome import FailureClass
from boresight_operator.api import PODS
from builders_manifests import an_eval_run


@pytest.fixture
def viewer(plane: ControlPlane, world: World, members: Members, plugin: Plugin) -> Plugin:
    """Somebody with the role view."""
    return replace(plugin, kubeconfig=plane.kubeconfig("viewer", members.token("view", world.namespace)))


@pytest.fixture
def editor(plane: ControlPlane, world: World, members: Members, plugin: Plugin) -> Plugin:
    """Somebody with the role edit."""
    return replace(plugin, kubeconfig=plane.kubeconfig("editor", members.token("edit", world.namespace)))


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    """Of the run ``first``."""
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(an_eval_run()))
    return str(file)


def a_run_at_work(world: World, logs: KubeletLogs) -> Object:
    run = world.evaluation("first")
    world.play(run, "prepare")
    pod = world.start(run, "evaluation")
    logs.write(pod, "it counts\n")
    return run


def test_who_may_view_can_look_at_everything(
    world: World, viewer: Plugin, kubelet_logs: KubeletLogs, manifest: str
) -> None:
    run = a_run_at_work(world, kubelet_logs)
    assert [row["name"] for row in json.loads(viewer.ok("list", "-o", "json"))] == ["first"]
    assert viewer.ok("status", "first").startswith(f"EvalRun {world.namespace}/first: Running (evaluation)")
    assert viewer.ok("status").startswith(f"EvalRun {world.namespace}/first"), "the newest"
    assert viewer.ok("logs", "first") == "it counts\n"
    assert viewer.ok("wait", "first", "--for", "Prepared", "--timeout", "9s") == f"{world.namespace}/first: Prepared\n"
    assert "nothing that" in viewer.ok("plan", manifest)
    assert "keys of 1 stages are known" in viewer.ok("pin", manifest)
    for words in (("artifacts", "ls"), ("artifacts", "gc"), ("report",)):
        assert "s3://alignment/test cannot be read from here: store: found no AWS_ACCESS_KEY_ID" in viewer(*words)
    assert "runs there: first" in viewer("status", "frist") or "did you mean first?" in viewer("status", "frist")
    world.kubelet.play(run, "evaluation")
    assert "evaluation: Succeeded" in viewer.ok("watch", "first")
    assert '"value": 1.25' in viewer.ok("results", "first", "-o", "json")
    assert "cannot list resource" in viewer("list", "-A"), "of one namespace"


@pytest.mark.parametrize(
    ("words", "act"),
    [
        (("run", "FILE"), 'cannot patch resource "evalruns"'),
        (("suspend", "first"), 'cannot patch resource "evalruns"'),
        (("retry", "first"), 'cannot patch resource "evalruns"'),
        (("artifacts", "ls", "--in-cluster"), 'cannot create resource "pods"'),
        (("report", "first", "--in-cluster"), 'cannot create resource "pods"'),
    ],
)
def test_who_may_view_is_told_which_role_acts(
    world: World, viewer: Plugin, manifest: str, words: tuple[str, ...], act: str
) -> None:
    run = world.evaluation("first")
    world.kubelet.await_pods(run, "prepare")
    before = wishes(world, run)
    said = viewer(*(manifest if word == "FILE" else word for word in words))
    assert (said.code, said.out) == (1, "")
    (line,) = said.err.splitlines()
    assert act in line
    assert line.endswith("ask for the role edit (to change something) in that namespace")
    assert wishes(world, run) == before
    assert len(world.client.list(PODS, world.namespace)) == 1, "the stage's own"


def wishes(world: World, run: Object) -> tuple[Object, Object | None]:
    """What users have said of a run."""
    now = world.now(run)
    return now["spec"], now["metadata"].get("annotations")


def test_who_may_edit_can_act(world: World, editor: Plugin, kubelet_logs: KubeletLogs, manifest: str) -> None:
    with editor.start("run", manifest) as running:
        assert running.first_news() == f"evalrun/first applied in namespace {world.namespace}\n"
        run = world.now({"kind": "EvalRun", "metadata": {"namespace": world.namespace, "name": "first"}})
        world.start(run, "prepare")
        running.interrupt()
        assert running.end().code == 130
    assert editor.ok("suspend", "first").startswith("evalrun/first suspended")
    world.await_condition(run, "Suspended", "True")
    assert editor.ok("resume", "first") == "evalrun/first resumed\n"
    pod = world.start(run, "prepare", attempt=2)
    world.kubelet.end(pod, failure("prepare", FailureClass.INVALID_DATA, "row 7"))
    world.await_condition(run, "Succeeded", "False")
    assert editor.ok("retry", "first").startswith("evalrun/first tried again")
    world.play(run, "prepare", "evaluation")
    with editor.start("artifacts", "gc", "-o", "json", "--in-cluster") as collecting:
        play(world, kubelet_logs, "[]\n")
        said = collecting.end()
    assert (said.code, said.out) == (0, "[]\n"), said
