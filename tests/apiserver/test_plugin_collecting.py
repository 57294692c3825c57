"""``kubectl boresight artifacts gc`` beside a real API server: what runs that are there name is no garbage."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apiserver.client import Object
from apiserver.control_plane import ControlPlane
from apiserver.helper_pods import helper
from apiserver.members import Members
from apiserver.plugin import Plugin
from apiserver.runs import stage_of
from apiserver.tenant import Tenant
from apiserver.world import World
from boresight.cluster.helper_pod import DOCUMENT_ANNOTATION, DOCUMENT_FILE
from boresight.cluster.source import ClusterRuns
from boresight.framed import Unframed
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.references import write_refs
from builders_store import publish

NAMED, ORPHAN, THEIRS, OURS = (secrets.token_hex(32) for _ in range(4))
"""Keys that no other test's run names."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """Instead of the bucket, which the played nodes do not write to. A year has passed since."""
    found = FileStore((tmp_path / "bucket").as_uri())
    monkeypatch.setattr(ClusterRuns, "store", lambda *_: found)
    later = datetime.now(UTC) + timedelta(days=400)
    monkeypatch.setattr("boresight.commands.collection.time.time", later.timestamp)
    return found


def a_prepared_run(world: World, store: FileStore) -> tuple[Object, str]:
    """And the key of its evaluation, whose artifact is there."""
    run = world.evaluation("first")
    world.play(run, "prepare")
    key = str(stage_of(world.now(run), "evaluation")["key"])
    publish(store, key)
    return run, key


def doomed(plugin: Plugin, *words: str) -> set[str]:
    return {row["name"] for row in json.loads(plugin.ok("artifacts", "gc", "-o", "json", *words))}


def test_what_a_run_names_is_kept_for_as_long_as_it_is_there(
    world: World, plugin: Plugin, store: FileStore, namespaces: Callable[[], str]
) -> None:
    _, key = a_prepared_run(world, store)
    elsewhere = Tenant(world.client, namespaces())
    other = elsewhere.evaluation(candidate={"uri": f"artifact://{NAMED}"}, suspend=True)
    for artifact in (NAMED, ORPHAN):
        publish(store, artifact)
    assert doomed(plugin) == {ORPHAN}
    assert doomed(plugin, "--delete", "--keep-days", "0") == {ORPHAN}
    assert set(store.keys()) == {key, NAMED}
    elsewhere.delete(other)
    assert doomed(plugin) == {NAMED}, "of a run that is gone"


def test_who_may_not_list_all_namespaces_removes_nothing_that_others_may_need(
    world: World, plane: ControlPlane, members: Members, plugin: Plugin, store: FileStore
) -> None:
    _, key = a_prepared_run(world, store)
    for artifact in (THEIRS, OURS, ORPHAN):
        publish(store, artifact)
    write_refs(store, cluster="c1", namespace="elsewhere", run="uid-1", stages={"policy": THEIRS})
    write_refs(store, cluster="c1", namespace=world.namespace, run="uid-of-a-run-that-is-gone", stages={"policy": OURS})
    limited = replace(plugin, kubeconfig=plane.kubeconfig("limited", members.token("view", world.namespace)))
    assert doomed(limited) == {OURS, ORPHAN, f"c1/{world.namespace}/uid-of-a-run-that-is-gone.json"}
    said = limited("artifacts", "gc", "--delete")
    assert f"found no right to list the runs of other namespaces than {world.namespace}: what their refs name" in said
    assert set(store.keys()) == {key, THEIRS}


def test_a_pod_that_may_not_ask_is_told_who_lives(
    world: World, plugin: Plugin, store: FileStore, tmp_path: Path
) -> None:
    run, key = a_prepared_run(world, store)
    publish(store, ORPHAN)
    with plugin.start("artifacts", "gc", "--keep-days", "0", "-o", "json", "--in-cluster"):
        pod = helper(world)
    document = tmp_path / "document.json"
    document.write_text(pod["metadata"]["annotations"][DOCUMENT_ANNOTATION])
    told = json.loads(document.read_text())
    assert run["metadata"]["uid"] in told["runs"]
    assert key in told["keys"]
    assert told["namespaces"] is None
    program, *words = pod["spec"]["containers"][0]["command"]
    here = {DOCUMENT_FILE: str(document), "s3://alignment/test": store.uri}
    for file in store.files(""):
        os.utime(store.root / file.name, (0, 0))
    command = [Path(sys.executable).with_name(program), *(here.get(word, word) for word in words)]
    log = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    printed = b"".join(Unframed(words[1], print).read([log.stdout]))
    assert {row["name"] for row in json.loads(printed)} == {ORPHAN}
