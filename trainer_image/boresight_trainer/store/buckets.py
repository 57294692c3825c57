"""How buckets are reached: at which endpoint, and with whose credentials."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from boresight_api.buckets import store_of
from boresight_api.execution import Execution, ReadStore
from boresight_api.outcome import FailureClass, StageFailure

if TYPE_CHECKING:
    from .s3.source import BucketAt, BucketSource

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""As in AWS' own tools; the first one counts."""
PATIENCE_SECONDS = 180.0
"""For a bucket that does not answer. A stage waits rather than fail; a person does not."""


def by_environment(environment: Mapping[str, str], patience: float = PATIENCE_SECONDS) -> BucketAt:
    """With endpoint, region, credentials and authorities of the environment (``AWS_*``): those of the run's own store.

    ``patience``: seconds for which requests are tried again. Raises :class:`StageFailure` (InvalidConfig).
    """
    from .s3.client import EnvironmentCredentials

    endpoint = next((environment[name] for name in ENDPOINT_VARIABLES if environment.get(name)), None)
    return _bucket_at(endpoint, EnvironmentCredentials(environment), environment, patience)


def by_description(
    described: ReadStore, environment: Mapping[str, str], patience: float = PATIENCE_SECONDS
) -> BucketAt:
    """With a store's own credentials, never with the run's; without any, as everybody."""
    from .s3.client import MountedCredentials

    credentials = MountedCredentials(Path(described.credentials)) if described.credentials else None
    return _bucket_at(described.endpoint, credentials, environment, patience)


def _bucket_at(endpoint: str | None, credentials: object, environment: Mapping[str, str], patience: float) -> BucketAt:
    from .s3.bucket import Bucket
    from .s3.client import make_client
    from .s3.retry import Retry

    client = make_client(endpoint, credentials, environment)
    return lambda place: Bucket(place, client, Retry(patience))


class Buckets:
    """What ``s3://`` sources are read with: the endpoint and credentials of the store in which they lie.

    A run on one's own machine has no store in a bucket; its sources are read with the ``AWS_*`` variables.
    """

    def __init__(
        self,
        execution: Execution | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """``execution``: whose stores; without one all is read as the environment says."""
        self._read_from = execution.read_from if execution else ()
        own = (execution.storage,) if execution else ()
        self._stores = (*own, *(store.uri for store in self._read_from))
        self._environment = environment
        self._patience = patience

    def source(self, uri: str, files: Sequence[str] = ()) -> BucketSource:
        """The objects that ``uri`` names now. Raises :class:`StageFailure`."""
        from .s3.source import find_source

        return find_source(uri, files, self._reach(uri))

    def _reach(self, uri: str) -> BucketAt:
        try:
            index = store_of(uri, self._stores)
        except ValueError as error:
            raise StageFailure(FailureClass.INVALID_CONFIG, str(error)) from None
        buckets = [store for store in self._stores if store.startswith("s3:")]
        if index is None and buckets:  # the run's key is good for its own store, and is sent to no other place
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"{uri}: found a source in none of the run's stores, expected one below {' or '.join(buckets)}: list "
                "the store that holds it in storage.readFrom",
            )
        if index is None or index == 0:
            return by_environment(self._environment, self._patience)
        return by_description(self._read_from[index - 1], self._environment, self._patience)
