"""Publishing into a bucket: one wins, the others adopt, and nobody is deceived by a lost answer or a lax store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from boresight_api.artifact import MANIFEST_NAME, Parent
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.store.s3.transfer import PART, part_size
from builders_store import KEY, OTHER_KEY, a_manifest, publish, write_files
from minio.error import S3Error
from s3.builders_s3 import a_bucket_store, opened
from s3.minio_server import MinioServer
from s3.proxy import Proxy, Request

WRITERS = 20


def test_a_published_artifact_is_found_listed_opened_and_verified_elsewhere(
    minio: MinioServer, bucket: str, tmp_path: Path
) -> None:
    uri = f"s3://{bucket}/team/vision"
    store = opened(minio.environment(), uri, tmp_path / "here")
    assert (store.manifest(KEY), store.digest(KEY), store.keys()) == (None, None, [])
    published = publish(store, files={"weights.bin": "weights", "deep/é+ %.json": "{}", "empty": ""})
    assert not published.adopted
    assert published.artifact.uri == store.artifact_uri(KEY) == f"{uri}/artifacts/{KEY}"
    elsewhere = opened(minio.environment(), f"{uri}/", tmp_path / "elsewhere")
    manifest = elsewhere.verify(KEY)
    assert published.artifact.digest == elsewhere.digest(KEY) == manifest.digest()
    assert [key for key, _ in elsewhere.artifacts()] == elsewhere.keys() == [KEY]
    folder = elsewhere.open(KEY)
    assert {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()} == {
        "weights.bin": "weights",
        "deep/é+ %.json": "{}",
        "empty": "",
        MANIFEST_NAME: manifest.to_bytes().decode(),
    }
    assert elsewhere.file(KEY, "weights.bin").read_text() == "weights"
    assert list((tmp_path / "here" / "staging").iterdir()) == []


def test_of_twenty_writers_at_once_one_publishes_and_the_others_adopt(
    minio: MinioServer, bucket: str, tmp_path: Path
) -> None:
    statuses: list[int] = []
    barrier = Barrier(WRITERS)

    def write(number: int) -> tuple[int, bool, str]:
        store = opened(minio.environment(), f"s3://{bucket}/race", tmp_path / str(number))
        request = store._bucket.request

        def noted(method: str, name: str, body: bytes | None = None, headers: object = None, *rest: object) -> object:
            if not (isinstance(headers, dict) and "If-None-Match" in headers):
                return request(method, name, body, headers, *rest)  # type: ignore[arg-type]
            barrier.wait(30)  # all have uploaded their files and see no manifest
            try:
                answer = request(method, name, body, headers, *rest)  # type: ignore[arg-type]
            except S3Error as error:
                statuses.append(error.response.status)
                raise
            statuses.append(answer.status)
            return answer

        store._bucket.request = noted  # type: ignore[method-assign,assignment]
        with store.staging(KEY) as folder:
            write_files(folder, {"who.txt": str(number), "same.txt": "same"})
            published = store.publish(KEY, folder, a_manifest(folder))
        return number, published.adopted, published.artifact.digest

    with ThreadPoolExecutor(WRITERS) as pool:
        found = list(pool.map(write, range(WRITERS)))
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 409, 412}
    ((winner, _, digest),) = [each for each in found if not each[1]]
    store = opened(minio.environment(), f"s3://{bucket}/race", tmp_path / "reader")
    assert {each[2] for each in found} == {digest} == {store.digest(KEY)}
    assert store.verify(KEY)
    assert (store.open(KEY) / "who.txt").read_text() == str(winner)
    assert len(list(store.files("artifacts"))) == 3, "what losers uploaded is gone, what the winner needs is not"


def test_what_the_first_published_is_not_touched_by_a_second_publisher(
    minio: MinioServer, bucket: str, tmp_path: Path
) -> None:
    store = opened(minio.environment(), f"s3://{bucket}", tmp_path)
    first = publish(store, files={"a.txt": "first"})
    second = publish(store, files={"a.txt": "other"})
    assert (first.adopted, second.adopted) == (False, True)
    assert second.artifact == first.artifact
    assert store.verify(KEY)
    assert (store.open(KEY) / "a.txt").read_text() == "first"


def test_files_without_a_manifest_are_no_artifact_and_are_not_sent_twice(
    minio: MinioServer, bucket: str, tmp_path: Path
) -> None:
    def is_manifest(request: Request) -> bool:
        return request.method == "PUT" and request.path.endswith(MANIFEST_NAME)

    with Proxy(minio, refuse=is_manifest) as proxy:
        store = a_bucket_store(proxy.environment(), f"s3://{bucket}", tmp_path, seconds=0)
        with pytest.raises(StageFailure, match="could not write") as caught:
            publish(store)
        assert caught.value.failure is FailureClass.INFRASTRUCTURE
        assert (store.manifest(KEY), store.keys()) == (None, [])
        proxy.refuse = lambda _: False
        proxy.seen.clear()
        assert not publish(store).adopted
    assert [r.path.rpartition("/")[2] for r in proxy.seen if r.method == "PUT"] == [MANIFEST_NAME]
    assert store.verify(KEY)


def test_a_lost_answer_does_not_make_the_publisher_think_that_another_was_first(
    minio: MinioServer, bucket: str, tmp_path: Path
) -> None:
    lost: list[Request] = []

    def lose(request: Request) -> bool:
        if "if-none-match" in request.headers and not lost:
            lost.append(request)
            return True
        return False

    with Proxy(minio, cut=lose) as proxy:
        store = opened(proxy.environment(), f"s3://{bucket}", tmp_path)
        published = publish(store)
    assert lost
    assert len([r for r in proxy.seen if "if-none-match" in r.headers]) == 2
    assert not published.adopted
    assert store.digest(KEY) == published.artifact.digest


def test_finished_work_is_adopted_only_with_the_parents_that_it_was_made_from(
    minio: MinioServer, bucket: str, tmp_path: Path
) -> None:
    store = opened(minio.environment(), f"s3://{bucket}", tmp_path)
    publish(store, key=OTHER_KEY)
    publish(store, parents=(Parent(name="model", key=OTHER_KEY, digest="sha256:" + "0" * 64),))
    with pytest.raises(StageFailure, match=f"remove the folder s3://{bucket}/artifacts/{KEY} to compute"):
        store.finished(KEY)


# -- what is sent ----------------------------------------------------------------------------------------------------


def test_the_condition_is_sent_and_signed_and_every_body_has_its_digest_signed(
    minio: MinioServer, bucket: str, tmp_path: Path
) -> None:
    with Proxy(minio) as proxy:
        publish(opened(proxy.environment(), f"s3://{bucket}", tmp_path))
    puts = [request for request in proxy.seen if request.method == "PUT"]
    (manifest,) = [request for request in puts if "if-none-match" in request.headers]
    assert manifest.headers["if-none-match"] == "*"
    for request in puts:
        signed = request.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        assert request.headers["x-amz-content-sha256"] == hashlib.sha256(request.body).hexdigest()
        assert {"x-amz-content-sha256", "x-amz-date", "host"} <= set(signed)
        assert ("if-none-match" in signed) == (request is manifest)


def test_over_tls_with_an_authority_of_ones_own_bodies_are_signed_too(minio_program: Path, tmp_path: Path) -> None:
    with MinioServer(minio_program, tmp_path / "server", tls=True) as server:
        environment = {**server.environment(), "AWS_CA_BUNDLE": str(server.ca)}
        uri = f"s3://{server.bucket()}"
        store = opened(environment, uri, tmp_path / "near")
        sent: list[dict[str, str]] = []
        urlopen = store._bucket._client._http.urlopen

        def noted(method: str, url: str, **more: object) -> object:
            if method == "PUT":
                sent.append({**dict(more["headers"]), "body": hashlib.sha256(more["body"]).hexdigest()})  # type: ignore[call-overload,arg-type]
            return urlopen(method, url, **more)

        store._bucket._client._http.urlopen = noted
        store.probe()
        publish(store)
        assert store.verify(KEY)
        assert len(sent) == 5
        assert all(headers["x-amz-content-sha256"] == headers["body"] for headers in sent)
        with pytest.raises(StageFailure, match=r"certificate is not trusted: put .* into compute\.caBundle") as caught:
            a_bucket_store(server.environment(), uri, tmp_path / "near").probe()
        assert caught.value.failure is FailureClass.INVALID_CONFIG


def test_a_large_file_goes_in_parts_and_arrives_whole_over_a_bad_network(
    minio: MinioServer, bucket: str, tmp_path: Path
) -> None:
    content = bytes(range(256)) * 4096 * 40 + b"end"
    tries: dict[str, int] = {}

    def once(request: Request) -> bool:
        """The first try of every second part."""
        tries[request.path] = tries.get(request.path, 0) + 1
        return "partNumber=2" in request.path and tries[request.path] == 1

    def loaded(request: Request) -> bool:
        return request.method == "GET" and request.path.endswith("model.bin")

    with Proxy(minio, cut=once) as proxy:
        store = a_bucket_store(proxy.environment(), f"s3://{bucket}", tmp_path / "a", seconds=30)
        with store.staging(KEY) as folder:
            (folder / "model.bin").write_bytes(content)
            store.publish(KEY, folder, a_manifest(folder))
        assert len([path for path in tries if "partNumber" in path]) == -(-len(content) // PART) == 3
        proxy.halve = lambda request: loaded(request) and request.headers.get("range", "") < "bytes=3"
        other = a_bucket_store(proxy.environment(), f"s3://{bucket}", tmp_path / "b", seconds=30)
        assert (other.open(KEY) / "model.bin").read_bytes() == content
    asked = [request.headers.get("range") for request in proxy.seen if loaded(request)]
    assert asked[:2] == [None, f"bytes={len(content) // 2}-"], "what has arrived is not asked for again"


def test_an_answer_lost_at_the_end_of_an_upload_is_no_failure(minio: MinioServer, bucket: str, tmp_path: Path) -> None:
    lost: list[str] = []

    def lose(request: Request) -> bool:
        if request.method == "POST" and "uploadId" in request.path and not lost:
            lost.append(request.path)
            return True
        return False

    with Proxy(minio, cut=lose) as proxy:
        store = a_bucket_store(proxy.environment(), f"s3://{bucket}", tmp_path, seconds=30)
        with store.staging(KEY) as folder:
            (folder / "model.bin").write_bytes(b"x" * (PART + 1))
            store.publish(KEY, folder, a_manifest(folder))
    assert lost
    assert store.verify(KEY)


def test_a_file_that_changes_while_it_is_sent_never_appears(minio: MinioServer, bucket: str, tmp_path: Path) -> None:
    store = opened(minio.environment(), f"s3://{bucket}", tmp_path)
    for size in (10, 2 * PART):
        with store.staging(KEY) as folder:
            (folder / "model.bin").write_bytes(b"x" * size)
            manifest = a_manifest(folder)
            (folder / "model.bin").write_bytes(b"y" * size)
            with pytest.raises(StageFailure, match="the stage went on writing") as caught:
                store.publish(KEY, folder, manifest)
        assert caught.value.failure is FailureClass.ERROR
    assert list(store.files("")) == []
    assert not minio.client()._list_multipart_uploads(bucket).uploads, "what was begun was taken back"


def test_ten_thousand_parts_are_enough_for_any_file() -> None:
    assert part_size(1) == part_size(10_000 * PART) == PART
    for size in (10_000 * PART + 1, 5 << 40):
        assert -(-size // part_size(size)) <= 10_000


# -- a store that cannot be relied upon --------------------------------------------------------------------------------


def test_the_probe_passes_and_leaves_nothing(minio: MinioServer, bucket: str, tmp_path: Path) -> None:
    store = opened(minio.environment(), f"s3://{bucket}/deep/prefix", tmp_path)
    store.probe()
    assert list(opened(minio.environment(), f"s3://{bucket}", tmp_path).files("")) == []


def _drop_the_condition(request: Request) -> None:
    request.headers.pop("if-none-match", None)


def _ignore_the_condition(request: Request) -> None:
    if request.headers.pop("if-none-match", None):
        request.sign_again()


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (_ignore_the_condition, "does not honour If-None-Match, so a second publisher would replace an artifact"),
        (_drop_the_condition, "could not write"),  # the signature tells
    ],
)
def test_a_store_that_ignores_the_condition_is_refused(
    minio: MinioServer, bucket: str, tmp_path: Path, before: Callable[[Request], None], message: str
) -> None:
    with Proxy(minio, before=before) as proxy:
        store = a_bucket_store(proxy.environment(), f"s3://{bucket}", tmp_path)
        with pytest.raises(StageFailure, match=message) as caught:
            store.probe()
    assert caught.value.failure is FailureClass.INVALID_CONFIG
    assert list(store.files("")) == []
