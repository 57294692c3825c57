"""A store in a bucket. An artifact appears when its manifest does, by one conditional write, or not at all.

There is no rename in a bucket, so what belongs to a manifest lies below a folder named by the files' digests: two
publishers of one key write different names or the same bytes, and neither can spoil what the other has published.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from boresight_api.artifact import MANIFEST_NAME, ArtifactFile, ArtifactManifest
from boresight_api.base import canonical_json, sha256_hex
from boresight_api.outcome import FailureClass, PublishedArtifact, StageFailure

from ..base import (
    Attempt,
    Published,
    Store,
    StoredFile,
    bytes_digest,
    check_complete,
    corrupted,
    keys_among,
    manifest_name,
)
from ..digests import DigestCache
from ..errors import storage_errors
from ..layout import ARTIFACTS, CACHE, CHECKPOINTS, STAGING, checked_key, checked_name
from ..local_cache import LocalCache
from .bucket import Bucket
from .mirror import Mirror, fetch_previous
from .transfer import check, download, in_order, upload

log = logging.getLogger(__name__)

_FILES_AT_ONCE = 4


class S3Store(Store):
    """Artifacts, checkpoints and documents below one prefix of a bucket; a folder of this machine for what is near."""

    def __init__(self, bucket: Bucket, near: Path, limit: int) -> None:
        """``near``: for artifacts that were loaded (at most ``limit`` bytes), for what is being written, and caches."""
        self.uri = bucket.uri
        self._bucket = bucket
        self._near = near
        self._loaded = LocalCache(near / ARTIFACTS, limit)
        self._digests = DigestCache(near)

    # -- documents ---------------------------------------------------------------------------------------------------

    def place(self, name: str) -> str:
        """The URI of ``name``."""
        return self._bucket.place(name)

    def read(self, name: str) -> bytes | None:
        """A small document, or None if there is none."""
        return self._bucket.read(name)

    def write(self, name: str, content: bytes) -> None:
        """One request; the last writer is right."""
        self._bucket.write(name, content)

    def files(self, prefix: str) -> Iterator[StoredFile]:
        """What lies below the folder ``prefix``, by name."""
        return self._bucket.files(prefix)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, in this order."""
        self._bucket.remove(names)

    # -- artifacts ---------------------------------------------------------------------------------------------------

    def keys(self) -> list[str]:
        """Keys of finished artifacts, sorted."""
        return keys_among(file.name for file in self.files(ARTIFACTS))

    def names_of(self, manifest: ArtifactManifest) -> dict[str, str]:
        """Below a folder that is named by the files themselves."""
        folder = f"{ARTIFACTS}/{manifest.key}/{content_folder(manifest)}"
        return {file.path: f"{folder}/{file.path}" for file in manifest.files}

    def open(self, key: str) -> Path:
        """A copy on this machine, loaded if it is not here yet."""
        manifest = self.existing(key)
        return self._loaded.folder(
            _local_name(manifest),
            size=lambda: _size(manifest),
            fill=lambda folder: self._load(manifest, manifest.files, folder),
            check=lambda folder: self._is_whole(manifest.files, folder),
        )

    def file(self, key: str, path: str) -> Path:
        """A copy of that file alone."""
        manifest = self.existing(key)
        (file,) = (file for file in manifest.files if file.path == path)
        folder = self._loaded.folder(
            f"{_local_name(manifest)}-{file.digest.removeprefix('sha256:')[:16]}",
            size=lambda: file.size,
            fill=lambda folder: self._load(manifest, (file,), folder),
            check=lambda folder: self._is_whole((file,), folder),
        )
        return folder / path

    def load(self, key: str, folder: Path) -> None:
        """Straight from the bucket."""
        manifest = self.existing(key)
        self._load(manifest, manifest.files, folder)

    def verify(self, key: str) -> ArtifactManifest:
        """Read every object of an artifact and compare size and SHA-256 with its manifest."""
        manifest = self.existing(key)
        names = self.names_of(manifest)
        for file in manifest.files:
            wrong = check(self._bucket, names[file.path], size=file.size, digest=file.digest)
            if wrong is not None:
                raise self._corrupted(manifest, file, wrong)
        return manifest

    def _load(self, manifest: ArtifactManifest, files: Iterable[ArtifactFile], folder: Path) -> None:
        names = self.names_of(manifest)

        def load(file: ArtifactFile) -> None:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            wrong = download(self._bucket, names[file.path], path, size=file.size, digest=file.digest)
            if wrong is not None:
                raise self._corrupted(manifest, file, wrong)

        for _ in in_order(load, files, ahead=_FILES_AT_ONCE):
            pass
        (folder / MANIFEST_NAME).write_bytes(manifest.to_bytes())

    def _is_whole(self, files: Iterable[ArtifactFile], folder: Path) -> bool:
        try:
            return all(self._digests.digest(folder / file.path) == file.digest for file in files)
        except OSError:
            return False

    def _corrupted(self, manifest: ArtifactManifest, file: ArtifactFile, wrong: str) -> StageFailure:
        expected = file.digest if wrong.startswith("sha256:") else f"{file.size} bytes"
        return corrupted(manifest.key, file.path, wrong, expected, self.place(f"{ARTIFACTS}/{manifest.key}"))

    # -- writing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """A folder of this machine."""
        folder = self._near / STAGING / f"{checked_key(key)[:16]}-{uuid.uuid4().hex}"
        with storage_errors("make a folder to write the artifact into", folder):
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, key: str, folder: Path, manifest: ArtifactManifest) -> Published:
        """Files first, several parts at a time, then the manifest, if there is none yet."""
        if manifest.key != key or folder.parent != self._near / STAGING:
            raise ValueError(f"publish({key}): found the manifest of {manifest.key} in {folder}")
        check_complete(folder, manifest)
        name, content = manifest_name(key), manifest.to_bytes()
        adopted = self.read(name) is not None
        if not adopted:
            names = self.names_of(manifest)
            present = {file.name: file.size for file in self.files(f"{ARTIFACTS}/{key}/{content_folder(manifest)}")}
            for file in manifest.files:
                if present.get(names[file.path]) != file.size:  # an attempt that ended early may have brought it
                    upload(self._bucket, folder / file.path, names[file.path], size=file.size, digest=file.digest)
            adopted = not self._bucket.create(name, content)
        winner = self.read(name)
        if winner is None:
            raise StageFailure(
                FailureClass.INFRASTRUCTURE, f"{self.place(name)}: the artifact vanished as it was published"
            )
        if adopted:
            self._remove_all_but(winner, manifest)
        else:
            self._keep_near(manifest, folder)
        return Published(PublishedArtifact(uri=self.artifact_uri(key), digest=bytes_digest(winner)), adopted)

    def _remove_all_but(self, winner: bytes, manifest: ArtifactManifest) -> None:
        """What a loser has uploaded under names of its own."""
        try:
            others = self.names_of(ArtifactManifest.model_validate_json(winner))
        except ValueError:
            return  # of a newer version: what its files are, it alone knows
        mine = self.names_of(manifest)
        self.remove(name for path, name in mine.items() if others.get(path) != name)

    def _keep_near(self, manifest: ArtifactManifest, folder: Path) -> None:
        """The next stage on this machine reads what this one has made."""

        def move(target: Path) -> None:
            for path in folder.iterdir():
                path.rename(target / path.name)
            (target / MANIFEST_NAME).write_bytes(manifest.to_bytes())

        self._loaded.folder(_local_name(manifest), size=lambda: _size(manifest), fill=move, check=lambda _: True)

    def probe(self) -> None:
        """Two conditional writes to one name: the second must be refused."""
        name = f"{STAGING}/probe-{uuid.uuid4().hex}"
        try:
            first, second = self._bucket.create(name, b"first"), self._bucket.create(name, b"second")
            kept = self.read(name) == b"first"
        finally:
            self.remove([name])
        if not (first and not second and kept):
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"store: {self.uri}: it does not honour If-None-Match, so a second publisher would replace an "
                "artifact; name a store with conditional writes, such as AWS or MinIO, or remove the proxy that drops "
                "the header",
            )

    # -- beside artifacts --------------------------------------------------------------------------------------------

    @contextmanager
    def attempt(self, key: str, run: str, number: int, *, shared: bool = False) -> Iterator[Attempt]:
        """Folders of this machine; a thread carries what is whole there to the store."""
        name = f"{checked_name(run, 'run UID')}-{number}"
        work = self._near / CHECKPOINTS / uuid.uuid4().hex
        own = work / "own" / name
        mirror = Mirror(self._bucket, f"{CHECKPOINTS}/{checked_key(key)}/{name}", own, shared=shared)
        try:
            previous = fetch_previous(self._bucket, key, name, work / "previous")
            mirror.start()
            attempt = _Attempt(own, previous, self, mirror, key, run)
            try:
                yield attempt
            except BaseException:
                mirror.stop()
                _keep_what_can_be_kept(mirror)
                raise
            mirror.stop()
            if not attempt.discarded:
                mirror.keep()
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def cache(self, name: str) -> Path:
        """On this machine: what is computed again costs less than what is asked for over and over."""
        folder = self._near / CACHE / checked_name(name, "cache")
        with storage_errors("make a cache folder", folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder


class _Attempt:
    """An attempt whose folders are carried to the store."""

    def __init__(
        self, own: Path, previous: tuple[Path, ...], store: S3Store, mirror: Mirror, key: str, run: str
    ) -> None:
        self.own = own
        self.previous = previous
        self.discarded = False
        self._store, self._mirror, self._key, self._run = store, mirror, key, run

    def discard(self) -> None:
        self.discarded = True
        self._mirror.stop()
        begin = f"{CHECKPOINTS}/{self._key}/{self._run}-"
        found = [file.name for file in self._store.checkpoint_files(self._key) if file.name.startswith(begin)]
        self._store.remove(found)


def content_folder(manifest: ArtifactManifest) -> str:
    """16 hexadecimal digits that paths and digests of the manifest's files decide."""
    return sha256_hex(canonical_json({file.path: file.digest for file in manifest.files}))[:16]


def _size(manifest: ArtifactManifest) -> int:
    return sum(file.size for file in manifest.files)


def _local_name(manifest: ArtifactManifest) -> str:
    return f"{manifest.key}-{manifest.digest().removeprefix('sha256:')[:16]}"


def _keep_what_can_be_kept(mirror: Mirror) -> None:
    """The stage ends for a reason of its own, which counts more than a store that is away."""
    try:
        mirror.keep()
    except StageFailure as failure:
        log.warning("the last checkpoint did not reach the store: %s", failure.message)
