"""The peer of the operator's benchmark, built from the Go module proxy.

Kubeflow trainer v2.0.0's controller manager turns a TrainJob into a JobSet; JobSet's, which runs beside it, turns that
into a Job.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from boresight_operator.api import JOBS, Resource
from kits.go_programs import GoProgram, run_go

SOURCE = Path(__file__).parent / "peer"
TRAINER = "github.com/kubeflow/trainer/v2"
JOBSET = "sigs.k8s.io/jobset"
ROLES = {
    "trainer": (TRAINER, "manifests/base/rbac/role.yaml"),
    "jobset": (JOBSET, "config/components/rbac/role.yaml"),
}
"""Each manager's module, and the rules that it ships."""
NAMESPACE = "kubeflow-system"
RUNTIMES = Resource(
    "trainer.kubeflow.org", "v1alpha1", "clustertrainingruntimes", "ClusterTrainingRuntime", namespaced=False
)
PROGRAM = GoProgram(name="trainer", folder=SOURCE, module=TRAINER, takes="1 to 2 minutes")


def target(namespace: str) -> dict[str, Any]:
    """A TrainJob, the JobSet that comes of it, and that one's Job."""
    template = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "run-{n}"},
        "spec": {"runtimeRef": {"name": "torch-distributed"}, "trainer": {"image": "boresight-trainer:test"}},
    }
    return {
        "runs": f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{namespace}/trainjobs",
        "children": JOBS.path(namespace),
        "between": f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/{namespace}/jobsets",
        "template": template,
    }


def install_crds(client: Client) -> None:
    """Its own CRDs and JobSet's. Not PodGroup's: with it there it watches what its own ClusterRole does not allow."""
    files = [
        *(_folder(TRAINER) / "manifests/base/crds").glob("trainer.kubeflow.org_*.yaml"),
        _folder(JOBSET) / "config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml",
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
def running(plane: ControlPlane, *, qps: float) -> Iterator[list[Process]]:
    """Both managers under their own ClusterRoles, ready. ``qps`` 0: their own rates, 20 and 500 requests a second."""
    client = plane.client()
    runtime = _folder(TRAINER) / "manifests/base/runtimes/torch_distributed.yaml"
    until(lambda: _apply_runtime(client, runtime), "its CRDs are served")
    with ExitStack() as stack:
        yield [stack.enter_context(_manager(plane, name, qps)) for name in ROLES]


@contextmanager
def _manager(plane: ControlPlane, name: str, qps: float) -> Iterator[Process]:
    kubeconfig, port = plane.kubeconfig(name, _identity(plane.client(), name)), free_port()
    program = str(PROGRAM.find_or_build(print) / PROGRAM.name)
    command = [program, name, f"--qps={qps:g}", f"--probes=127.0.0.1:{port}"]
    process = Process(name, command, plane.folder / f"{name}.log", {**os.environ, "KUBECONFIG": str(kubeconfig)})
    try:
        until(lambda: _ready(process, port), f"{name} is ready", seconds=60)
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


def _identity(client: Client, name: str) -> str:
    """A manager's ServiceAccount with the rules that it ships."""
    module, rules = ROLES[name]
    role = yaml.safe_load((_folder(module) / rules).read_text())
    role["metadata"]["name"] = name  # both may call theirs the same
    client.apply(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    client.apply(
        SERVICE_ACCOUNTS, NAMESPACE, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    )
    client.apply(CLUSTER_ROLES, None, role)
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
    }
    client.apply(CLUSTER_ROLE_BINDINGS, None, binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86_400}}
    answer = client.call("POST", SERVICE_ACCOUNTS.path(NAMESPACE, name, "token"), request)
    return str(answer["status"]["token"])
