"""The peer of the operator's benchmark: kubeflow trainer v2.0.0's controller manager, built from the Go module proxy.

It turns a TrainJob into a JobSet; JobSet's own controller, which would turn that into Jobs, is not run. So what is
measured for it ends one step earlier than for Boresight, whose Jobs exist when the clock stops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
import yaml
from apiserver.client import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CRDS,
    NAMESPACES,
    SERVICE_ACCOUNTS,
    Client,
    until,
)
from apiserver.control_plane import ControlPlane, Process, free_port
from boresight_operator.api import Resource
from kits.go_programs import GoProgram, run_go

SOURCE = Path(__file__).parent / "peer"
TRAINER = "github.com/kubeflow/trainer/v2"
NAME = "kubeflow-trainer-controller-manager"
NAMESPACE = "kubeflow-system"
RUNTIMES = Resource(
    "trainer.kubeflow.org", "v1alpha1", "clustertrainingruntimes", "ClusterTrainingRuntime", namespaced=False
)
PROGRAM = GoProgram(name="trainer", folder=SOURCE, module=TRAINER, takes="1 to 2 minutes")


def target(namespace: str) -> dict[str, Any]:
    """A TrainJob, and the JobSet that comes of it."""
    template = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "run-{n}"},
        "spec": {"runtimeRef": {"name": "torch-distributed"}, "trainer": {"image": "boresight-trainer:test"}},
    }
    return {
        "runs": f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{namespace}/trainjobs",
        "children": f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/{namespace}/jobsets",
        "template": template,
    }


def install_crds(client: Client) -> None:
    """Its own CRDs and JobSet's. Not PodGroup's: with it there it watches what its own ClusterRole does not allow."""
    files = [
        *(_folder(TRAINER) / "manifests/base/crds").glob("trainer.kubeflow.org_*.yaml"),
        _folder("sigs.k8s.io/jobset") / "config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml",
    ]
    for file in files:
        document = yaml.safe_load(file.read_text())
        client.apply(CRDS, None, document)
        name = document["metadata"]["name"]
        until(lambda name=name: _established(client, name), f"{name} established")  # type: ignore[misc]


def _established(client: Client, name: str) -> bool:
    found = (client.get(CRDS, None, name).get("status") or {}).get("conditions") or []
    return any((c["type"], c["status"]) == ("Established", "True") for c in found)


def _folder(module: str) -> Path:
    """Where Go keeps a module's files."""
    return Path(run_go(["list", "-m", "-f", "{{.Dir}}", module], SOURCE).strip())


@contextmanager
def running(plane: ControlPlane, *, qps: float) -> Iterator[Process]:
    """The peer under its own ClusterRole, ready. ``qps`` 0: its default, 20 requests a second."""
    client = plane.client()
    kubeconfig = plane.kubeconfig("peer", _identity(client))
    runtime = _folder(TRAINER) / "manifests/base/runtimes/torch_distributed.yaml"
    until(lambda: _apply_runtime(client, runtime), "its CRDs are served")
    port = free_port()
    command = [
        str(PROGRAM.find_or_build(print) / PROGRAM.name),
        f"--qps={qps:g}",
        f"--probes=127.0.0.1:{port}",
        f"--kubeconfig={kubeconfig}",
    ]
    process = Process("peer", command, plane.folder / "peer.log")
    try:
        until(lambda: _ready(process, port), "the peer is ready", seconds=60)
        yield process
    finally:
        process.kill()


def _apply_runtime(client: Client, file: Path) -> bool:
    try:
        client.apply(RUNTIMES, None, yaml.safe_load(file.read_text()))
    except Exception:
        return False
    return True


def _ready(process: Process, port: int) -> bool:
    process.check()
    try:
        return urllib3.request("GET", f"http://127.0.0.1:{port}/readyz", retries=False, timeout=2).status == 200
    except (OSError, urllib3.exceptions.HTTPError):
        return False


def _identity(client: Client) -> str:
    """Its ServiceAccount with the rules that it ships."""
    role = yaml.safe_load((_folder(TRAINER) / "manifests/base/rbac/role.yaml").read_text())
    client.apply(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    client.apply(
        SERVICE_ACCOUNTS, NAMESPACE, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}}
    )
    client.apply(CLUSTER_ROLES, None, role)
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": NAME},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": NAME},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
    }
    client.apply(CLUSTER_ROLE_BINDINGS, None, binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86_400}}
    answer = client.call("POST", SERVICE_ACCOUNTS.path(NAMESPACE, NAME, "token"), request)
    return str(answer["status"]["token"])
