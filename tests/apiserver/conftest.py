"""A real API server for the tests of this folder. One worker runs them all, so that there is one set of servers."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from apiserver import identity
from apiserver.assets import find_or_build
from apiserver.client import NAMESPACES, Client, until
from apiserver.control_plane import ADMIN, ControlPlane
from apiserver.crds import install_crds
from apiserver.kubelet import SIGTERM_BEFORE_A_CHECKPOINT, Kubelet, Store
from apiserver.kubelet_logs import KubeletLogs
from apiserver.members import Members
from apiserver.operator_process import LATER_RELEASE, OperatorProcess
from apiserver.plugin import Plugin
from apiserver.world import World
from kits.chart import Helm
from kits.programs import HELM, executable


@pytest.fixture(scope="session")
def assets(request: pytest.FixtureRequest) -> Path:
    """Folder of etcd, kube-apiserver, kube-controller-manager and kubectl; built if they are nowhere yet."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)

    return find_or_build(say)


@pytest.fixture(scope="session")
def plane(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The servers with the CRDs installed. Their logs stay in pytest's temporary folder."""
    with ControlPlane(assets, tmp_path_factory.mktemp("apiserver"), install_crds) as plane:
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


@pytest.fixture(scope="session")
def members(client: Client, token: str, tmp_path_factory: pytest.TempPathFactory) -> Members:
    """People with the roles of the chart."""
    return Members(client, Helm(executable(HELM, print), tmp_path_factory.mktemp("helm")))


@pytest.fixture(scope="session")
def kubelet(client: Client) -> Iterator[Kubelet]:
    """Plays the nodes."""
    with Kubelet(client) as kubelet:
        yield kubelet


@pytest.fixture(scope="session")
def kubelet_logs(plane: ControlPlane, client: Client, kubelet: Kubelet) -> Iterator[KubeletLogs]:
    """Serves what pods write."""
    with KubeletLogs(client, plane.ca, plane.folder / "apiserver.key") as logs:
        yield logs


@pytest.fixture(scope="session")
def one_operator(plane: ControlPlane, token: str) -> Iterator[OperatorProcess]:
    """The operator of the whole cluster."""
    with OperatorProcess(plane, token) as operator:
        yield operator


@pytest.fixture
def operator(one_operator: OperatorProcess) -> OperatorProcess:
    """The operator, running. A test may kill it or stop it; the next one has it running again."""
    if one_operator.running:
        one_operator.go_on()
    return one_operator.start()


@pytest.fixture
def no_operator(one_operator: OperatorProcess) -> None:
    """Nobody but the test and the API server's own controllers changes anything."""
    if one_operator.running:
        one_operator.go_on()
        one_operator.terminate()


@pytest.fixture
def world(client: Client, kubelet: Kubelet, operator: OperatorProcess, namespace: str) -> World:
    """A namespace with everything at work. The played bucket is empty."""
    kubelet.store = Store()
    kubelet.stuck.clear()
    kubelet.on_stop = lambda pod: SIGTERM_BEFORE_A_CHECKPOINT
    kubelet.clock = lambda: datetime.now(UTC)
    return World(client, namespace, kubelet, operator)


@pytest.fixture
def later(plane: ControlPlane, token: str, world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world with an operator (and a played trainer) of a release that runs several nodes and devices."""
    world.operator.terminate()
    monkeypatch.setattr("boresight_api.plan.unrunnable", lambda run: iter(()))
    with OperatorProcess(plane, token, name="later", command=(sys.executable, LATER_RELEASE)) as operator:
        yield replace(world, operator=operator)
        operator.terminate()


@pytest.fixture
def plugin(plane: ControlPlane, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plugin:
    """``kubectl boresight`` as an administrator, in the test's namespace."""
    monkeypatch.chdir(tmp_path)
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(variable, raising=False)
    return Plugin(plane.kubeconfig("plugin", ADMIN), world.namespace)
