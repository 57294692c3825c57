"""The MinIO that the tests of this folder trust: what the S3 store needs of a server, said by the server itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from minio.error import S3Error
from s3.minio_server import MinioServer


def test_a_conditional_write_is_refused_where_something_is(minio: MinioServer, bucket: str) -> None:
    client, once = minio.client(), {"If-None-Match": "*"}
    client._execute("PUT", bucket, "name", body=b"first", headers=dict(once))
    with pytest.raises(S3Error, match="PreconditionFailed"):
        client._execute("PUT", bucket, "name", body=b"second", headers=dict(once))
    assert client.get_object(bucket, "name").data == b"first"


def test_what_was_acknowledged_is_there_after_a_kill(minio_program: Path, tmp_path: Path) -> None:
    with MinioServer(minio_program, tmp_path) as server:
        name = server.bucket()
        server.client()._execute("PUT", name, "kept", body=b"x")
        server.stop()
        server.start()
        assert server.client().get_object(name, "kept").data == b"x"
