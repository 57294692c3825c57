"""A real MinIO for the tests of this folder. One worker runs them all, so that there is one server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kits.minio_program import MINIO
from kits.programs import executable
from s3.minio_server import MinioServer

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """The mark is pytest-xdist's own; without the plugin nobody else knows it."""
    config.addinivalue_line("markers", "xdist_group: tests that one worker runs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder to one worker of pytest-xdist."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("s3"))


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
