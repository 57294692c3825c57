"""Sources: digests and their cache, pins, and from inputs to paths. What is read is what was pinned."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from boresight_api.enums import DataFormat
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.pins import source_id
from boresight_api.stages import DataInput, Input
from boresight_trainer.models import embedded
from boresight_trainer.store import digests, hub
from boresight_trainer.store.digests import DigestCache, content_digest, file_digest, files_of
from boresight_trainer.store.inputs import Inputs
from boresight_trainer.store.layout import file_path
from boresight_trainer.store.pins import licence_of, pin
from boresight_trainer.store.references import read_tag, write_refs, write_tag
from builders_store import KEY, OTHER_KEY, a_store, publish, write_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LONG_AGO = (1_000_000_000, 1_000_000_000)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# -- digests ---------------------------------------------------------------------------------------------------------


def test_a_files_digest_is_the_sha256_of_its_content(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.txt": "a"})
    expected = "sha256:" + hashlib.sha256(b"a").hexdigest()
    assert file_digest(tmp_path / "a.txt") == content_digest(tmp_path / "a.txt", (), DigestCache()) == expected


def test_a_trees_digest_is_that_of_names_and_contents(tmp_path: Path) -> None:
    def digest(files: dict[str, str], *names: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        write_files(folder, files)
        return content_digest(folder, names, DigestCache())

    whole = digest({"a.txt": "a", "b/c.txt": "c"})
    assert digest({"b/c.txt": "c", "a.txt": "a", ".cache/x": "tool"}) == whole
    assert digest({"a.txt": "a", "b/c.txt": "c", "d": "left out"}, "b/c.txt", "a.txt") == whole
    for other in ({"a.txt": "A", "b/c.txt": "c"}, {"A.txt": "a", "b/c.txt": "c"}, {"a.txt": "a"}):
        assert digest(other) != whole


def test_a_folders_files_are_sorted_and_without_what_tools_hide(tmp_path: Path) -> None:
    write_files(tmp_path, {"b": "", "a/c": "", ".git/x": "", "a/.hidden": ""})
    assert files_of(tmp_path) == ["a/c", "b"]


def test_a_file_is_hashed_again_only_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache, read = tmp_path / "a.txt", DigestCache(tmp_path / "own"), []
    monkeypatch.setattr(digests, "file_digest", lambda path: (read.append(path), file_digest(path))[1])
    monkeypatch.setattr(digests.time, "time_ns", lambda: path.stat().st_ctime_ns + 3_000_000_000)
    path.write_text("a")
    first = cache.digest(path)
    assert (cache.digest(path), len(read)) == (first, 1)
    path.write_text("b")
    os.utime(path, LONG_AGO)
    assert cache.digest(path) != first
    assert len(read) == 2


def test_a_file_that_may_still_be_changing_is_not_remembered(tmp_path: Path) -> None:
    path, cache = tmp_path / "a.txt", DigestCache(tmp_path / "own")
    path.write_text("a")
    cache.digest(path)
    assert not (tmp_path / "own").exists()


# -- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///data/a.jsonl", "/data/a.jsonl"),
        ("file:///my%20data/a.jsonl", "/my data/a.jsonl"),
        ("file:///my data/what?#.jsonl", "/my data/what?#.jsonl"),
        ("file:a/b.jsonl", "/base/a/b.jsonl"),
    ],
)
def test_a_file_uri_names_a_path(uri: str, path: str) -> None:
    assert file_path(uri, Path("/base")) == Path(path)


def test_a_relative_uri_needs_the_manifests_folder() -> None:
    with pytest.raises(StageFailure, match="only the command line, which knows the manifest's folder"):
        file_path("file:a.jsonl")


# -- pins ------------------------------------------------------------------------------------------------------------


def test_a_file_is_pinned_by_content_and_a_copy_has_the_same_digest(tmp_path: Path) -> None:
    write_files(tmp_path, {"a/d.jsonl": "{}", "b/d.jsonl": "{}"})
    first, second = (pin((tmp_path / name / "d.jsonl").as_uri()) for name in "ab")
    assert first.digest == second.digest
    assert first.id == source_id((tmp_path / "a" / "d.jsonl").as_uri())
    assert pin("file:a/d.jsonl", base=tmp_path).digest == first.digest


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlanguage: en\nlicense: cc-by-nc-4.0\n---\n# Data", "cc-by-nc-4.0"),
        ("---\nlicense: 'apache-2.0'\n---\n", "apache-2.0"),
        ("# Data\nlicense: no front matter", None),
        ("---\nlanguage: en\n---\nlicense: not here", None),
    ],
)
def test_the_licence_is_what_the_readme_states(tmp_path: Path, readme: str, licence: str | None) -> None:
    write_files(tmp_path, {"README.md": readme, "d.jsonl": "{}"})
    assert licence_of(tmp_path) == licence_of(tmp_path / "d.jsonl") == licence
    assert pin((tmp_path / "d.jsonl").as_uri()).licence == licence


def test_a_tag_is_pinned_to_the_key_that_it_names(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    publish(store)
    write_tag(store, "judge-v3", KEY)
    found = pin("artifact://tags/judge-v3", store=store)
    assert (found.key, found.digest) == (KEY, None)
    with pytest.raises(StageFailure, match=r"found no such tag in .* \(tags there: judge-v3\)") as caught:
        pin("artifact://tags/judge-v4", store=store)
    assert caught.value.failure is FailureClass.MISSING_INPUT
    with pytest.raises(StageFailure, match=f"tag judge-v4: artifact {OTHER_KEY} is not in"):
        write_tag(store, "judge-v4", OTHER_KEY)
    (store.root / "tags" / "judge-v3.json").write_text('{"key": "half')
    with pytest.raises(StageFailure, match="expected an object with a key"):
        read_tag(store, "judge-v3")


def test_an_embedded_model_is_pinned_without_being_made(tmp_path: Path) -> None:
    assert pin("embedded://tiny").digest == embedded.digest(embedded.TINY)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("uri", "failure", "message"),
    [
        ("file:///nowhere/at/all.jsonl", FailureClass.INVALID_DATA, "found no such file; / has "),
        ("pvc://claim/data", FailureClass.INVALID_CONFIG, "cannot be read in this release"),
        ("embedded://huge", FailureClass.INVALID_CONFIG, "huge"),
        ("hf://datasets", FailureClass.INVALID_CONFIG, "expected hf://<owner>/<model>"),
    ],
)
def test_what_cannot_be_pinned_says_why(uri: str, failure: FailureClass, message: str) -> None:
    with pytest.raises(StageFailure, match=message) as caught:
        pin(uri)
    assert caught.value.failure is failure


def test_a_folder_with_a_pipe_or_a_dangling_link_is_refused(tmp_path: Path) -> None:
    for make in (lambda path: os.mkfifo(path), lambda path: path.symlink_to("nowhere")):
        odd = tmp_path / "odd.jsonl"
        make(odd)
        with pytest.raises(StageFailure, match=r"odd\.jsonl cannot be read|nowhere cannot be read") as caught:
            pin(tmp_path.as_uri())
        assert caught.value.failure is FailureClass.INVALID_DATA
        odd.unlink()


def test_a_named_file_that_is_missing_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.jsonl": ""})
    with pytest.raises(StageFailure, match=r"files: b\.jsonl: found no such file; .* has a\.jsonl"):
        pin(tmp_path.as_uri(), files=("a.jsonl", "b.jsonl"))


# -- inputs ----------------------------------------------------------------------------------------------------------


def test_an_artifact_is_opened_and_checked(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    publish(store)
    value = Input(uri=f"artifact://{KEY}", key=KEY)
    assert Inputs(store).path(value) == store.path(KEY)
    (store.path(KEY) / "weights.bin").write_text("weighty")
    with pytest.raises(StageFailure, match=r"weights\.bin: found sha256"):
        Inputs(a_store(tmp_path)).path(value)


def test_a_source_that_changed_after_it_was_pinned_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"data/a.jsonl": "{}", "data/b.jsonl": ""})
    uri = (tmp_path / "data").as_uri()
    inputs, digest = Inputs(a_store(tmp_path)), pin(uri, files=("a.jsonl",)).digest
    value = DataInput(uri=uri, digest=digest, files=("a.jsonl",), format=DataFormat.JSONL)
    (tmp_path / "data" / "b.jsonl").write_text("not read, may change")
    assert inputs.path(value) == tmp_path / "data"
    (tmp_path / "data" / "a.jsonl").write_text("{ }")
    with pytest.raises(
        StageFailure, match=r"found sha256:.*, the run was planned with sha256:.*: the source changed"
    ) as e:
        inputs.path(value)
    assert e.value.failure is FailureClass.MISSING_INPUT


def test_an_embedded_model_is_made_once_below_the_cache(tmp_path: Path) -> None:
    inputs = Inputs(a_store(tmp_path), cache=tmp_path / "models")
    value = Input(uri="embedded://tiny", digest=embedded.digest(embedded.TINY))
    folder = inputs.path(value)
    assert folder.is_relative_to(tmp_path / "models")
    assert (folder / "config.json").is_file()
    assert inputs.path(value) == folder
    with pytest.raises(StageFailure, match="the source changed"):
        inputs.path(value.model_copy(update={"digest": "sha256:" + "0" * 64}))


# -- the hub ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "kind", "repo", "revision"),
    [
        ("hf://Qwen/Qwen2.5-0.5B-Instruct", "model", "Qwen/Qwen2.5-0.5B-Instruct", None),
        ("hf://gpt2", "model", "gpt2", None),
        ("hf://datasets/PKU-Alignment/align-anything", "dataset", "PKU-Alignment/align-anything", None),
        ("hf://owner/name@v1.0", "model", "owner/name", "v1.0"),
    ],
)
def test_a_hub_uri_names_a_repository(uri: str, kind: str, repo: str, revision: str | None) -> None:
    assert hub.HubReference.parse(uri) == hub.HubReference(repo, kind, revision)


def test_a_commit_is_its_own_pin_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    found = pin("hf://owner/name", revision=COMMIT)
    assert found.revision == COMMIT
    assert found.digest != pin("hf://datasets/owner/name", revision=COMMIT).digest
    assert found.digest == pin(f"hf://owner/name@{COMMIT}").digest


def test_the_commit_that_was_pinned_counts_more_than_the_branch_in_the_uri() -> None:
    reference = hub.HubReference.parse("hf://owner/name@main")
    assert reference.at(COMMIT).revision == COMMIT
    assert reference.at(None).revision == "main"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A hub cache with one snapshot, on a machine without network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def make(kind: str, files: dict[str, str]) -> Path:
        repository = tmp_path / "hub" / f"{kind}--owner--name"
        write_files(repository / "snapshots" / COMMIT, files)
        write_files(repository, {"refs/main": COMMIT})
        return repository / "snapshots" / COMMIT

    return make


def test_offline_a_branch_means_what_the_cache_has(tmp_path: Path, hub_cache: Callable[..., Path]) -> None:
    folder = hub_cache("datasets", {"text-to-text/train.jsonl": "{}"})
    found = pin("hf://datasets/owner/name")
    assert found.revision == COMMIT
    value = DataInput(
        uri="hf://datasets/owner/name",
        digest=found.digest,
        revision=found.revision,
        format=DataFormat.ALIGN_ANYTHING,
        subset="text-to-text",
    )
    assert Inputs(a_store(tmp_path)).path(value) == folder


def test_offline_without_a_snapshot_the_message_says_how_to_get_one(hub_cache: Callable[..., Path]) -> None:
    hub_cache("models", {})
    with pytest.raises(
        StageFailure, match=r"hf://owner/other: .*cannot be reached.*`hf download owner/other`"
    ) as caught:
        pin("hf://owner/other")
    assert caught.value.failure is FailureClass.INFRASTRUCTURE


def test_online_a_branch_means_what_the_hub_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi, constants

    asked: list[Any] = []

    def repo_info(_: HfApi, repo: str, **options: Any) -> SimpleNamespace:
        asked.append((repo, options["repo_type"], options["revision"]))
        return SimpleNamespace(sha=COMMIT, card_data=SimpleNamespace(license="cc-by-nc-4.0"))

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "repo_info", repo_info)
    found = pin("hf://owner/name", revision="main")
    assert (found.revision, found.licence) == (COMMIT, "cc-by-nc-4.0")
    assert asked == [("owner/name", "model", "main")]


def test_a_name_that_the_hub_does_not_know_is_the_users_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2
    from huggingface_hub import HfApi, constants, errors

    def repo_info(*_: Any, **__: Any) -> None:
        raise errors.RepositoryNotFoundError(
            "no", response=httpx2.Response(404, request=httpx2.Request("GET", "http://h"))
        )

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(HfApi, "repo_info", repo_info)
    with pytest.raises(StageFailure, match=r"the hub knows no model of this name.*set HF_TOKEN") as caught:
        pin("hf://owner/nmae")
    assert caught.value.failure is FailureClass.INVALID_CONFIG


# -- references ------------------------------------------------------------------------------------------------------


def test_refs_say_which_keys_a_run_needs(tmp_path: Path) -> None:
    import json

    store = a_store(tmp_path)
    for stages in ({"policy": OTHER_KEY}, {"policy": OTHER_KEY, "synthesis": KEY, "evaluation": KEY}):
        write_refs(store, cluster="local", namespace="default", run="uid-1", stages=stages, label="first")
    document = json.loads((store.root / "refs" / "local" / "default" / "uid-1.json").read_text())
    assert document["keys"] == [KEY, OTHER_KEY]
    with pytest.raises(StageFailure, match="namespace: found"):
        write_refs(store, cluster="local", namespace="../up", run="uid-1", stages={})
