"""The programs that read what is in the chart and beside it, built if they are nowhere yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kits.chart import Helm
from kits.monitoring_programs import AMTOOL, PROMTOOL
from kits.programs import GITOPS, HELM, KUBECONFORM, executable
from kits.schemas import find_or_make


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """To the terminal, past pytest's capture: a build takes minutes."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(text, flush=True)

    return line


@pytest.fixture(scope="session")
def helm(say: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The real Helm."""
    return Helm(executable(HELM, say), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def kubeconform(say: Callable[[str], None]) -> Path:
    """Its executable."""
    return executable(KUBECONFORM, say)


@pytest.fixture(scope="session")
def schemas(say: Callable[[str], None]) -> Path:
    """Folder of the JSON schemas of Kubernetes' kinds."""
    return find_or_make(say)


@pytest.fixture(scope="session")
def gitops(say: Callable[[str], None]) -> Path:
    """What kstatus, Flux and Argo CD make of objects."""
    return executable(GITOPS, say)


@pytest.fixture(scope="session")
def promtool(say: Callable[[str], None]) -> Path:
    """Its executable."""
    return executable(PROMTOOL, say)


@pytest.fixture(scope="session")
def amtool(say: Callable[[str], None]) -> Path:
    """Its executable: what Alertmanager makes of a configuration."""
    return executable(AMTOOL, say)
