"""What a store is, wherever it lies: small documents, finished artifacts, checkpoints, and room for what is computed.

Names are relative to the store's root, with forward slashes, and laid out as :mod:`.layout` says.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from boresight_api.artifact import MANIFEST_NAME, ArtifactFile, ArtifactManifest
from boresight_api.outcome import FailureClass, PublishedArtifact, StageFailure
from pydantic import ValidationError

from .digests import file_digest
from .errors import storage_errors
from .layout import ARTIFACTS, CHECKPOINTS, checked_key, is_key

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """The artifact that a key has now, and whether somebody else had published it first."""

    artifact: PublishedArtifact
    adopted: bool


@dataclass(frozen=True)
class StoredFile:
    """Something that lies in a store."""

    name: str
    """Relative to the store's root."""
    size: int
    """Bytes."""
    modified: float
    """Seconds since the epoch, by the store's clock."""


class Attempt(Protocol):
    """Where one attempt at a stage keeps its checkpoints. What is whole there under its name is never changed again."""

    @property
    def own(self) -> Path:
        """This attempt's own folder, shared with the other processes of the attempt; it need not exist yet."""

    @property
    def previous(self) -> tuple[Path, ...]:
        """Folders of earlier attempts at the same key, newest first; read only."""

    def discard(self) -> None:
        """Remove the checkpoints of this run's attempts: the stage is published."""


class Artifacts(Protocol):
    """Reading finished artifacts: of one store, or of several that are looked through in order."""

    @property
    def uri(self) -> str:
        """Of the store, for messages."""

    def manifest(self, key: str) -> ArtifactManifest | None:
        """The manifest of ``key``, or None if there is no artifact."""

    def digest(self, key: str) -> str | None:
        """``sha256:`` of the manifest's bytes, or None if there is no artifact."""

    def open(self, key: str) -> Path:
        """A folder on this machine with the artifact, verified."""

    def read(self, name: str) -> bytes | None:
        """A small document, or None if there is none."""

    def files(self, prefix: str) -> Iterator[StoredFile]:
        """What lies below the folder ``prefix``, by name."""


class Store(ABC):
    """A store that is read and written. Every method raises :class:`StageFailure` when the store refuses or is away."""

    uri: str

    # -- what a store must be able to do -----------------------------------------------------------------------------

    @abstractmethod
    def place(self, name: str) -> str:
        """Where ``name`` lies, for messages."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """A small document, or None if there is none."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Put a small document there, whole or not at all; the last writer is right."""

    @abstractmethod
    def files(self, prefix: str) -> Iterator[StoredFile]:
        """What lies below the folder ``prefix``, by name; nothing if there is no such folder.

        Raises :class:`StageFailure` rather than leave something out that may not be listed.
        """

    @abstractmethod
    def remove(self, names: Iterable[str]) -> None:
        """Remove files, in this order; what is gone already is no error."""

    @abstractmethod
    def keys(self) -> list[str]:
        """Keys of finished artifacts, sorted."""

    @abstractmethod
    def open(self, key: str) -> Path:
        """A folder on this machine with a finished artifact, every file checked against the manifest.

        Raises :class:`StageFailure` (MissingInput) if there is none or a file differs.
        """

    @abstractmethod
    def file(self, key: str, path: str) -> Path:
        """One file of a finished artifact on this machine, checked against the manifest."""

    @abstractmethod
    def load(self, key: str, folder: Path) -> None:
        """Write every file of a finished artifact, and its manifest, into an empty folder of this machine, checked."""

    @abstractmethod
    def verify(self, key: str) -> ArtifactManifest:
        """Read every file of an artifact, as it lies in the store, and compare size and SHA-256 with its manifest.

        Raises :class:`StageFailure` (MissingInput) naming the first file that differs, what was found and expected.
        """

    @abstractmethod
    def names_of(self, manifest: ArtifactManifest) -> dict[str, str]:
        """Path in the artifact -> name in the store, of every file that the manifest lists."""

    @abstractmethod
    def staging(self, key: str) -> AbstractContextManager[Path]:
        """A new private folder to write an artifact into, removed at the end."""

    @abstractmethod
    def publish(self, key: str, folder: Path, manifest: ArtifactManifest) -> Published:
        """Make ``folder`` (from :meth:`staging`) the artifact of ``key``, or adopt the one that is there already.

        Raises :class:`StageFailure` (Error) if the folder does not hold exactly the manifest's files.
        """

    @abstractmethod
    def probe(self) -> None:
        """Check that the store can be written and refuses a second publication of one name.

        Raises :class:`StageFailure` with what to do if it cannot or does not.
        """

    @abstractmethod
    def attempt(self, key: str, run: str, number: int, *, shared: bool = False) -> AbstractContextManager[Attempt]:
        """The checkpoints of one attempt of ``run`` (first 8 letters of its UID), and those of earlier ones.

        ``shared``: several processes do the attempt together and see each other's batches. When the context ends, what
        was kept in its own folder is in the store.
        """

    @abstractmethod
    def cache(self, name: str) -> Path:
        """A folder for what can be computed again."""

    # -- what follows from that --------------------------------------------------------------------------------------

    def artifact_uri(self, key: str) -> str:
        """Where the artifact of ``key`` lies or would lie."""
        return f"{self.uri}/{ARTIFACTS}/{checked_key(key)}"

    def manifest(self, key: str) -> ArtifactManifest | None:
        """The manifest of ``key``, or None if there is no artifact: no manifest, no artifact.

        Raises :class:`StageFailure` (MissingInput) if there is one that cannot be understood.
        """
        name = manifest_name(key)
        content = self.read(name)
        return None if content is None else parsed_manifest(content, key, self.place(name))

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
                    f"{self.place(f'{ARTIFACTS}/{key}')} to compute the artifact anew",
                )
        return manifest

    def digest(self, key: str) -> str | None:
        """``sha256:`` of ``manifest.json`` as it lies in the store, or None if there is no artifact."""
        content = self.read(manifest_name(key))
        return None if content is None else bytes_digest(content)

    def existing(self, key: str) -> ArtifactManifest:
        """As :meth:`manifest`. Raises :class:`StageFailure` (MissingInput) if there is no artifact."""
        manifest = self.manifest(key)
        if manifest is None:
            raise StageFailure(
                FailureClass.MISSING_INPUT,
                f"artifact {key} is not in {self.uri}: run the stage that makes it, or name the store that has it",
            )
        return manifest

    def artifacts(self) -> Iterator[tuple[str, ArtifactManifest]]:
        """Key and manifest of every finished artifact, by key."""
        for key in self.keys():
            manifest = self.manifest(key)
            if manifest is not None:
                yield key, manifest

    def checkpoint_files(self, key: str) -> list[StoredFile]:
        """Every file of every attempt at ``key``; names begin with ``checkpoints/<key>/<attempt>/``."""
        return list(self.files(f"{CHECKPOINTS}/{checked_key(key)}"))


def manifest_name(key: str) -> str:
    """Name of an artifact's manifest in a store."""
    return f"{ARTIFACTS}/{checked_key(key)}/{MANIFEST_NAME}"


def keys_among(names: Iterable[str]) -> list[str]:
    """Keys whose manifests are among ``names``, sorted."""
    parts = [name.split("/") for name in names]
    return sorted(p[1] for p in parts if len(p) == 3 and is_key(p[1]) and (p[0], p[2]) == (ARTIFACTS, MANIFEST_NAME))


def parsed_manifest(content: bytes, key: str, place: str) -> ArtifactManifest:
    """The manifest in ``content``, found at ``place``.

    Raises :class:`StageFailure` (MissingInput) if it is not the one of ``key``.
    """
    try:
        manifest = ArtifactManifest.model_validate_json(content)
    except ValidationError as error:
        raise StageFailure(
            FailureClass.MISSING_INPUT,
            f"{place}: found a manifest that this version cannot read ({error.errors()[0]['msg']}); remove the folder "
            "to make the artifact again",
        ) from error
    if manifest.key != key:
        raise StageFailure(
            FailureClass.MISSING_INPUT,
            f"{place}: found the manifest of {manifest.key}; the folder was copied or renamed: remove it to make the "
            "artifact again",
        )
    return manifest


def bytes_digest(content: bytes) -> str:
    """``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def corrupted(key: str, path: str, found: str, expected: str, folder: str) -> StageFailure:
    """The failure for an artifact's file that is not what its manifest says."""
    return StageFailure(
        FailureClass.MISSING_INPUT,
        f"artifact {key}: {path}: found {found}, expected {expected}: the artifact is corrupted; remove {folder} to "
        "make it again",
    )


def check_file(folder: Path, file: ArtifactFile, key: str, place: str) -> None:
    """Compare a file on this machine with its entry in a manifest; ``place`` is what to remove if it differs."""
    path = folder / file.path
    with storage_errors("read an artifact's file", path):
        size = path.stat().st_size if path.is_file() else None
        if size != file.size:
            found = "no file" if size is None else f"{size} bytes"
            raise corrupted(key, file.path, found, f"{file.size} bytes", place)
        if (digest := file_digest(path)) != file.digest:
            raise corrupted(key, file.path, digest, file.digest, place)


def describe_files(folder: Path) -> tuple[ArtifactFile, ...]:
    """Every file below ``folder`` with size and digest, as a manifest lists them."""
    with storage_errors("read the stage's output", folder):
        return tuple(
            ArtifactFile(path=name, size=(folder / name).stat().st_size, digest=file_digest(folder / name))
            for name in file_names(folder)
        )


def check_complete(folder: Path, manifest: ArtifactManifest) -> None:
    """Raises :class:`StageFailure` (Error) unless ``folder`` holds exactly the manifest's files, by name and size."""
    listed = {file.path: file.size for file in manifest.files}
    with storage_errors("read the stage's output", folder):
        present = {name: (folder / name).stat().st_size for name in file_names(folder)}
    odd = sorted(name for name in listed.keys() | present.keys() if listed.get(name) != present.get(name))
    if odd:
        raise StageFailure(
            FailureClass.ERROR,
            f"{folder.name}/{odd[0]}: found {present.get(odd[0], 'no')} bytes, the manifest says "
            f"{listed.get(odd[0], 'no such file')}: the stage went on writing after it had described its output",
        )


def file_names(folder: Path) -> list[str]:
    """Every file below ``folder`` but the manifest, relative and sorted."""
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    return sorted(name for name in names if name != MANIFEST_NAME)
