"""Objects below one prefix of a bucket: small documents, listing, and the conditional write that decides races."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

import urllib3
from boresight_api.buckets import BucketPlace
from boresight_api.outcome import FailureClass, StageFailure
from minio.datatypes import parse_list_objects
from minio.error import MinioException, S3Error

from ..base import StoredFile
from .client import SigningClient
from .errors import failure
from .retry import Retry

T = TypeVar("T")
Response = urllib3.BaseHTTPResponse


DIGEST = "x-amz-meta-sha256"
"""Header under which an object keeps the digest of its content."""


@dataclass(frozen=True)
class Look:
    """What a store says about an object without sending it."""

    size: int
    digest: str | None
    """``sha256:<hex>`` as its writer gave it."""
    modified: float
    """Seconds since the epoch, by the store's clock."""
    tag: str
    """As of :class:`StoredObject`."""


@dataclass(frozen=True)
class StoredObject(StoredFile):
    """An object as a listing shows it."""

    tag: str
    """The store's ``ETag``, without quotes: another one as soon as the content is another."""


class Bucket:
    """``s3://<bucket>/<prefix>``. Every method retries what may pass and raises :class:`StageFailure`."""

    def __init__(self, place: BucketPlace, client: SigningClient, retry: Retry) -> None:
        self.bucket, self.prefix = place.bucket, place.prefix
        self.uri = "/".join(part for part in (f"s3://{self.bucket}", self.prefix) if part)
        self._client = client
        self._retry = retry
        self._worked = threading.Event()

    @property
    def endpoint(self) -> str:
        """Host and port of the store."""
        return str(self._client._base_url.host)

    def place(self, name: str) -> str:
        """``name`` as a URI."""
        return f"{self.uri}/{name}"

    def read(self, name: str) -> bytes | None:
        """A whole object, or None if there is none."""

        def get() -> bytes | None:
            try:
                return self.request("GET", name).data
            except S3Error as error:
                if error.code == "NoSuchKey":
                    self._worked.set()
                    return None
                raise

        return self.call("read", name, get)

    def write(self, name: str, content: bytes) -> None:
        """Replace an object, whole or not at all."""
        self.call("write", name, lambda: self.request("PUT", name, content))

    def create(self, name: str, content: bytes) -> bool:
        """Write an object where there is none (``If-None-Match: *``); False if somebody else has written it.

        If the answer to a request was lost, the next one finds what the first has written: what is there says whose.
        """

        def put() -> bool:
            try:
                self.request("PUT", name, content, {"If-None-Match": "*"})
            except S3Error as error:
                if error.code == "PreconditionFailed":
                    return False
                raise  # 409: another writer is at work; the retry finds what it wrote
            return True

        return self.call("write", name, put) or self.read(name) == content

    def look(self, name: str) -> Look | None:
        """Size and digest of an object, None if there is none."""

        def head() -> Look | None:
            try:
                headers = self.request("HEAD", name).headers
            except S3Error as error:
                if error.code == "NoSuchKey":
                    return None
                raise
            modified = parsedate_to_datetime(headers["Last-Modified"]).timestamp()
            return Look(int(headers["Content-Length"]), headers.get(DIGEST), modified, _bare(headers["ETag"]))

        return self.call("look for", name, head)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, one after the other."""
        for name in names:
            self.call("remove", name, lambda name=name: self.request("DELETE", name))  # type: ignore[misc]

    def files(self, folder: str) -> Iterator[StoredObject]:
        """All objects below ``folder`` ("" for all there are), by name."""
        token: str | None = None
        while True:
            page, token = self.call("list", folder, lambda token=token: self._page(folder, token))  # type: ignore[misc]
            yield from page
            if token is None:
                return

    def call(self, action: str, name: str, request: Callable[[], T], progress: Callable[[], int] = int) -> T:
        """``request`` with retries. Raises :class:`StageFailure` saying what could not be done to ``name``.

        ``progress``: how far it came; further than at the last failure, and the deadline counts anew.
        """
        try:
            return self._retry.call(f"{action} {self.place(name)}", request, progress)
        except (MinioException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise failure(error, action, self.place(name), self.endpoint, worked=self._worked.is_set()) from error

    def request(
        self,
        method: str,
        name: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        *,
        stream: bool = False,
    ) -> Response:
        """One signed request, not repeated."""
        response = self._client._execute(
            method,
            self.bucket,
            self._name(name),
            body=body,
            headers=dict(headers or {}),
            query_params=dict(query or {}),
            preload_content=not stream,
        )
        self._worked.set()
        return response  # type: ignore[no-any-return]

    def _page(self, folder: str, token: str | None) -> tuple[list[StoredObject], str | None]:
        query = {"list-type": "2", "encoding-type": "url", "delimiter": "", "prefix": self._below(folder)}
        response = self._client._execute(
            "GET", self.bucket, query_params={**query, **({"continuation-token": token} if token else {})}
        )
        self._worked.set()
        found, truncated, token, _ = parse_list_objects(response)
        page = [
            StoredObject(self._relative(f.object_name), f.size, f.last_modified.timestamp(), _bare(f.etag))
            for f in found
        ]
        return page, token if truncated else None

    def _name(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _below(self, folder: str) -> str:
        """The prefix of all names in ``folder``."""
        return "".join(f"{part}/" for part in (self.prefix, folder) if part)

    def _relative(self, name: str) -> str:
        return name.removeprefix(f"{self.prefix}/") if self.prefix else name


def _bare(tag: str) -> str:
    return tag.strip('"')


def parsed(uri: str) -> BucketPlace:
    """What ``uri`` names. Raises :class:`StageFailure` (InvalidConfig)."""
    try:
        return BucketPlace.parse(uri)
    except ValueError as error:
        raise StageFailure(FailureClass.INVALID_CONFIG, str(error)) from None
