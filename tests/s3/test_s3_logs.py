"""Logs of pods in a bucket, kept by the trainer and found by the command."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from apiserver.control_plane import free_port
from boresight.errors import UserError
from boresight.kept_logs import kept_log
from boresight.records import RunRecord
from boresight_api.execution import Execution, RunReference
from boresight_api.outcome import StageFailure
from boresight_trainer.store.kept_log import LIMIT_BYTES, keeping
from boresight_trainer.store.open import open_store
from s3.builders_s3 import opened
from s3.minio_server import MinioServer

REFERENCE = RunReference(kind="AlignmentRun", namespace="team", name="first", uid="u-1")
RECORD = RunRecord("AlignmentRun", "team", "first", "u-1", "", "", "2026-11-29T10:00:00Z")


def test_what_a_pod_said_is_found_in_the_bucket(minio: MinioServer, bucket: str, tmp_path: Path) -> None:
    uri = f"s3://{bucket}/team"
    pod = {**minio.environment(), "BORESIGHT_POD_UID": "p", "JOB_COMPLETION_INDEX": "2"}
    execution = Execution(storage=uri, attempt=3, part="Shard", shards=4)
    with keeping(execution, REFERENCE, "synthesis", pod):
        for number in range(1100):
            print(f"{number:05} " + "x" * 16_384)
    store = opened(minio.environment(), uri, tmp_path / "near")
    log = b"".join(kept_log(store, RECORD, "synthesis", 3, "2"))
    assert LIMIT_BYTES * 3 // 4 - 20_000 < len(log) <= LIMIT_BYTES + 200
    assert log.splitlines()[-1].startswith(b"01099 ")
    with pytest.raises(UserError, match=r"as stage-attempt-rank: synthesis-3-2\)"):
        list(kept_log(store, RECORD, "synthesis", 3, "0"))


def test_a_person_waits_no_longer_for_a_bucket_than_asked(minio: MinioServer) -> None:
    away = {**minio.environment(), "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}"}
    began = time.monotonic()
    with pytest.raises(StageFailure, match="Connection refused"):
        open_store("s3://bucket/team", environment=away, patience=1.0).read("x")
    assert time.monotonic() - began < 5
