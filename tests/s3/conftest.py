"""A real MinIO for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kits.minio_program import MINIO
from kits.programs import executable
from s3.minio_server import MinioServer


@pytest.fixture(scope="session")
def minio_program(request: pytest.FixtureRequest) -> Path:
    """The server's program; built if it is nowhere yet."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)

    return executable(MINIO, say)


@pytest.fixture(scope="session")
def minio(minio_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A server that all tests share; each makes buckets of its own."""
    with MinioServer(minio_program, tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def bucket(minio: MinioServer) -> str:
    """A new bucket."""
    return minio.bucket()
