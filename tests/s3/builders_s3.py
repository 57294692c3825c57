"""Builders of stores in buckets."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from boresight_trainer.store.open import open_store
from boresight_trainer.store.s3.bucket import Bucket, parsed
from boresight_trainer.store.s3.client import EnvironmentCredentials, make_client
from boresight_trainer.store.s3.retry import Retry
from boresight_trainer.store.s3.store import S3Store

MANY = 1 << 40


def a_bucket_store(
    environment: Mapping[str, str],
    uri: str,
    near: Path,
    *,
    seconds: float = 5.0,
    limit: int = MANY,
    sleep: Callable[[float], None] | None = None,
) -> S3Store:
    """A store that gives up after ``seconds``; else as :func:`open_store` makes it."""
    client = make_client(environment["AWS_ENDPOINT_URL_S3"], EnvironmentCredentials(environment), environment)
    waits = {} if sleep is None else {"sleep": sleep}
    return S3Store(Bucket(parsed(uri), client, Retry(seconds, random=random.Random(1), **waits)), near, limit)


def opened(environment: Mapping[str, str], uri: str, near: Path) -> S3Store:
    """As a stage opens it."""
    store = open_store(uri, cache=near, environment=environment)
    assert isinstance(store, S3Store)
    return store


def open_weights(environment: dict[str, str], uri: str, key: str, near: Path, results: Any) -> None:
    """One of several processes that open an artifact at the same moment."""
    results.put((opened(environment, uri, near).open(key) / "weights.bin").read_text())
