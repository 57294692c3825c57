"""From a URI to a store, and from an execution to everything that it may read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from boresight_api.execution import Execution, ReadStore

from .base import Store
from .digests import user_cache_folder
from .file import FileStore
from .library import Library

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""As in AWS' own tools; the first one counts."""


PATIENCE_SECONDS = 180.0
"""For a bucket that does not answer. A stage waits rather than fail; a person does not."""


def open_store(
    uri: str,
    *,
    cache: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    patience: float = PATIENCE_SECONDS,
) -> Store:
    """The store at ``uri``, to read and write: ``file:///folder`` or ``s3://bucket/prefix``.

    A bucket's endpoint, region, credentials and authorities are those of the environment (``AWS_*``). ``cache``: where
    what comes from far is kept; by default the user's cache folder. ``patience``: seconds for which requests are tried
    again. Raises :class:`StageFailure` (InvalidConfig).
    """
    if not uri.startswith("s3:"):
        return FileStore(uri)
    from .s3.client import EnvironmentCredentials

    endpoint = next((environment[name] for name in ENDPOINT_VARIABLES if environment.get(name)), None)
    return _in_bucket(uri, endpoint, EnvironmentCredentials(environment), cache, environment, patience)


def open_library(
    execution: Execution, *, cache: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Library:
    """The run's store, and those that it may read from."""
    own = open_store(execution.storage, cache=cache, environment=environment)
    return Library(own, tuple(_open_to_read(store, cache, environment) for store in execution.read_from))


def _open_to_read(described: ReadStore, cache: Path | None, environment: Mapping[str, str]) -> Store:
    """With its own credentials, never with the run's; without any, as everybody."""
    if not described.uri.startswith("s3:"):
        return FileStore(described.uri)
    from .s3.client import MountedCredentials

    credentials = MountedCredentials(Path(described.credentials)) if described.credentials else None
    return _in_bucket(described.uri, described.endpoint, credentials, cache, environment)


def _in_bucket(
    uri: str,
    endpoint: str | None,
    credentials: object,
    cache: Path | None,
    environment: Mapping[str, str],
    patience: float = PATIENCE_SECONDS,
) -> Store:
    from .local_cache import limit_of
    from .s3.bucket import Bucket
    from .s3.client import make_client
    from .s3.retry import Retry
    from .s3.store import S3Store

    bucket = Bucket(uri, make_client(endpoint, credentials, environment), Retry(patience))
    return S3Store(bucket, cache or user_cache_folder(), limit_of(environment))
