"""What the operator's pods use while a cluster holds many runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from apiserver.client import Object, until
from boresight_operator.api import ALIGNMENT_RUNS
from cluster.host import Say
from cluster.stack import Stack
from cluster.tenants import RealTenant

RUNS = 200
MOST_MIB = 200


def test_two_hundred_runs_take_less_than_two_hundred_mebibytes(
    tenants: Callable[[str], RealTenant], stack: Stack, say: Say
) -> None:
    """Suspended ones, with their whole status. What live Jobs and pods add, ``make bench-operator`` measures."""
    team = tenants("many")
    for number in range(RUNS):
        team.start_run(f"run-{number}", suspend=True)
    until(lambda: all(map(settled, team.client.list(ALIGNMENT_RUNS, team.namespace))), "all have a status", seconds=60)
    used = working_sets(stack)
    say(f"{RUNS} runs: the operator's pods use {', '.join(f'{mib:.0f}' for mib in used.values())} MiB")
    assert len(used) == 2
    assert max(used.values()) < MOST_MIB
    for number in range(RUNS):
        team.client.delete(ALIGNMENT_RUNS, team.namespace, f"run-{number}")


def settled(run: Object) -> bool:
    """Whether the operator has said what it makes of the run."""
    return bool(run.get("status", {}).get("observedGeneration") == run["metadata"]["generation"])


def working_sets(stack: Stack) -> dict[str, float]:
    """MiB by pod of the operator, as a kubelet measured them after this was asked."""
    asked = datetime.now(UTC)
    found: dict[str, float] = {}

    def measured() -> bool:
        for pod in stack.operator_pods():
            summary = stack.cluster.client.call("GET", f"/api/v1/nodes/{pod['spec']['nodeName']}/proxy/stats/summary")
            for item in summary["pods"]:
                memory = item.get("memory", {})
                fresh = "workingSetBytes" in memory and datetime.fromisoformat(memory["time"]) >= asked
                if fresh and item["podRef"]["uid"] == pod["metadata"]["uid"]:
                    found[pod["metadata"]["name"]] = memory["workingSetBytes"] / 2**20
        return len(found) == len(stack.operator_pods())

    until(measured, "the kubelets have measured", seconds=60)
    return found
