"""Reading from a bucket: what arrives is what was published; it is loaded once, kept near, and not more than fits."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from boresight_api.execution import Execution, ReadStore
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import Input
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.inputs import Inputs
from boresight_trainer.store.library import Library
from boresight_trainer.store.open import open_library
from boresight_trainer.store.pins import pin
from boresight_trainer.store.references import read_tag, tags, write_refs, write_tag
from boresight_trainer.store.s3.store import S3Store
from builders_store import KEY, OTHER_KEY, publish
from s3.builders_s3 import a_bucket_store, open_weights, opened
from s3.minio_server import MinioServer
from s3.proxy import Proxy


@pytest.fixture
def store(minio: MinioServer, bucket: str, tmp_path: Path) -> S3Store:
    """A store with one artifact, published from elsewhere."""
    publish(opened(minio.environment(), f"s3://{bucket}/team", tmp_path / "elsewhere"))
    return opened(minio.environment(), f"s3://{bucket}/team", tmp_path / "near")


def object_name(store: S3Store, path: str) -> str:
    return "team/" + store.names_of(store.existing(KEY))[path]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"weighty", r"weights.bin: found sha256:\w+, expected sha256:"),
        (b"w", "weights.bin: found 1 bytes, expected 7 bytes"),
        (None, "weights.bin: found no file, expected 7 bytes"),
    ],
)
def test_a_tampered_object_is_named_and_never_enters_the_cache(
    minio: MinioServer, bucket: str, store: S3Store, damage: bytes | None, message: str
) -> None:
    name = object_name(store, "weights.bin")
    if damage is None:
        minio.client().remove_object(bucket, name)
    else:
        minio.client()._execute("PUT", bucket, name, body=damage)
    for reading in (store.open, store.verify, lambda key: store.file(key, "weights.bin")):
        with pytest.raises(StageFailure, match=f"artifact {KEY}: {message}.*corrupted; remove s3://") as caught:
            reading(KEY)
        assert caught.value.failure is FailureClass.MISSING_INPUT
    assert [p for p in (store._near / "artifacts").iterdir() if p.is_dir()] == []


def test_what_is_not_there_is_missing(store: S3Store) -> None:
    with pytest.raises(StageFailure, match=f"artifact {OTHER_KEY} is not in s3://") as caught:
        store.open(OTHER_KEY)
    assert caught.value.failure is FailureClass.MISSING_INPUT


def test_an_artifact_is_loaded_once_for_all_processes_and_damage_on_this_machine_is_repaired(
    minio: MinioServer, bucket: str, store: S3Store, tmp_path: Path
) -> None:
    folder = store.open(KEY)
    with Proxy(minio) as proxy:
        again = opened(proxy.environment(), f"s3://{bucket}/team", tmp_path / "near")
        assert again.open(KEY) == folder
        assert not [request for request in proxy.seen if "weights.bin" in request.path]
    (folder / "weights.bin").write_text("spoiled")
    assert (
        opened(minio.environment(), store.uri, tmp_path / "near").open(KEY) / "weights.bin"
    ).read_text() == "weights"


def test_processes_that_want_the_same_artifact_load_it_once(
    minio: MinioServer, bucket: str, store: S3Store, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    with Proxy(minio) as proxy:
        arguments = (proxy.environment(), store.uri, KEY, tmp_path / "near", results)
        processes = [context.Process(target=open_weights, args=arguments) for _ in range(3)]
        for process in processes:
            process.start()
        assert [results.get(timeout=60) for _ in processes] == ["weights"] * 3
        for process in processes:
            process.join()
        loads = [r for r in proxy.seen if r.method == "GET" and "weights.bin" in r.path]
    assert len(loads) == 1


def test_the_cache_makes_room_by_what_was_used_longest_ago_but_not_by_what_is_in_use(
    minio: MinioServer, bucket: str, tmp_path: Path
) -> None:
    def near(limit: int) -> S3Store:
        return a_bucket_store(minio.environment(), f"s3://{bucket}", tmp_path / "near", limit=limit)

    keys = [letter * 64 for letter in "abcd"]
    source = opened(minio.environment(), f"s3://{bucket}", tmp_path / "elsewhere")
    for key in keys:
        publish(source, key=key, files={"model.bin": key[0] * 1000})
    for key in keys[:2]:  # by a process that has ended
        near(10_000).open(key)
    using = near(10_000)
    folder = using.open(keys[0])
    for key in keys[2:]:
        near(5_000).open(key)
    here = {path.name[0] for path in (tmp_path / "near" / "artifacts").iterdir() if path.is_dir()}
    assert {"a", "d"} <= here
    assert "b" not in here, "used longest ago, and by nobody"
    assert (folder / "model.bin").read_text() == "a" * 1000


# -- documents -------------------------------------------------------------------------------------------------------


def test_tags_and_refs_are_the_same_documents_as_in_a_folder(store: S3Store, tmp_path: Path) -> None:
    folder = FileStore((tmp_path / "folder").as_uri())
    publish(folder)
    for each in (store, folder):
        write_tag(each, "judge-v3", KEY)
        write_refs(each, cluster="c1", namespace="team", run="uid-1", stages={"policy": KEY})
        assert read_tag(each, "judge-v3") == KEY
        assert tags(each) == {"judge-v3": KEY}
        with pytest.raises(StageFailure, match=r"found no such tag in .* \(tags there: judge-v3\)"):
            read_tag(each, "judge-v4")
        with pytest.raises(StageFailure, match=f"tag x: artifact {OTHER_KEY} is not in"):
            write_tag(each, "x", OTHER_KEY)
        assert json.loads(each.read("refs/c1/team/uid-1.json") or b"")["keys"] == [KEY]
        each.remove(["tags/judge-v3.json", "tags/never-was.json"])
        assert tags(each) == {}
    beside = [f.name for f in store.files("refs")], [f.name for f in store.files("tags")]
    assert beside == ([f.name for f in folder.files("refs")], [f.name for f in folder.files("tags")])


def test_a_listing_of_many_names_is_whole(minio: MinioServer, bucket: str, tmp_path: Path) -> None:
    store = opened(minio.environment(), f"s3://{bucket}", tmp_path)
    client = minio.client()
    for number in range(1005):
        client._execute("PUT", bucket, f"tags/{number:04}.json", body=b"x")
    assert [file.name for file in store.files("tags")] == [f"tags/{number:04}.json" for number in range(1005)]
    assert {file.size for file in store.files("tags")} == {1}


# -- other stores -----------------------------------------------------------------------------------------------------


def a_secret(folder: Path, environment: dict[str, str]) -> Path:
    """As the kubelet mounts it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        (folder / name).write_text(environment[name] + "\n")
    return folder


def test_artifacts_and_tags_come_from_the_runs_store_first_and_then_from_others_with_their_own_keys(
    minio: MinioServer, tmp_path: Path
) -> None:
    shared = opened(minio.environment(), f"s3://{minio.bucket()}/shared", tmp_path / "team")
    publish(shared, files={"judge.bin": "judge"})
    write_tag(shared, "judge-v3", KEY)
    with minio.user("readonly") as user:
        execution = Execution(
            storage=f"s3://{minio.bucket()}",
            read_from=(
                ReadStore(
                    uri=shared.uri, endpoint=minio.url, credentials=str(a_secret(tmp_path / "0", user.environment))
                ),
            ),
        )
        library = open_library(execution, cache=tmp_path / "near", environment=minio.environment())
        assert pin("artifact://tags/judge-v3", store=library).key == KEY
        path = Inputs(library, tmp_path / "near").path(Input(uri="artifact://tags/judge-v3", key=KEY))
        assert (path / "judge.bin").read_text() == "judge"
        assert library.digest(KEY) == shared.digest(KEY)
        assert library.own.keys() == []
        publish(library.own, files={"judge.bin": "own"})
        assert (library.open(KEY) / "judge.bin").read_text() == "own"
        with pytest.raises(StageFailure, match=f"artifact {OTHER_KEY} is not in s3://.* or s3://.*/shared"):
            library.open(OTHER_KEY)


def test_a_mounted_secret_that_is_rotated_is_used_at_once(minio: MinioServer, tmp_path: Path) -> None:
    shared = opened(minio.environment(), f"s3://{minio.bucket()}", tmp_path / "team")
    publish(shared)
    with minio.user("readonly") as first, minio.user("readonly") as second:
        folder = a_secret(tmp_path / "0", first.environment)
        described = ReadStore(uri=shared.uri, endpoint=minio.url, credentials=str(folder))
        execution = Execution(storage=(tmp_path / "own").as_uri(), read_from=(described,))
        library = open_library(execution, cache=tmp_path / "near", environment={})
        assert library.manifest(KEY)
        first.remove()
        a_secret(folder, second.environment)
        assert library.open(KEY)


def test_a_store_without_a_secret_is_read_as_everybody(minio: MinioServer, tmp_path: Path) -> None:
    name = minio.bucket()
    shared = opened(minio.environment(), f"s3://{name}", tmp_path / "team")
    publish(shared)
    described = ReadStore(uri=shared.uri, endpoint=minio.url)
    execution = Execution(storage=(tmp_path / "own").as_uri(), read_from=(described,))
    library = open_library(execution, cache=tmp_path / "near", environment=minio.environment())
    with pytest.raises(StageFailure, match="AccessDenied"):
        library.manifest(KEY)
    anybody = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"]}
    policy = {"Version": "2012-10-17", "Statement": [{**anybody, "Resource": [f"arn:aws:s3:::{name}/*"]}]}
    minio.client().set_bucket_policy(name, json.dumps(policy))
    assert library.open(KEY)


def test_a_secret_that_lacks_a_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    described = ReadStore(uri="s3://shared", credentials=str(tmp_path / "0"))
    execution = Execution(storage=(tmp_path / "own").as_uri(), read_from=(described,))
    with pytest.raises(StageFailure, match=r"found no AWS_ACCESS_KEY_ID.*storage\.readFrom") as caught:
        open_library(execution, cache=tmp_path, environment={})
    assert caught.value.failure is FailureClass.INVALID_CONFIG


def test_a_library_is_its_stores_in_order(tmp_path: Path) -> None:
    first, second = (FileStore((tmp_path / name).as_uri()) for name in ("first", "second"))
    publish(second, files={"x": "second"})
    library = Library(first, (second,))
    assert (library.open(KEY) / "x").read_text() == "second"
    publish(first, files={"x": "first"})
    assert (library.open(KEY) / "x").read_text() == "first"
    assert library.manifest(KEY) == first.manifest(KEY)
