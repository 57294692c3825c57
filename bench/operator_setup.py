"""What the operator's benchmark measures on: fresh servers, the operator with its rights, load by another process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apiserver import identity
from apiserver.assets import find_or_build
from apiserver.client import NAMESPACES, Client, Object, until
from apiserver.control_plane import ControlPlane
from apiserver.crds import install_crds
from apiserver.operator_process import OperatorProcess
from boresight_operator.api import ALIGNMENT_RUNS, JOBS
from builders_manifests import an_alignment_run

HERE = Path(__file__).parent
TEAM = "team"
FAILING = "failing"
LEASE = {"leaseSeconds": 10, "renewSeconds": 6, "retrySeconds": 2}
"""As in production; tests have shorter ones."""


def say(line: str) -> None:
    """Progress, for people."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


@contextmanager
def servers(crds: Callable[[Client], None] = install_crds) -> Iterator[ControlPlane]:
    """Fresh ones, with a namespace for runs."""
    with (
        tempfile.TemporaryDirectory(prefix="boresight-bench-") as folder,
        ControlPlane(find_or_build(say), Path(folder), crds) as plane,
    ):
        for name in (TEAM, FAILING):
            plane.client().apply(
                NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            )
            accounts = f"/api/v1/namespaces/{name}/serviceaccounts"
            until(lambda accounts=accounts: plane.client().call("GET", accounts)["items"], f"ServiceAccount of {name}")  # type: ignore[misc]
        yield plane


@contextmanager
def operator(plane: ControlPlane, name: str = "operator", **settings: Any) -> Iterator[OperatorProcess]:
    """The operator with the chart's rights, leading."""
    token = identity.make(plane.client())
    with OperatorProcess(plane, token, name=name, settings={**LEASE, **settings}) as process:
        until(lambda: process.metric("boresight_leader") == 1, f"{name} leads", seconds=30)
        yield process


def target(namespace: str = TEAM, **spec: Any) -> Object:
    """AlignmentRuns, and the Jobs that come of them."""
    template = an_alignment_run(**spec)
    template["metadata"]["name"] = "run-{n}"
    return {
        "runs": ALIGNMENT_RUNS.path(namespace),
        "children": JOBS.path(namespace),
        "between": "",
        "template": template,
    }


def load(plane: ControlPlane, task: str, **order: Any) -> Object:
    """Run a task of the load process and return what it measured."""
    with loading(plane, task, **order) as process:
        output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load {task} ended with {process.returncode}")
    found: Object = json.loads(output)
    return found


@contextmanager
def loading(plane: ControlPlane, task: str, **order: Any) -> Iterator[subprocess.Popen[str]]:
    """A task of the load process beside others."""
    plane.kubeconfig("load", "admin-token")
    document = {"url": plane.url, "ca": str(plane.ca), "token": "admin-token", **order}
    command = [sys.executable, "-P", str(HERE / "operator_load.py"), task]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(document))
            process.stdin.close()
            process.stdin = None  # communicate() would flush it
            yield process
        finally:
            process.kill()
