"""From a URI to a store, and from an execution to everything that it may read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from boresight_api.execution import Execution, ReadStore

from .base import Store
from .buckets import PATIENCE_SECONDS, by_description, by_environment
from .digests import user_cache_folder
from .file import FileStore
from .library import Library

if TYPE_CHECKING:
    from .s3.source import BucketAt


def open_store(
    uri: str,
    *,
    cache: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    patience: float = PATIENCE_SECONDS,
) -> Store:
    """The store at ``uri``, to read and write: ``file:///folder`` or ``s3://bucket/prefix``.

    A bucket is reached as the environment says (:func:`by_environment`). ``cache``: where what comes from far is kept;
    by default the user's cache folder. ``patience``: seconds for which requests are tried again. Raises
    :class:`StageFailure` (InvalidConfig).
    """
    if not uri.startswith("s3:"):
        return FileStore(uri)
    return _in_bucket(uri, by_environment(environment, patience), cache, environment)


def open_library(
    execution: Execution, *, cache: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Library:
    """The run's store, and those that it may read from."""
    own = open_store(execution.storage, cache=cache, environment=environment)
    return Library(own, tuple(_open_to_read(store, cache, environment) for store in execution.read_from))


def _open_to_read(described: ReadStore, cache: Path | None, environment: Mapping[str, str]) -> Store:
    if not described.uri.startswith("s3:"):
        return FileStore(described.uri)
    return _in_bucket(described.uri, by_description(described, environment), cache, environment)


def _in_bucket(uri: str, bucket_at: BucketAt, cache: Path | None, environment: Mapping[str, str]) -> Store:
    from .local_cache import limit_of
    from .s3.bucket import parsed
    from .s3.store import S3Store

    return S3Store(bucket_at(parsed(uri)), cache or user_cache_folder(), limit_of(environment))
