"""Sources in a bucket: the same data have the same digest as in a folder, and what is read is what was pinned."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boresight.main import main
from boresight_api.base import Digest
from boresight_api.enums import DataFormat
from boresight_api.execution import Execution, Prepare, ReadStore, RunReference
from boresight_api.manifest import parse_manifest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.pins import Pin
from boresight_api.plan import plan
from boresight_api.stages import DataInput, Input
from boresight_trainer.models import embedded
from boresight_trainer.recipes.prepare import prepare
from boresight_trainer.store.buckets import Buckets
from boresight_trainer.store.digests import DigestCache
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.inputs import Inputs
from boresight_trainer.store.pins import pin
from boresight_trainer.store.s3 import source as sources
from boresight_trainer.store.s3.transfer import MEBIBYTE
from builders_data import a_feedback_row, write_jsonl
from builders_store import write_files
from s3.minio_server import MinioServer, User
from s3.proxy import Proxy, Request

README = "---\nlicense: cc-by-nc-4.0\n---\n"
DATA = {"train.jsonl": "{}\n", "val.jsonl": "{}\n{}\n", "media/cat.png": "cat", "README.md": README}


class Place:
    """A bucket, a folder with the same content, and what reads both."""

    def __init__(self, minio: MinioServer, bucket: str, folder: Path) -> None:
        self.minio, self.bucket, self.folder = minio, bucket, folder
        self.environment: dict[str, str] = minio.environment()
        self.cache = folder / "cache"

    def put(self, files: dict[str, str], below: str = "data") -> str:
        """The URI of the folder with ``files``."""
        for name, content in files.items():
            self.minio.client()._execute("PUT", self.bucket, f"{below}/{name}", body=content.encode())
        return f"s3://{self.bucket}/{below}"

    def put_elsewhere(self, bucket: str, name: str) -> str:
        """The URI of an object of another bucket."""
        self.minio.client()._execute("PUT", bucket, name, body=b"{}")
        return f"s3://{bucket}/{name}"

    def remove(self, name: str) -> None:
        self.minio.client().remove_object(self.bucket, name)

    def buckets(self, **changes: Any) -> Buckets:
        return Buckets(environment={**self.environment, **changes.pop("environment", {})}, patience=3, **changes)

    def pin(self, uri: str, *files: str, **changes: Any) -> Pin:
        return pin(uri, files=files, buckets=self.buckets(**changes), cache=DigestCache(self.cache))

    def path(self, value: Input, **changes: Any) -> Path:
        store = FileStore((self.folder / "store").as_uri())
        return Inputs(store, self.cache, self.buckets(**changes)).path(value)

    def in_a_folder(self, files: dict[str, str]) -> str:
        write_files(self.folder / "same", files)
        return (self.folder / "same").as_uri()

    def copies(self) -> list[Path]:
        """Folders of what was loaded, and what is left of what was not."""
        root = self.cache / "artifacts"
        return [path for path in root.iterdir() if path.is_dir()] if root.exists() else []


@pytest.fixture
def place(minio: MinioServer, bucket: str, tmp_path: Path) -> Place:
    return Place(minio, bucket, tmp_path)


def data(uri: str, digest: Digest | None, *files: str) -> DataInput:
    return DataInput(uri=uri, digest=digest, files=files, format=DataFormat.JSONL)


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


# -- the same digest as in a folder ----------------------------------------------------------------------------------


def test_data_that_move_into_a_bucket_keep_their_digest_their_licence_and_so_the_keys(place: Place) -> None:
    hidden = {".cache/x": "tool", "media/.thumb": "tool"}
    uri, local = place.put({**DATA, **hidden, "empty/": ""}), place.in_a_folder({**DATA, **hidden})
    here, there = place.pin(uri), pin(local)
    assert (here.digest, here.licence) == (there.digest, there.licence)
    assert here.licence == "cc-by-nc-4.0"
    some = ("val.jsonl", "train.jsonl")
    assert place.pin(uri, *some).digest == pin(local, files=some).digest != here.digest
    alone = place.pin(f"{uri}/train.jsonl")
    assert (alone.digest, alone.licence) == (pin(f"{local}/train.jsonl").digest, here.licence)
    assert place.pin(f"{uri}/media/").digest == pin(f"{local}/media").digest

    def keys(source: str) -> list[str | None]:
        document = a_run(source)
        pins = {
            found.id: found
            for found in (place.pin("embedded://tiny"), place.pin(source) if source == uri else pin(source))
        }
        return [stage.key for stage in plan(parse_manifest(document), pins).stages]

    assert keys(uri) == keys(local)
    assert None not in keys(uri)


def test_a_neighbour_whose_name_begins_alike_is_another_source(place: Place) -> None:
    uri = place.put(DATA)
    before = place.pin(uri).digest
    place.put({"train.jsonl": "other"}, below="data-2")
    assert place.pin(uri).digest == before


def test_what_is_read_is_a_copy_of_all_and_is_asked_for_once(place: Place) -> None:
    uri = place.put(DATA)
    value = data(uri, place.pin(uri).digest)
    folder = place.path(value)
    assert content(folder) == DATA
    with Proxy(place.minio) as proxy:
        assert place.path(value, environment=proxy.environment()) == folder
        assert proxy.seen == [], "content that was pinned and is here is asked for by nobody"
    assert place.path(data(uri, None)) == folder
    (folder / "train.jsonl").write_text("spoiled")
    assert content(place.path(value)) == DATA


def test_one_object_is_a_file_under_its_own_name(place: Place) -> None:
    uri = f"{place.put(DATA)}/train.jsonl"
    path = place.path(data(uri, place.pin(uri).digest))
    assert (path.name, path.is_file(), path.read_text()) == ("train.jsonl", True, DATA["train.jsonl"])
    other = f"{place.put({'train.json': DATA['train.jsonl']})}/train.json"
    assert place.path(data(other, place.pin(other).digest)).name == "train.json", "the same content, another kind"


def test_of_named_files_only_these_are_loaded(place: Place) -> None:
    uri = place.put(DATA)
    names = ("val.jsonl", "media/cat.png")
    value = data(uri, place.pin(uri, *names).digest, *names)
    with Proxy(place.minio) as proxy:
        assert set(content(place.path(value, environment=proxy.environment()))) == set(names)
        assert not [seen for seen in proxy.seen if "train.jsonl" in seen.path]


def test_a_whole_bucket_can_be_a_source(place: Place) -> None:
    place.put(DATA)
    uri = f"s3://{place.bucket}"
    pinned = place.pin(uri).digest
    assert pinned == pin(place.in_a_folder({f"data/{name}": text for name, text in DATA.items()})).digest
    assert (place.path(data(uri, pinned)) / "data" / "train.jsonl").exists()


def test_a_model_in_a_bucket_is_the_model_of_the_folder(place: Place) -> None:
    folder = embedded.materialize(embedded.TINY, place.folder / "models")
    for path in folder.rglob("*"):
        if path.is_file():
            name = f"models/tiny/{path.relative_to(folder).as_posix()}"
            place.minio.client().fput_object(place.bucket, name, str(path))
    uri = f"s3://{place.bucket}/models/tiny"
    found = place.pin(uri)
    assert found.digest == pin(folder.as_uri()).digest
    copy = place.path(Input(uri=uri, digest=found.digest))
    assert {p.name: p.read_bytes() for p in copy.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}


# -- what is remembered ----------------------------------------------------------------------------------------------


def test_what_was_hashed_is_remembered_until_its_content_changes(place: Place) -> None:
    uri = place.put(DATA)
    before = place.pin(uri).digest
    with Proxy(place.minio) as proxy:
        # As the store says who asks: behind a proxy it is another endpoint, which is asked anew.
        through = {"environment": proxy.environment()}
        assert place.pin(uri, **through).digest == before
        first = reads(proxy)
        assert len(first) == len(DATA) + 1, "and once more for the licence"
        assert place.pin(uri, **through).digest == before
        assert [path for path in reads(proxy)[len(first) :] if "README" not in path] == []
        place.put({"val.jsonl": "{ }\n{}"})
        assert place.pin(uri, **through).digest != before
        again = [path for path in reads(proxy)[len(first) :] if "README" not in path]
        assert [path.rpartition("/")[2] for path in again] == ["val.jsonl"]


def reads(proxy: Proxy) -> list[str]:
    """Paths of the objects whose content was asked for."""
    return [seen.path for seen in proxy.seen if seen.method == "GET" and "list-type" not in seen.path]


def test_a_large_object_is_read_in_bounded_memory_and_taken_up_where_a_connection_broke(place: Place) -> None:
    megabytes = 160
    big = place.folder / "big.jsonl"
    big.write_bytes(bytes(megabytes * MEBIBYTE))
    place.minio.client().fput_object(place.bucket, "big.jsonl", str(big))
    uri, broken = f"s3://{place.bucket}/big.jsonl", list[str]()

    def once_in_the_middle(request: Request) -> bool:
        if request.method == "GET" and request.path.endswith("/big.jsonl") and not broken:
            broken.append(request.path)
            return True
        return False

    with Proxy(place.minio, halve=once_in_the_middle) as proxy:
        found = place.pin(uri, environment=proxy.environment())
        assert broken
        assert [seen.headers["if-match"] for seen in proxy.seen if "range" in seen.headers]
    assert found.digest == "sha256:" + hashlib.sha256(big.read_bytes()).hexdigest()
    tracemalloc.start()
    path = place.path(data(uri, found.digest))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size == megabytes * MEBIBYTE
    assert peak < 64 * MEBIBYTE, "what docs/storage.md promises"


# -- what is not what it was -----------------------------------------------------------------------------------------


def test_an_object_that_changes_between_pin_and_read_is_not_read_and_leaves_nothing(place: Place) -> None:
    uri = place.put(DATA)
    pinned = place.pin(uri).digest
    place.put({"train.jsonl": "{ }"})
    with pytest.raises(StageFailure, match=rf"{uri}: found sha256:\w+, the run was planned with {pinned}") as caught:
        place.path(data(uri, pinned))
    assert caught.value.failure is FailureClass.MISSING_INPUT
    assert "the source changed; restore it" in caught.value.message
    assert place.copies() == []


def test_an_object_that_disappears_between_pin_and_read_is_noticed(place: Place) -> None:
    uri = place.put(DATA)
    pinned = place.pin(uri).digest
    place.remove("data/media/cat.png")
    with pytest.raises(StageFailure, match="the source changed") as caught:
        place.path(data(uri, pinned))
    assert caught.value.failure is FailureClass.MISSING_INPUT
    names = ("train.jsonl", "val.jsonl")
    some = place.pin(uri, *names).digest
    place.remove("data/val.jsonl")
    with pytest.raises(StageFailure, match=r'files: found no "val.jsonl" there: correct `files`'):
        place.path(data(uri, some, *names))
    assert place.copies() == []


def replaced(place: Place) -> None:
    place.put({"train.jsonl": "[]\n"})


def removed(place: Place) -> None:
    place.remove("data/train.jsonl")


@pytest.mark.parametrize("happens", [replaced, removed])
@pytest.mark.parametrize("before", ["HEAD", "GET"])
def test_an_object_that_changes_while_it_is_read_is_for_another_try(
    place: Place, happens: Callable[[Place], None], before: str
) -> None:
    """The same size: only the tag tells the new content from the old."""
    uri, done = place.put(DATA), list[str]()

    def meanwhile(request: Request) -> None:
        if request.method == before and "data/train.jsonl" in request.path and not done:
            done.append(request.path)
            happens(place)

    with Proxy(place.minio, before=meanwhile) as proxy:
        with pytest.raises(StageFailure, match=r"data/train.jsonl: found (another content|no file), exp") as caught:
            place.pin(uri, environment=proxy.environment())
        assert done
    assert caught.value.failure is FailureClass.INFRASTRUCTURE
    assert "somebody writes there while it is read" in caught.value.message
    assert place.pin(uri).digest


# -- what is not there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nothing", "s3://.*/nothing: found no object of this name and none below it: correct the uri"),
        ("/dat", "found no object of this name and none below it"),
        ("-missing", "NoSuchBucket.*make the bucket, or correct the uri that names it"),
    ],
)
def test_a_place_without_data_is_named(place: Place, path: str, message: str) -> None:
    place.put(DATA)
    uri = f"s3://{place.bucket}{path}"
    for read in (place.pin, lambda uri: place.path(data(uri, "sha256:" + "0" * 64))):
        with pytest.raises(StageFailure, match=message) as caught:
            read(uri)
        missing_bucket = FailureClass.INVALID_CONFIG if path == "-missing" else FailureClass.INVALID_DATA
        assert caught.value.failure is missing_bucket
    assert place.copies() == []


def test_a_bucket_without_an_object_and_a_folder_of_markers_have_no_data(place: Place) -> None:
    with pytest.raises(StageFailure, match="found no object of this name and none below it"):
        place.pin(f"s3://{place.bucket}")
    place.put({"": "", "sub/": ""}, below="markers")
    with pytest.raises(StageFailure, match="found no object of this name and none below it"):
        place.pin(f"s3://{place.bucket}/markers")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "SignatureDoesNotMatch.*AWS_SECRET_ACCESS_KEY does not belong to"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId.*the store knows no such AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": ""}, "found no AWS_ACCESS_KEY_ID in the environment"),
    ],
)
def test_a_wrong_key_is_named_and_never_shown(place: Place, change: dict[str, str], message: str) -> None:
    uri = place.put(DATA)
    with pytest.raises(StageFailure, match=message) as caught:
        place.pin(uri, environment=change)
    assert caught.value.failure is FailureClass.INVALID_CONFIG
    secrets = {"wrong-secret", place.environment["AWS_SECRET_ACCESS_KEY"]}
    assert not any(secret in caught.value.message for secret in secrets)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a//b.jsonl"], 'found an object named "a//b.jsonl", which can be no file: rename it'),
        (["a", "a/b.jsonl"], 'found an object "a" and "a/b.jsonl" below it, which no folder can hold'),
        ([f"{'x' * 300}.jsonl"], 'found an object named "x+", which can be no file'),
    ],
)
def test_names_that_no_folder_can_hold_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(StageFailure, match=message) as caught:
        sources._require_a_tree("s3://bucket/data", names)
    assert caught.value.failure is FailureClass.INVALID_DATA


@pytest.mark.parametrize("name", ["../../escaped.jsonl", "a/../../escaped.jsonl", "/escaped.jsonl"])
def test_no_name_leads_out_of_the_copy(name: str) -> None:
    """No server that we know of stores them; one that is in bad hands might."""
    assert sources._is_hidden(name) or not name.strip("/").startswith(".")
    with pytest.raises(StageFailure, match="which can be no file"):
        sources._require_a_tree("s3://bucket/data", [name])


def test_a_source_of_too_many_objects_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_OBJECTS", 3)
    uri = place.put(DATA)
    with pytest.raises(StageFailure, match="found more than 3 objects, expected at most so many"):
        place.pin(uri)
    assert place.pin(uri, "val.jsonl").digest


# -- with whose key --------------------------------------------------------------------------------------------------


def a_secret(folder: Path, user: User) -> str:
    """As the kubelet mounts it."""
    folder.mkdir()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        (folder / name).write_text(user.environment[name])
    return str(folder)


def reading(bucket: str) -> dict[str, object]:
    """A policy that lets one bucket be read."""
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    allow = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": resources}
    return {"Version": "2012-10-17", "Statement": [allow]}


def test_a_source_is_read_with_the_key_of_the_store_it_lies_in_and_no_other(place: Place) -> None:
    uri = place.put(DATA)
    own = place.minio.bucket()
    with place.minio.user("", reading(own)) as of_the_run, place.minio.user("", reading(place.bucket)) as of_the_data:
        place.environment |= of_the_run.environment
        shared = ReadStore(
            uri=f"s3://{place.bucket}",
            endpoint=place.minio.url,
            credentials=a_secret(place.folder / "secret", of_the_data),
        )
        execution = Execution(storage=f"s3://{own}/team", read_from=(shared,))
        assert place.pin(uri, execution=execution).digest == pin(place.in_a_folder(DATA)).digest
        mine = place.put_elsewhere(own, "team/data/train.jsonl")
        assert place.pin(mine, execution=execution).digest
        alone = Execution(storage=f"s3://{own}/team")
        for elsewhere in (uri, f"s3://{own}/other-team/data", f"s3://{own}/team-2/data"):
            with pytest.raises(StageFailure, match=r"in none of the run's stores.*list the store that.*readFrom") as c:
                place.pin(elsewhere, execution=alone)
            assert c.value.failure is FailureClass.INVALID_CONFIG
        with pytest.raises(StageFailure, match="AccessDenied"):
            place.pin(uri, execution=Execution(storage=(place.folder / "store").as_uri()))


# -- a run -----------------------------------------------------------------------------------------------------------


def a_run(source: str, **data: Any) -> dict[str, Any]:
    return {
        "apiVersion": "boresight.dev/v1alpha1",
        "kind": "AlignmentRun",
        "metadata": {"name": "first"},
        "spec": {
            "task": "TextToText",
            "model": {"uri": "embedded://tiny"},
            "data": {"feedback": [{"uri": source, "format": "Jsonl", **data}]},
        },
    }


def test_prepare_pins_a_source_in_the_runs_own_store_counts_its_rows_and_notices_a_change(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    rows = write_jsonl(place.folder / "feedback.jsonl", [a_feedback_row(number) for number in range(60)]).read_text()
    uri = place.put({"feedback.jsonl": rows}, below="team/data")

    def prepared(*pins: Pin, folder: str = "near", **data: Any) -> tuple[Pin, ...]:
        document = Prepare(
            run=RunReference(kind="AlignmentRun", name="first", uid="0f9e8d7c-local"),
            manifest=json.loads(json.dumps(a_run(uri, **data))),
            pins=pins,
            execution=Execution(storage=f"s3://{place.bucket}/team", outcome_file=str(place.folder / "outcome")),
        )
        return prepare(document, cache=place.folder / folder).pins

    pins = prepared()
    feedback = next(found for found in pins if found.rows is not None)
    assert (feedback.digest, feedback.rows) == (pin(place.in_a_folder({"feedback.jsonl": rows})).digest, 60)
    assert prepared(*pins, folder="another-pod") == pins
    place.put({"feedback.jsonl": rows + rows[: rows.index("\n") + 1]}, below="team/data")
    with pytest.raises(StageFailure, match=rf"feedback: {uri}: found sha256:\w+, the first plan says") as caught:
        prepared(*pins)
    assert caught.value.failure is FailureClass.INVALID_DATA
    now = place.pin(uri).digest
    moved_on = prepared(*pins, digest=now)
    assert next(found.digest for found in moved_on if found.rows) == now, "what the manifest says now counts"


# -- on one's own machine --------------------------------------------------------------------------------------------


def test_the_command_pins_and_plans_a_source_in_a_bucket_with_the_variables_of_aws(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.cache))
    monkeypatch.setenv("BORESIGHT_STORE", str(place.folder / "store"))
    uri = place.put({"feedback.jsonl": json.dumps(a_feedback_row(1)) + "\n"})
    file = place.folder / "run.yaml"
    file.write_text(json.dumps(a_run(uri), indent=1))
    assert main(["plan", str(file)]) == 0, "nothing is asked of a bucket for a plan"
    assert "after prepare" in capsys.readouterr().out
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    assert main(["pin", str(file)]) == 64
    assert "found no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment" in capsys.readouterr().err
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["pin", str(file)]) == 0
    assert str(place.pin(uri).digest) in file.read_text()
    assert main(["plan", str(file)]) == 0
    assert "after prepare" not in capsys.readouterr().out
    place.put({"feedback.jsonl": json.dumps(a_feedback_row(2)) + "\n"})
    assert main(["pin", str(file)]) == 1
    assert "the source changed. Restore it, or move on with --update" in capsys.readouterr().err
    assert main(["pin", "--update", str(file)]) == 0
    assert str(place.pin(uri).digest) in file.read_text()
