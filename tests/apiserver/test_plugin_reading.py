"""``kubectl boresight results``, ``compare``, ``report``, and ``boresight.run`` in Python, of runs in a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import boresight
import pytest
import yaml
from apiserver.client import Object, until
from apiserver.plugin import Plugin
from apiserver.world import World
from boresight.cluster.source import ClusterRuns, open_cluster
from boresight.errors import UserError
from boresight_api.execution import Stage
from boresight_trainer.store.file import FileStore
from builders_cli import a_results_document, publish
from builders_manifests import an_alignment_run


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """Instead of the bucket, which the played nodes do not write to."""
    found = FileStore((tmp_path / "bucket").as_uri())
    monkeypatch.setattr(ClusterRuns, "store", lambda *_: found)
    return found


def a_measured_run(world: World, store: FileStore, name: str, **spec: object) -> Object:
    """With artifacts as the trainer would have published them."""
    run = world.alignment(name, **spec)
    world.play(run, "prepare")
    for stage in ("feedback-model", "synthesis", "policy", "evaluation"):
        document = world.kubelet.document(world.start(run, stage))
        assert isinstance(document, Stage)
        if store.manifest(document.key) is None:
            evaluated = {"results.json": json.dumps(a_results_document())} if stage == "evaluation" else None
            publish(store, document, evaluated, headline={"loss": "1.25"})
        world.kubelet.play(run, stage)
        world.await_stage(run, stage, "Succeeded")
    world.await_condition(run, "Succeeded", "True")
    return run


def test_what_a_run_brought(world: World, plugin: Plugin, store: FileStore, tmp_path: Path) -> None:
    a_measured_run(world, store, "first")
    rows = json.loads(plugin.ok("results", "first", "-o", "json"))
    gain = next(r for r in rows if r["name"] == "promptShareDifference" and r["baseline"] == "warm-start")
    assert (gain["value"], gain["low"], gain["high"], gain["n"]) == (0.09, 0.02, 0.16, 160)
    said = plugin("report", "first")
    assert said.code == 0, said
    page = (tmp_path / "first-report/report.html").read_text()
    assert f"AlignmentRun {world.namespace}/first" in page
    assert "direct preference optimisation on the pairs" in page
    again = plugin("compare", "first", "first-report/results.json", "-o", "json")
    row = json.loads(again.out)[0]
    assert row["first"] == row["first-report"]
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(an_alignment_run()))
    (row, *_) = json.loads(plugin.ok("compare", "first", "first.yaml", "-o", "json"))
    assert row["first"] == row["first.yaml"], "by the keys of its plan"
    assert "first-report/report.html" in plugin.ok("status", "first")
    keys = {row["key"] for row in json.loads(plugin.ok("artifacts", "ls", "-o", "json"))}
    assert keys == {stage["key"] for stage in world.now(a_kind("first", world))["status"]["stages"][1:]}


def a_kind(name: str, world: World) -> Object:
    return {"kind": "AlignmentRun", "metadata": {"namespace": world.namespace, "name": name}}


def test_in_python(world: World, plugin: Plugin, store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    a_measured_run(world, store, "first")
    monkeypatch.setenv("KUBECONFIG", str(plugin.kubeconfig))
    run = boresight.run("first", world.namespace, cluster=True)
    assert repr(run) == f"Run({world.namespace}/first, Succeeded)"
    assert run.stages == ("feedback-model", "synthesis", "policy", "evaluation")
    assert run.results().find("Verifiable", "promptShare", "policy") is not None
    assert (run.artifact("policy").path() / "weights.txt").read_text() == "policy"
    assert boresight.run(None, world.namespace, cluster="test").record.uid == run.record.uid
    world.evaluation("later", suspend=True)
    with pytest.raises(UserError, match="has no stage"):
        boresight.run("later", world.namespace, cluster=True).artifact("policy")
    with pytest.raises(UserError, match=r'found no context "prod" \(there: test\)'):
        boresight.run("first", cluster="prod")


def test_the_store_of_the_settings_is_found_in_the_runs_jobs(world: World, plugin: Plugin) -> None:
    world.kubelet.await_pods(world.evaluation("by-settings"), "prepare")
    runs = open_cluster(kubeconfig=str(plugin.kubeconfig), namespace=world.namespace)
    place = runs._place_of(runs.find("by-settings"))
    assert place == ("s3://alignment/test", "https://minio.storage:9000")
    own = {"uri": "s3://own/prefix", "endpoint": "https://own.example", "secretName": "own"}
    world.evaluation("by-itself", storage=own, suspend=True)
    assert runs._place_of(runs.find("by-itself")) == ("s3://own/prefix", "https://own.example")
    world.evaluation("nowhere", suspend=True)
    with pytest.raises(UserError, match="has no Job any more"):
        runs._place_of(runs.find("nowhere"))


def test_the_store_of_a_run_without_jobs_is_where_its_artifacts_are(
    world: World, plugin: Plugin, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = world.evaluation("kept", retainPodsSeconds=0)
    world.play(run, "prepare", "evaluation")
    world.await_condition(run, "Succeeded", "True")
    until(lambda: not world.jobs(run), "its Jobs are gone")
    runs = open_cluster(kubeconfig=str(plugin.kubeconfig), namespace=world.namespace)
    assert runs._place_of(runs.find("kept")) == ("s3://alignment/test", None)
    assert "taken for AWS: set AWS_ENDPOINT_URL_S3 if it is not" in capsys.readouterr().err
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://minio.example")
    assert runs._place_of(runs.find("kept")) == ("s3://alignment/test", None)
    assert capsys.readouterr().err == ""
    assert "s3://alignment/test cannot be read from here: store: found no AWS_ACCESS_KEY_ID" in plugin(
        "artifacts", "ls"
    )


def test_a_store_that_lies_in_pods_is_said_to(world: World, plugin: Plugin) -> None:
    claim = {"volumes": [{"name": "s", "persistentVolumeClaim": {"claimName": "s"}}]}
    mount = {"volumeMounts": [{"name": "s", "mountPath": "/store"}]}
    folder = {"uri": "file:///store/runs"}
    world.evaluation("folder", storage=folder, compute={"podTemplate": {**claim, **mount}}, suspend=True)
    said = plugin("artifacts", "ls")
    assert "its store is file:///store/runs, a folder in its pods; --in-cluster" in said
