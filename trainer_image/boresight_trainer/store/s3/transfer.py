"""Files to and from a bucket, of any size in bounded memory; what arrives is what was described, or nothing.

Up: the digest of every part is signed and so checked by the server, and the digest of the whole is compared with what
the manifest says before the object appears. Down: the digest is computed as the bytes arrive.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar
from xml.etree import ElementTree

from boresight_api.outcome import FailureClass, StageFailure
from minio.error import S3Error

from ..errors import storage_errors
from .bucket import DIGEST, Bucket, StoredObject
from .retry import summary

log = logging.getLogger(__name__)

A = TypeVar("A")
B = TypeVar("B")

MEBIBYTE = 1 << 20
PART = 16 * MEBIBYTE
MOST_PARTS = 10_000
IN_FLIGHT = 4 * PART
"""Bytes of parts that are in memory at once; larger parts travel fewer at a time."""
CHUNK = MEBIBYTE
_BEHIND = 8
OTHER_CONTENT = "another content"
_REPLACED = {"NoSuchKey": "no file", "PreconditionFailed": OTHER_CONTENT, "InvalidRange": OTHER_CONTENT}
"""Answers to a request for the rest of an object that is gone, or is another by now."""


def upload(bucket: Bucket, path: Path, name: str, *, size: int, digest: str) -> None:
    """Put the file at ``path`` under ``name``: in one request, or in parts, several at a time.

    Raises :class:`StageFailure` (Error) if the file is not what ``size`` and ``digest`` say.
    """
    with storage_errors("read", path), path.open("rb") as file:
        if size <= PART:
            content = file.read(size + 1)
            _require(path, len(content), content_digest(content), size, digest)
            headers = {"x-amz-content-sha256": digest.removeprefix("sha256:"), DIGEST: digest}
            bucket.call("write", name, lambda: bucket.request("PUT", name, content, headers))
        else:
            _upload_in_parts(bucket, file.fileno(), path, name, size=size, digest=digest)


def download(bucket: Bucket, name: str, path: Path, *, size: int, digest: str) -> str | None:
    """Write the object ``name`` to a new file. Returns what it is instead of what was expected; None if it is that."""

    def write(chunk: bytes) -> None:
        with storage_errors("write", path):  # a full disk here is no broken connection there
            file.write(chunk)

    with storage_errors("write", path), path.open("xb") as file:
        found = _read(bucket, name, size, write)
    return None if found == digest else found


def receive(bucket: Bucket, object_: StoredObject, path: Path | None) -> str:
    """Read the listed object, into a new file if there is a ``path``. Returns the digest of its content; or, in words
    that are no digest, what is there instead, if it is not what was listed any more."""
    if path is None:
        return _read(bucket, object_.name, object_.size, len, object_.tag)

    def write(chunk: bytes) -> None:
        with storage_errors("write", path):
            file.write(chunk)

    with storage_errors("write", path), path.open("xb") as file:
        return _read(bucket, object_.name, object_.size, write, object_.tag)


def check(bucket: Bucket, name: str, *, size: int, digest: str) -> str | None:
    """As :func:`download`, without keeping what is read."""
    found = _read(bucket, name, size, len)
    return None if found == digest else found


def part_size(size: int) -> int:
    """16 MiB, or what makes ten thousand parts of ``size`` bytes, in whole MiB."""
    return max(PART, -(-size // (MOST_PARTS * MEBIBYTE)) * MEBIBYTE)


def content_digest(content: bytes) -> str:
    """``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


# -- up --------------------------------------------------------------------------------------------------------------


def _upload_in_parts(bucket: Bucket, file: int, path: Path, name: str, *, size: int, digest: str) -> None:
    length, whole = part_size(size), hashlib.sha256()
    upload_id = bucket.call("write", name, lambda: _begin(bucket, name, digest))

    def contents() -> Iterator[tuple[int, bytes]]:
        for number, offset in enumerate(range(0, size, length), 1):
            content = os.pread(file, length, offset)
            whole.update(content)
            yield number, content

    def put(part: tuple[int, bytes]) -> str:
        query = {"partNumber": str(part[0]), "uploadId": upload_id}
        response = bucket.call("write", name, lambda: bucket.request("PUT", name, part[1], query=query))
        return response.headers["ETag"]

    try:
        tags = list(in_order(put, contents(), ahead=max(1, IN_FLIGHT // length)))
        _require(path, os.fstat(file).st_size, f"sha256:{whole.hexdigest()}", size, digest)
        bucket.call("write", name, lambda: _complete(bucket, name, upload_id, tags, size))
    except BaseException:
        _abort(bucket, name, upload_id)
        raise


def _begin(bucket: Bucket, name: str, digest: str) -> str:
    answer = bucket.request("POST", name, headers={DIGEST: digest}, query={"uploads": ""})
    return str(ElementTree.fromstring(answer.data).findtext("{*}UploadId"))  # noqa: S314 the store that we write to


def _complete(bucket: Bucket, name: str, upload_id: str, tags: list[str], size: int) -> None:
    """Let the object appear. If the answer to an earlier request was lost, the upload is known no more: it is done."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in enumerate(tags, 1)
    )
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    try:
        bucket.request("POST", name, body, {"Content-Type": "application/xml"}, {"uploadId": upload_id})
    except S3Error as error:
        if error.code != "NoSuchUpload" or (found := bucket.look(name)) is None or found.size != size:
            raise


def _abort(bucket: Bucket, name: str, upload_id: str) -> None:
    """Best effort: what is left, the store's own lifecycle removes."""
    try:
        bucket.request("DELETE", name, query={"uploadId": upload_id})
    except Exception as error:
        log.warning("an unfinished upload of %s stays behind: %s", bucket.place(name), summary(error))


def _require(path: Path, found_size: int, found: str, size: int, digest: str) -> None:
    if (found_size, found) != (size, digest):
        raise StageFailure(
            FailureClass.ERROR,
            f"{path}: found {found_size} bytes with {found}, the manifest says {size} bytes with {digest}: the stage "
            "went on writing after it had described its output",
        )


# -- down ------------------------------------------------------------------------------------------------------------


def _read(bucket: Bucket, name: str, size: int, write: Callable[[bytes], object], tag: str | None = None) -> str:
    """Pass the object to ``write`` in order; returns its digest, or in words what is there instead.

    A connection that breaks is taken up where it broke; every byte that arrives moves the deadline. With a ``tag`` all
    bytes are of the one content that has it.
    """
    found = bucket.look(name)
    if found is None or found.size != size:
        return "no file" if found is None else f"{found.size} bytes"
    if tag is not None and found.tag != tag:
        return OTHER_CONTENT
    done = 0
    with _Digest() as whole:

        def go_on() -> None:
            nonlocal done
            headers = {"If-Match": f'"{tag}"'} if tag is not None else {}
            if done:
                headers["Range"] = f"bytes={done}-"
            try:
                response = bucket.request("GET", name, headers=headers, stream=True)
            except S3Error as error:
                if error.code not in _REPLACED:
                    raise
                raise _Replaced(_REPLACED[error.code]) from error
            try:
                for chunk in response.stream(CHUNK, decode_content=False):
                    whole.add(chunk)
                    write(chunk)
                    done += len(chunk)
            finally:
                response.close() if done < size else response.release_conn()

        try:
            while done < size:
                bucket.call("read", name, go_on, progress=lambda: done)
        except _Replaced as replaced:
            return str(replaced)
        return whole.value()


class _Replaced(Exception):  # noqa: N818 an answer to "is it still there"
    """The object went, or another took its place, while it was read."""


class _Digest:
    """SHA-256 on a core of its own, a few chunks behind what arrives: hashing costs as much as receiving."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def add(self, chunk: bytes) -> None:
        """Waits when it is ``_BEHIND`` chunks ahead."""
        self._waiting.append(self._pool.submit(self._hash.update, chunk))
        if len(self._waiting) > _BEHIND:
            self._waiting.popleft().result()

    def value(self) -> str:
        """``sha256:<hex>`` of everything."""
        while self._waiting:
            self._waiting.popleft().result()
        return f"sha256:{self._hash.hexdigest()}"


def in_order(function: Callable[[A], B], items: Iterable[A], *, ahead: int) -> Iterator[B]:
    """Results in the order of ``items``, computed in threads; at most ``ahead`` items are taken before their turn."""
    with ThreadPoolExecutor(ahead) as pool:
        waiting: deque[Future[B]] = deque()
        try:
            for item in items:
                if len(waiting) == ahead:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(function, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
