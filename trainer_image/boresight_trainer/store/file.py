"""A store in a folder. An artifact appears whole, by the rename of a complete folder, or not at all.

The rename is the conditional write: the kernel refuses to rename onto a folder that is not empty (rename(2),
ENOTEMPTY), so of several publishers of one key exactly one wins and the others adopt its artifact.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from boresight_api.artifact import MANIFEST_NAME, ArtifactManifest
from boresight_api.outcome import FailureClass, PublishedArtifact, StageFailure

from .base import Attempt, Published, Store, StoredFile, check_complete, check_file
from .errors import storage_errors
from .flush import flush_entry, flush_folder
from .layout import ARTIFACTS, CACHE, CHECKPOINTS, STAGING, checked_key, checked_name, file_path, is_key

_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}


class FileStore(Store):
    """Artifacts, checkpoints and caches below one folder.

    Every method raises :class:`StageFailure` (Infrastructure) when the file system refuses.
    """

    def __init__(self, uri: str) -> None:
        """``uri`` is ``file:///absolute/path``. Raises :class:`StageFailure` (InvalidConfig) for another scheme."""
        self.root = file_path(uri)
        self.uri = self.root.as_uri()
        self._verified: set[str] = set()

    # -- documents ---------------------------------------------------------------------------------------------------

    def place(self, name: str) -> str:
        """The path of ``name``."""
        return str(self.root / name)

    def read(self, name: str) -> bytes | None:
        """A small document, or None if there is none."""
        path = self.root / name
        with storage_errors("read", path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Under a temporary name first, flushed, then renamed."""
        path = self.root / name
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with storage_errors("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(temporary, content)
            temporary.replace(path)

    def files(self, prefix: str) -> Iterator[StoredFile]:
        """By name, unfinished files (whose names start with a dot) included."""
        folder = self.root / prefix

        def refuse(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        with storage_errors("list", folder):
            for parent, folders, names in os.walk(folder, onerror=refuse):
                folders.sort()
                for name in sorted(names):
                    path = Path(parent) / name
                    with suppress(FileNotFoundError):  # removed meanwhile
                        stat = path.stat()
                        yield StoredFile(path.relative_to(self.root).as_posix(), stat.st_size, stat.st_mtime)

    def remove(self, names: Iterable[str]) -> None:
        """Folders that become empty go, too."""
        for name in names:
            path = self.root / name
            with storage_errors("remove", path):
                path.unlink(missing_ok=True)
                with suppress(OSError):  # not empty: something else lies there
                    for folder in list(path.parents)[: len(Path(name).parts) - 2]:
                        folder.rmdir()

    # -- artifacts ---------------------------------------------------------------------------------------------------

    def path(self, key: str) -> Path:
        """Where the artifact of ``key`` lies or would lie."""
        return self.root / ARTIFACTS / checked_key(key)

    def keys(self) -> list[str]:
        """Keys of finished artifacts, sorted."""
        folder = self.root / ARTIFACTS
        with storage_errors("list artifacts", folder):
            if not folder.exists():
                return []
            return sorted(p.name for p in folder.iterdir() if is_key(p.name) and (p / MANIFEST_NAME).is_file())

    def open(self, key: str) -> Path:
        """The artifact's own folder, every file checked against the manifest (once for each store object)."""
        if key not in self._verified:
            self.verify(key)
        return self.path(key)

    def file(self, key: str, path: str) -> Path:
        """One file in the artifact's own folder."""
        manifest = self.existing(key)
        (file,) = (file for file in manifest.files if file.path == path)
        check_file(self.path(key), file, key, str(self.path(key)))
        return self.path(key) / path

    def load(self, key: str, folder: Path) -> None:
        """A copy; what is checked is the copy."""
        manifest = self.existing(key)
        with storage_errors("copy an artifact", folder):
            for file in manifest.files:
                (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # the check says so
                    shutil.copyfile(self.path(key) / file.path, folder / file.path)
                check_file(folder, file, key, str(self.path(key)))
            _write(folder / MANIFEST_NAME, manifest.to_bytes())

    def verify(self, key: str) -> ArtifactManifest:
        """Read every file of an artifact and compare size and SHA-256 with its manifest."""
        manifest = self.existing(key)
        for file in manifest.files:
            check_file(self.path(key), file, key, str(self.path(key)))
        self._verified.add(key)
        return manifest

    def names_of(self, manifest: ArtifactManifest) -> dict[str, str]:
        """They lie beside the manifest, under their own paths."""
        return {file.path: f"{ARTIFACTS}/{manifest.key}/{file.path}" for file in manifest.files}

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
        check_complete(folder, manifest)
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

    @contextmanager
    def attempt(self, key: str, run: str, number: int, *, shared: bool = False) -> Iterator[Attempt]:  # noqa: ARG002
        """They lie in the store itself; nothing is copied."""
        folder = self.checkpoints(key)
        own = folder / f"{checked_name(run, 'run UID')}-{number}"
        with storage_errors("list checkpoints", folder):
            others = [path for path in folder.glob("*") if path != own]
            previous = sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
        yield _Attempt(own, tuple(previous), self, key, run)

    def checkpoints(self, key: str) -> Path:
        """The folder of a stage's checkpoints: ``<run UID, 8 letters>-<attempt>/`` each."""
        folder = self.root / CHECKPOINTS / checked_key(key)
        with storage_errors("make the checkpoints' folder", folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def discard_checkpoints(self, key: str, run: str) -> None:
        """Remove the checkpoints that attempts of ``run`` (first 8 letters of its UID) left for a published stage."""
        folder = self.root / CHECKPOINTS / checked_key(key)
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


@dataclass(frozen=True)
class _Attempt:
    """An attempt whose folders lie in the store."""

    own: Path
    previous: tuple[Path, ...]
    store: FileStore
    key: str
    run: str

    def discard(self) -> None:
        self.store.discard_checkpoints(self.key, self.run)


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


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
