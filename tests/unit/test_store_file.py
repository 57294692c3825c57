"""The file store: an artifact is there whole or not at all, is published once, and says when it was corrupted."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from boresight_api.artifact import MANIFEST_NAME, Parent
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.store import file as file_module
from boresight_trainer.store.file import FileStore
from builders_store import KEY, OTHER_KEY, a_manifest, a_store, publish, race_to_publish, write_files

RACERS = 4


def test_a_published_artifact_is_found_listed_opened_and_verified(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    assert (store.manifest(KEY), store.digest(KEY), store.keys()) == (None, None, [])
    published = publish(store)
    assert not published.adopted
    assert published.artifact.uri == store.artifact_uri(KEY)
    manifest = store.manifest(KEY)
    assert manifest is not None
    assert published.artifact.digest == store.digest(KEY) == manifest.digest()
    assert [file.path for file in manifest.files] == ["deep/er.json", "weights.bin"]
    assert (store.open(KEY) / "weights.bin").read_text() == "weights"
    assert store.verify(KEY) == manifest
    assert [key for key, _ in store.artifacts()] == store.keys() == [KEY]
    assert list((store.root / "staging").iterdir()) == []


def test_what_has_no_manifest_is_no_artifact(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    write_files(store.path(KEY), {"weights.bin": "half"})
    assert (store.manifest(KEY), store.keys()) == (None, [])
    with pytest.raises(
        StageFailure, match=f"artifact {KEY} is not in file://.*: run the stage that makes it"
    ) as caught:
        store.open(KEY)
    assert caught.value.failure is FailureClass.MISSING_INPUT


def test_a_wreck_without_manifest_gives_way_to_a_publisher(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    write_files(store.path(KEY), {"half.bin": "half"})
    assert not publish(store, files={"whole.bin": "whole"}).adopted
    assert sorted(p.name for p in store.path(KEY).iterdir()) == [MANIFEST_NAME, "whole.bin"]
    assert list((store.root / "staging").iterdir()) == []


def test_a_stage_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with pytest.raises(RuntimeError), store.staging(KEY) as folder:
        write_files(folder, {"half.bin": "half"})
        raise RuntimeError
    assert list((store.root / "staging").iterdir()) == []
    assert store.keys() == []


def test_the_second_publisher_adopts_what_the_first_published(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    first = publish(store, files={"a.txt": "first"})
    second = publish(store, files={"a.txt": "second"})
    assert (first.adopted, second.adopted) == (False, True)
    assert second.artifact == first.artifact
    assert (store.open(KEY) / "a.txt").read_text() == "first"


@pytest.mark.parametrize("wreck", [False, True])
def test_of_racing_processes_exactly_one_publishes_and_the_others_adopt(tmp_path: Path, wreck: bool) -> None:
    store = a_store(tmp_path)
    if wreck:
        write_files(store.path(KEY), {"half.bin": "half"})
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(RACERS), context.Queue()
    processes = [context.Process(target=race_to_publish, args=(store.uri, n, barrier, results)) for n in range(RACERS)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    (winner,) = [number for number, adopted, _ in found if not adopted]
    assert {digest for _, _, digest in found} == {store.digest(KEY)}
    assert (store.open(KEY) / "who.txt").read_text() == str(winner)
    assert list((store.root / "staging").iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "weights.bin").write_text("weighty"),
            r"weights.bin: found sha256:.*, expected sha256:",
        ),
        (lambda folder: (folder / "weights.bin").write_text("w"), "weights.bin: found 1 bytes, expected 7 bytes"),
        (lambda folder: (folder / "weights.bin").unlink(), "weights.bin: found no file, expected 7 bytes"),
    ],
)
def test_a_corrupted_file_is_named_with_what_was_found_and_expected(tmp_path: Path, damage: Any, message: str) -> None:
    store = a_store(tmp_path)
    publish(store)
    damage(store.path(KEY))
    with pytest.raises(
        StageFailure, match=f"artifact {KEY}: {message}.*corrupted; remove .* to make it again"
    ) as caught:
        store.open(KEY)
    assert caught.value.failure is FailureClass.MISSING_INPUT


def test_opening_hashes_once_and_verifying_always(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    publish(store)
    store.open(KEY)
    (store.path(KEY) / "weights.bin").write_text("weighty")
    store.open(KEY)
    with pytest.raises(StageFailure, match="corrupted"):
        store.verify(KEY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"apiVersion": "x", "surprise": 1}', "cannot read"),
        ("{", "cannot read"),
        (None, f"the manifest of {OTHER_KEY}"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    store = a_store(tmp_path)
    publish(store)
    if content is None:
        publish(store, key=OTHER_KEY)
        content = (store.path(OTHER_KEY) / MANIFEST_NAME).read_text()
    (store.path(KEY) / MANIFEST_NAME).write_text(content)
    with pytest.raises(StageFailure, match=rf"manifest.json: found .*{message}.*remove") as caught:
        store.manifest(KEY)
    assert caught.value.failure is FailureClass.MISSING_INPUT


def test_finished_work_is_adopted_only_with_the_parents_that_it_was_made_from(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    assert store.finished(KEY) is None
    made_from = publish(store, key=OTHER_KEY).artifact.digest
    publish(store, parents=(Parent(name="model", key=OTHER_KEY, digest=made_from),))
    assert store.finished(KEY) == store.manifest(KEY)
    shutil.rmtree(store.path(OTHER_KEY))
    assert store.finished(KEY) == store.manifest(KEY), "a parent that is not here says nothing"
    found = publish(store, OTHER_KEY, {"weights.bin": "others"}).artifact.digest
    message = rf"artifact {KEY}: its model, artifact {OTHER_KEY}: found {found}, expected {made_from}.*remove the"
    with pytest.raises(StageFailure, match=message) as caught:
        store.finished(KEY)
    assert caught.value.failure is FailureClass.MISSING_INPUT


def test_what_is_published_is_what_was_described(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with store.staging(KEY) as folder:
        write_files(folder, {"a.txt": "a"})
        manifest = a_manifest(folder)
        write_files(folder, {"late.txt": "b"})
        with pytest.raises(StageFailure, match=r"late\.txt: found 1 bytes, the manifest says no such file"):
            store.publish(KEY, folder, manifest)
    with store.staging(KEY) as folder, pytest.raises(ValueError, match="found the manifest of b"):
        store.publish(KEY, folder, a_manifest(folder, OTHER_KEY))
    assert store.keys() == []


# -- a store that refuses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "the disk is full: free space there"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission is missing"),
        (errno.EIO, "see whether the store is mounted and answers"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_a_store_that_is_full_or_read_only_is_infrastructure_and_nothing_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str, call: str
) -> None:
    store = a_store(tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code), str(store.root))

    if call == "fsync":
        monkeypatch.setattr(file_module.os, "fsync", refuse)
    else:
        monkeypatch.setattr(Path, call, refuse)
    with pytest.raises(StageFailure, match=f"store: could not .*: {os.strerror(code)}; {remedy}") as caught:
        publish(store)
    assert caught.value.failure is FailureClass.INFRASTRUCTURE
    monkeypatch.undo()
    assert store.keys() == []
    assert not list((store.root / "staging").glob("*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_while_the_manifest_is_written_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = a_store(tmp_path)
    opened = Path.open

    def full(self: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        return opened(Path("/dev/full"), "wb") if self.name == MANIFEST_NAME else opened(self, mode, *rest, **more)

    with pytest.raises(StageFailure, match=r"No space left on device; the disk is full"), store.staging(KEY) as folder:
        write_files(folder, {"a.txt": "a"})
        manifest = a_manifest(folder)
        monkeypatch.setattr(Path, "open", full)
        store.publish(KEY, folder, manifest)
    monkeypatch.undo()
    assert store.keys() == []


def test_a_file_where_the_store_should_be_is_infrastructure(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    for attempt in (lambda store: publish(store), lambda store: store.probe(), lambda store: store.checkpoints(KEY)):
        with pytest.raises(StageFailure, match="a file stands where a folder is expected") as caught:
            attempt(a_store(tmp_path))
        assert caught.value.failure is FailureClass.INFRASTRUCTURE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_infrastructure(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(StageFailure, match="permission is missing"):
        a_store(tmp_path).probe()


def test_the_probe_passes_on_a_good_store_and_leaves_nothing(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    store.probe()
    assert store.keys() == []
    assert [p for p in store.root.rglob("*") if p.is_file()] == []


def test_the_probe_refuses_a_file_system_that_lets_a_second_publisher_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    def replace(folder: Path, target: Path) -> bool:
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
        return True

    monkeypatch.setattr(file_module, "_rename_onto_nothing", replace)
    with pytest.raises(StageFailure, match="lets a second publisher replace an artifact") as caught:
        a_store(tmp_path).probe()
    assert caught.value.failure is FailureClass.INFRASTRUCTURE


# -- beside artifacts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["s3://bucket/prefix", "file:relative", "/path", "file://host/path"])
def test_a_place_that_is_no_absolute_folder_is_refused(uri: str) -> None:
    with pytest.raises(StageFailure, match="expected file:///absolute/path") as caught:
        FileStore(uri)
    assert caught.value.failure is FailureClass.INVALID_CONFIG


@pytest.mark.parametrize("key", ["", "../../etc", "A" * 64, "a" * 63])
def test_what_is_no_key_never_becomes_a_path(tmp_path: Path, key: str) -> None:
    with pytest.raises(StageFailure, match="expected a key: 64 hexadecimal digits"):
        a_store(tmp_path).path(key)


def test_a_runs_checkpoints_are_discarded_and_anothers_stay(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    folder = store.checkpoints(KEY)
    write_files(folder, {"run-aaaa-1/step-00000001/state.json": "{}", "run-bbbb-1/x": "", "run-aaaa-2/x": ""})
    store.discard_checkpoints(KEY, "run-aaaa")
    assert [p.name for p in folder.iterdir()] == ["run-bbbb-1"]
    store.discard_checkpoints(KEY, "run-bbbb")
    assert not folder.exists()
    store.discard_checkpoints(KEY, "run-bbbb")


def test_a_cache_has_a_folder_of_its_own_and_no_way_out(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    assert store.cache("reference").is_dir()
    with pytest.raises(StageFailure, match=r'cache: found "\.\./x"'):
        store.cache("../x")
