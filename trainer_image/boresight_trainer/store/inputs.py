"""From a stage's inputs to paths on this machine. What is read is what was pinned, or the stage stops."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache as once
from pathlib import Path
from urllib.parse import urlsplit

from boresight_api.base import canonical_json, sha256_hex
from boresight_api.buckets import BucketPlace
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import DataInput, Input

from . import hub
from .base import Artifacts
from .buckets import Buckets
from .digests import DigestCache, content_digest, user_cache_folder
from .layout import ARTIFACTS, file_path
from .local_cache import LocalCache, limit_of


class Inputs:
    """Resolves ``artifact://``, ``file://``, ``s3://``, ``hf://`` and ``embedded://``; every input is checked against
    its pin."""

    def __init__(self, artifacts: Artifacts, cache: Path | None = None, buckets: Buckets | None = None) -> None:
        """``cache`` holds converted models, what comes from buckets and remembered digests; by default the user's cache
        folder. ``buckets``: how they are reached, by default as the environment says."""
        self.artifacts = artifacts
        self._cache = cache or user_cache_folder()
        self._digests = DigestCache(self._cache)
        self._buckets = buckets or Buckets()

    def path(self, value: Input) -> Path:
        """Where ``value`` lies on this machine.

        Raises :class:`StageFailure`: MissingInput if an artifact is missing or corrupted or a source is not what was
        pinned, InvalidData if a source's file does not exist, InvalidConfig for a URI that this release cannot read.
        """
        if value.key is not None:
            return self.artifacts.open(value.key)
        scheme = urlsplit(value.uri).scheme
        if scheme == "file":
            return self._file(value)
        if scheme == "s3":
            return self._bucket(value)
        if scheme == "hf":
            return self._hub(value)
        if scheme == "embedded":
            return self._embedded(value)
        raise unsupported(value.uri)

    def _file(self, value: Input) -> Path:
        path = existing(file_path(value.uri), value.uri)
        if value.digest is not None:
            files = value.files if isinstance(value, DataInput) else ()
            _compare(value, content_digest(path, files, self._digests))
        return path

    def _bucket(self, value: Input) -> Path:
        """A copy on this machine. Content that was pinned and is here already is not asked for again."""
        files = value.files if isinstance(value, DataInput) else ()
        find = once(lambda: self._buckets.source(value.uri, files))
        pinned = value.digest or find().digest(self._digests)
        place = BucketPlace.parse(value.uri)
        name = place.prefix.rpartition("/")[2] or place.bucket

        def load(folder: Path) -> None:
            _compare(value, find().download(folder / name))

        def is_whole(folder: Path) -> bool:
            return (folder / name).exists() and content_digest(folder / name, files, self._digests) == pinned

        kept = LocalCache(self._cache / ARTIFACTS, limit_of(os.environ))
        local = "source-" + sha256_hex(canonical_json({"digest": pinned, "name": name}))
        return kept.folder(local, size=lambda: find().size, fill=load, check=is_whole) / name

    def _hub(self, value: Input) -> Path:
        reference = hub.resolve(hub.HubReference.parse(value.uri).at(value.revision))
        _compare(value, reference.digest)
        return hub.download(reference, _patterns(value))

    def _embedded(self, value: Input) -> Path:
        from ..models import embedded

        name = embedded_name(value.uri)
        _compare(value, embedded.digest(name))
        return embedded.materialize(name, self._cache)


def existing(path: Path, uri: str) -> Path:
    """``path`` if there is something. Raises :class:`StageFailure` (InvalidData) naming what is there instead."""
    if path.exists():
        return path
    parent = next(p for p in path.parents if p.exists())
    names = ", ".join(sorted(p.name for p in parent.iterdir())[:8]) if parent.is_dir() else ""
    raise StageFailure(
        FailureClass.INVALID_DATA,
        f"{uri}: found no such file; {parent} has {names or 'nothing'}: correct the uri, or put the file there",
    )


def embedded_name(uri: str) -> str:
    """The model's name in ``embedded://<name>``."""
    return uri.removeprefix("embedded://")


def unsupported(uri: str) -> StageFailure:
    """The failure for a URI whose scheme this release cannot read."""
    return StageFailure(
        FailureClass.INVALID_CONFIG,
        f'found "{uri}", expected file://, s3://, hf://, artifact:// or embedded://: other places cannot be read in '
        "this release; copy the source to one of them",
    )


def _patterns(value: Input) -> Sequence[str]:
    if not isinstance(value, DataInput):
        return hub.MODEL_FILES
    if value.files:
        return value.files
    return [f"{value.subset}/{pattern}" for pattern in hub.DATA_FILES] if value.subset else hub.DATA_FILES


def _compare(value: Input, found: str) -> None:
    if value.digest is not None and found != value.digest:
        raise StageFailure(
            FailureClass.MISSING_INPUT,
            f"{value.uri}: found {found}, the run was planned with {value.digest}: the source changed; restore it, or "
            "plan the run again (`boresight pin --update` if the manifest pins it)",
        )
