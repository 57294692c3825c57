"""A real API server for the tests of this folder. One worker runs them all, so that there is one set of servers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from apiserver import identity
from apiserver.assets import find_or_build
from apiserver.client import CRDS, NAMESPACES, Client, Object, until
from apiserver.control_plane import ControlPlane

HERE = Path(__file__).parent
CRD_FILES = sorted((HERE.parents[1] / "crds").glob("*.yaml"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder to one worker of pytest-xdist."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("apiserver"))


@pytest.fixture(scope="session")
def assets(request: pytest.FixtureRequest) -> Path:
    """Folder of etcd, kube-apiserver, kube-controller-manager and kubectl; built if they are nowhere yet."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)

    return find_or_build(say)


def install_crds(client: Client) -> None:
    """Apply the CRDs and wait until they are served."""
    for path in CRD_FILES:
        client.apply(CRDS, None, yaml.safe_load(path.read_text()))
    for path in CRD_FILES:
        name = yaml.safe_load(path.read_text())["metadata"]["name"]
        until(lambda name=name: condition(client.get(CRDS, None, name), "Established") == "True", f"{name} established")
    paths = [f"/apis/boresight.dev/v1alpha1/{path.stem.partition('_')[2]}" for path in CRD_FILES]
    for path in paths:
        until(lambda path=path: client.call("GET", path)["kind"].endswith("List"), f"{path} served")


def condition(document: Object, kind: str) -> str | None:
    """Status of a condition; None if there is none."""
    found = {c["type"]: c["status"] for c in document.get("status", {}).get("conditions", [])}
    return found.get(kind)


@pytest.fixture(scope="session")
def plane(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The servers with the CRDs installed. Their logs stay in pytest's temporary folder."""
    with ControlPlane(assets, tmp_path_factory.mktemp("apiserver")) as plane:
        install_crds(plane.client())
        yield plane


@pytest.fixture(scope="session")
def client(plane: ControlPlane) -> Client:
    """An administrator."""
    return plane.client()


@pytest.fixture(scope="session")
def namespaces(client: Client) -> Callable[[], str]:
    """Makes namespaces that no other test has."""
    numbers = itertools.count(1)

    def make() -> str:
        name = f"team-{next(numbers)}"
        client.create(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        account = f"/api/v1/namespaces/{name}/serviceaccounts"
        until(lambda: client.call("GET", account)["items"], f"ServiceAccount of {name}")
        return name

    return make


@pytest.fixture
def namespace(namespaces: Callable[[], str]) -> str:
    """A namespace of this test's own."""
    return namespaces()


@pytest.fixture(scope="session")
def token(client: Client) -> str:
    """Of the operator's ServiceAccount."""
    return identity.make(client)
