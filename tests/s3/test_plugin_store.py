"""The store of a run in a cluster as ``kubectl boresight`` opens it from here: over TLS, with its own authority."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from boresight.cluster.api import Api
from boresight.cluster.record import record_of
from boresight.cluster.source import ClusterRuns
from boresight_api.outcome import StageFailure
from boresight_trainer.store.trust import BUNDLE_VARIABLE
from builders_manifests import an_eval_run
from builders_store import KEY, publish
from s3.minio_server import MinioServer


@pytest.fixture
def secure(minio_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MinioServer]:
    """Its authority is nobody else's; this process has its keys."""
    for variable in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # the command sets them
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with MinioServer(minio_program, tmp_path / "secure", tls=True) as server:
        for variable, value in server.credentials.items():
            monkeypatch.setenv(variable, value)
        yield server


def a_run(bucket: str, endpoint: str) -> dict[str, Any]:
    run = an_eval_run(storage={"uri": f"s3://{bucket}", "endpoint": endpoint})
    run["metadata"] |= {"namespace": "team", "uid": "u-1", "creationTimestamp": "2026-11-29T10:00:00Z"}
    return run


def test_an_authority_that_this_machine_names_is_trusted(
    secure: MinioServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = ClusterRuns(cast(Api, None))  # the run says itself where its store is
    monkeypatch.setattr("boresight.cluster.source.STORE_SECONDS", 1.0)
    bucket = secure.bucket()
    run = record_of(a_run(bucket, secure.url), 0.0)
    with pytest.raises(StageFailure, match="CERTIFICATE_VERIFY_FAILED"):
        runs.store(run).keys()
    monkeypatch.setenv(BUNDLE_VARIABLE, str(secure.ca))
    assert runs.store(run).keys() == []
    publish(runs.store(run), KEY)
    assert runs.store(run).keys() == [KEY]
