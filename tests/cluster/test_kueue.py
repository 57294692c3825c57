"""Runs in a queue of the real Kueue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from apiserver.runs import stage_of
from cluster.cluster import Cluster
from cluster.first_run import FirstRun
from cluster.host import Say
from cluster.kueue import installed, make_queue
from cluster.stack import Stack
from cluster.tenants import LONG, PATIENCE, RealTenant


@pytest.fixture(scope="module")
def queue(cluster: Cluster, stack: Stack, team: RealTenant, say: Say) -> Iterator[str]:
    """The name of a queue in which there is place for one stage at a time."""
    with installed(cluster, say):
        yield make_queue(cluster, team.namespace, cpu="150m")


def test_a_more_urgent_run_takes_the_place_of_another_which_goes_on_afterwards_at_no_charge(
    team: RealTenant, first: FirstRun, queue: str
) -> None:
    def compute(priority: str) -> dict[str, str]:
        return {"queueName": queue, "workloadPriorityClassName": priority}

    patient = team.start_run(
        "patient", policy={**LONG, "dpo": {"beta": "0.31"}}, compute=compute("low"), stopAfter="Policy"
    )
    team.await_step(patient, "policy", 3)
    urgent = team.start_run("urgent", policy={"dpo": {"beta": "0.32"}}, compute=compute("high"), stopAfter="Policy")
    team.await_stage(patient, "policy", "Waiting", reason="QuotaPending", seconds=PATIENCE)
    team.await_stage(urgent, "policy", "Succeeded", seconds=2 * PATIENCE)

    stage = team.await_stage(patient, "policy", "Succeeded", seconds=2 * PATIENCE)
    assert stage["preemptions"] >= 1
    assert stage["attempt"] == 1, "the Job keeps its place in the queue"
    assert not any(stage.get(budget) for budget in ("infrastructureRetries", "errorRetries"))
    assert stage_of(team.now(urgent), "policy").get("preemptions", 0) == 0
