"""A store in a folder. An artifact appears whole, by the rename of a complete folder, or not at all.

The rename is the conditional write: the kernel refuses to rename onto a folder that is not empty (rename(2),
ENOTEMPTY), so of several publishers of one key exactly one wins and the others adopt its artifact.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from boresight_api.artifact import MANIFEST_NAME, ArtifactFile, ArtifactManifest
from boresight_api.outcome import FailureClass, PublishedArtifact, StageFailure
from pydantic import ValidationError

from .digests import file_digest
from .errors import storage_errors
from .flush import flush_entry, flush_folder
from .layout import ARTIFACTS, CACHE, CHECKPOINTS, STAGING, checked_name, file_path, is_key

_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}


@dataclass(frozen=True)
class Published:
    """The artifact that a key has now, and whether somebody else had published it first."""

    artifact: PublishedArtifact
    adopted: bool


def describe_files(folder: Path) -> tuple[ArtifactFile, ...]:
    """Every file below ``folder`` with size and digest, as a manifest lists them."""
    with storage_errors("read the stage's output", folder):
        return tuple(
            ArtifactFile(path=name, size=(folder / name).stat().st_size, digest=file_digest(folder / name))
            for name in _file_names(folder)
        )


class FileStore:
    """Artifacts, checkpoints and caches below one folder.

    Every method raises :class:`StageFailure` (Infrastructure) when the file system refuses.
    """

    def __init__(self, uri: str) -> None:
        """``uri`` is ``file:///absolute/path``. Raises :class:`StageFailure` (InvalidConfig) for another scheme."""
        self.root = file_path(uri)
        self.uri = self.root.as_uri()
        self._verified: set[str] = set()

    # -- artifacts ---------------------------------------------------------------------------------------------------

    def path(self, key: str) -> Path:
        """Where the artifact of ``key`` lies or would lie."""
        if not is_key(key):
            raise StageFailure(FailureClass.INVALID_CONFIG, f'found "{key}", expected a key: 64 hexadecimal digits')
        return self.root / ARTIFACTS / key

    def artifact_uri(self, key: str) -> str:
        """The URI of :meth:`path`."""
        return self.path(key).as_uri()

    def manifest(self, key: str) -> ArtifactManifest | None:
        """The manifest of ``key``, or None if there is no artifact: no manifest, no artifact.

        Raises :class:`StageFailure` (MissingInput) if there is one that cannot be understood.
        """
        content = self._manifest_bytes(key)
        if content is None:
            return None
        try:
            manifest = ArtifactManifest.model_validate_json(content)
        except ValidationError as error:
            raise StageFailure(
                FailureClass.MISSING_INPUT,
                f"{self.path(key) / MANIFEST_NAME}: found a manifest that this version cannot read "
                f"({error.errors()[0]['msg']}); remove the folder to make the artifact again",
            ) from error
        if manifest.key != key:
            raise StageFailure(
                FailureClass.MISSING_INPUT,
                f"{self.path(key) / MANIFEST_NAME}: found the manifest of {manifest.key}; the folder was copied or "
                "renamed: remove it to make the artifact again",
            )
        return manifest

    def finished(self, key: str) -> ArtifactManifest | None:
        """As :meth:`manifest`, for work that is adopted: its parents, as far as they are here, must be those it read.

        Raises :class:`StageFailure` (MissingInput) naming the parent that is another one now.
        """
        manifest = self.manifest(key)
        for parent in manifest.parents if manifest is not None else ():
            found = self.digest(parent.key)
            if found is not None and found != parent.digest:
                raise StageFailure(
                    FailureClass.MISSING_INPUT,
                    f"artifact {key}: its {parent.name}, artifact {parent.key}: found {found}, expected "
                    f"{parent.digest}, which it was made from: the parent was made again meanwhile; remove the folder "
                    f"{self.path(key)} to compute the artifact anew",
                )
        return manifest

    def digest(self, key: str) -> str | None:
        """``sha256:`` of ``manifest.json`` as it lies in the store, or None if there is no artifact."""
        content = self._manifest_bytes(key)
        return None if content is None else "sha256:" + hashlib.sha256(content).hexdigest()

    def open(self, key: str) -> Path:
        """The folder of a finished artifact, every file checked against the manifest (once for each store object).

        Raises :class:`StageFailure` (MissingInput) if there is none or a file differs.
        """
        if key not in self._verified:
            self.verify(key)
        return self.path(key)

    def verify(self, key: str) -> ArtifactManifest:
        """Read every file of an artifact and compare size and SHA-256 with its manifest.

        Raises :class:`StageFailure` (MissingInput) naming the first file that differs, what was found and expected.
        """
        manifest = self.manifest(key)
        folder = self.path(key)
        if manifest is None:
            raise StageFailure(
                FailureClass.MISSING_INPUT,
                f"artifact {key} is not in {self.uri}: run the stage that makes it, or name the store that has it",
            )
        for file in manifest.files:
            self._check_file(folder, file)
        self._verified.add(key)
        return manifest

    def artifacts(self) -> Iterator[tuple[str, ArtifactManifest]]:
        """Key and manifest of every finished artifact, by key."""
        for key in self.keys():
            manifest = self.manifest(key)
            if manifest is not None:
                yield key, manifest

    def keys(self) -> list[str]:
        """Keys of finished artifacts, sorted."""
        folder = self.root / ARTIFACTS
        with storage_errors("list artifacts", folder):
            if not folder.exists():
                return []
            return sorted(p.name for p in folder.iterdir() if is_key(p.name) and (p / MANIFEST_NAME).is_file())

    # -- writing -----------------------------------------------------------------------------------------------------

    @contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """A new private folder to write an artifact into, on the file system it will stay on; removed at the end."""
        folder = self.root / STAGING / f"{self.path(key).name[:16]}-{uuid.uuid4().hex}"
        with storage_errors("make a folder to write the artifact into", folder):
            folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # published: gone already; failed: what is left, gc removes

    def publish(self, key: str, folder: Path, manifest: ArtifactManifest) -> Published:
        """Make ``folder`` (from :meth:`staging`) the artifact of ``key``, or adopt the one that is there already.

        The manifest is written last, everything is flushed to disk, then the folder is renamed. Raises
        :class:`StageFailure` (Error) if the folder does not hold exactly the manifest's files.
        """
        target = self.path(key)
        if manifest.key != key or folder.parent != self.root / STAGING:
            raise ValueError(f"publish({key}): found the manifest of {manifest.key} in {folder}")
        _check_complete(folder, manifest)
        with storage_errors("write the artifact", folder):
            _write(folder / MANIFEST_NAME, manifest.to_bytes())
            flush_folder(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            adopted = not _publish_by_rename(folder, target)
            if adopted:
                shutil.rmtree(folder)
        digest = self.digest(key)
        if digest is None:
            raise StageFailure(FailureClass.INFRASTRUCTURE, f"{target}: the artifact vanished as it was published")
        return Published(PublishedArtifact(uri=target.as_uri(), digest=digest), adopted)

    def probe(self) -> None:
        """Check that the store can be written and refuses a second publication of one name.

        Raises :class:`StageFailure` (Infrastructure).
        """
        name = f"probe-{uuid.uuid4().hex}"
        first, second, target = (self.root / STAGING / f"{name}-{part}" for part in ("first", "second", "target"))
        try:
            with storage_errors("write a probe", first):
                for folder in (first, second):
                    folder.mkdir(parents=True)
                    _write(folder / MANIFEST_NAME, name.encode())
                (self.root / ARTIFACTS).mkdir(exist_ok=True)
                conditional = _rename_onto_nothing(first, target) and not _rename_onto_nothing(second, target)
                intact = (target / MANIFEST_NAME).read_bytes() == name.encode()
        finally:
            for folder in (first, second, target):
                shutil.rmtree(folder, ignore_errors=True)
        if not (conditional and intact):
            raise StageFailure(
                FailureClass.INFRASTRUCTURE,
                f"store: {self.uri}: this file system lets a second publisher replace an artifact; name a "
                "`storage.uri` on one with POSIX rename",
            )

    # -- beside artifacts --------------------------------------------------------------------------------------------

    def checkpoints(self, key: str) -> Path:
        """The folder of a stage's checkpoints: ``<run UID, 8 letters>-<attempt>/`` each."""
        folder = self.root / CHECKPOINTS / self.path(key).name
        with storage_errors("make the checkpoints' folder", folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def discard_checkpoints(self, key: str, run: str) -> None:
        """Remove the checkpoints that attempts of ``run`` (first 8 letters of its UID) left for a published stage."""
        folder = self.root / CHECKPOINTS / self.path(key).name
        with storage_errors("remove checkpoints", folder):
            for attempt in folder.glob(f"{checked_name(run, 'run UID')}-*"):
                shutil.rmtree(attempt)
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()

    def cache(self, name: str) -> Path:
        """A folder for what can be computed again."""
        folder = self.root / CACHE / checked_name(name, "cache")
        with storage_errors("make a cache folder", folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    # -- inside ------------------------------------------------------------------------------------------------------

    def _manifest_bytes(self, key: str) -> bytes | None:
        path = self.path(key) / MANIFEST_NAME
        with storage_errors("read a manifest", path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def _check_file(self, folder: Path, file: ArtifactFile) -> None:
        path = folder / file.path
        with storage_errors("read an artifact's file", path):
            size = path.stat().st_size if path.is_file() else None
            if size == file.size and (digest := file_digest(path)) == file.digest:
                return
        found = "no file" if size is None else f"{size} bytes" if size != file.size else digest
        expected = f"{file.size} bytes" if size != file.size else file.digest
        raise StageFailure(
            FailureClass.MISSING_INPUT,
            f"artifact {folder.name}: {file.path}: found {found}, expected {expected}: the artifact is corrupted; "
            f"remove {folder} to make it again",
        )


def _publish_by_rename(folder: Path, target: Path) -> bool:
    """Rename ``folder`` to ``target``; False if that is a finished artifact. A wreck without manifest is emptied first.

    The wreck is emptied through its file descriptor: if another publisher puts its artifact in the wreck's place
    meanwhile, the descriptor still means the wreck, and the artifact loses nothing.
    """
    while not _rename_onto_nothing(folder, target):
        try:
            descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            if any(entry.name == MANIFEST_NAME for entry in os.scandir(descriptor)):
                return False
            _empty(descriptor)
        finally:
            os.close(descriptor)
    return True


def _empty(descriptor: int) -> None:
    for entry in os.scandir(descriptor):
        with suppress(FileNotFoundError):  # another publisher empties it too
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.name, dir_fd=descriptor)
            else:
                os.unlink(entry.name, dir_fd=descriptor)


def _rename_onto_nothing(folder: Path, target: Path) -> bool:
    """Rename ``folder`` and flush the rename; False if ``target`` exists and is not empty."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno in _OCCUPIED:
            return False
        raise
    flush_entry(target.parent)
    return True


def _check_complete(folder: Path, manifest: ArtifactManifest) -> None:
    listed = {file.path: file.size for file in manifest.files}
    with storage_errors("read the stage's output", folder):
        present = {name: (folder / name).stat().st_size for name in _file_names(folder)}
    odd = sorted(name for name in listed.keys() | present.keys() if listed.get(name) != present.get(name))
    if odd:
        raise StageFailure(
            FailureClass.ERROR,
            f"{folder.name}/{odd[0]}: found {present.get(odd[0], 'no')} bytes, the manifest says "
            f"{listed.get(odd[0], 'no such file')}: the stage went on writing after it had described its output",
        )


def _file_names(folder: Path) -> list[str]:
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    return sorted(name for name in names if name != MANIFEST_NAME)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
