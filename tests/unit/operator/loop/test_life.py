"""A run's whole life through the operator: what is written, in which order, and how often."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from boresight_operator.api import JOBS
from builders_loop import Cluster, Running, jobs_by_stage, outcome_of
from builders_manifests import an_alignment_run
from virtual_time import run


def stages(document: dict[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["state"] for stage in document["status"]["stages"]}


def conditions(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {item["type"]: (item["status"], item["reason"]) for item in document["status"]["conditions"]}


async def live_through(cluster: Cluster, name: str = "first") -> list[str]:
    """Be the Job controller and the kubelet until the run has ended; the stages in the order of their Jobs."""
    order = []
    for _ in range(20):
        await asyncio.sleep(1)
        job = next((j for j in cluster.all(JOBS.plural) if "status" not in j), None)
        if job is None:
            break
        order.append(job["metadata"]["labels"]["boresight.dev/stage"])
        cluster.pod(job)
        await asyncio.sleep(1)
        cluster.end(job, outcome_of(cluster, job, cluster.run(name)))
    return order


def test_a_run_goes_through_its_stages_and_succeeds() -> None:
    cluster = Cluster()

    async def life() -> list[str]:
        async with Running(cluster):
            cluster.put("alignmentruns", an_alignment_run())
            order = await live_through(cluster)
            await asyncio.sleep(2)
            return order

    assert run(life()) == ["prepare", "feedback-model", "synthesis", "policy", "evaluation"]
    found = cluster.run()
    assert conditions(found)["Succeeded"] == ("True", "Succeeded")
    assert set(stages(found).values()) == {"Succeeded"}


def test_writes_are_few_and_a_run_at_rest_causes_none() -> None:
    cluster = Cluster()

    async def life() -> tuple[Counter[str], int]:
        async with Running(cluster):
            cluster.put("alignmentruns", an_alignment_run())
            await live_through(cluster)
            await asyncio.sleep(2)
            made = [(m, path.split("/")[-1]) for m, path in cluster.requests if m != "GET"]
            before = len(made)
            cluster.put("alignmentruns", cluster.run())  # nothing of it differs
            await asyncio.sleep(100)
            return Counter(f"{m} {what}" for m, what in made), sum(m != "GET" for m, _ in cluster.requests) - before

    writes, later = run(life())
    per_kind = {what.split("-")[0].split()[-1]: count for what, count in writes.items()}
    assert per_kind["jobs"] == 5
    assert per_kind["configmaps"] == 5 + 1  # a stage, and the plan
    assert per_kind["status"] <= 3 * 5 + 1  # its Job is known, it runs, it is over (and the next one starts)
    assert per_kind["events"] <= 5 + 1
    assert per_kind["first"] == 1, "the NetworkPolicy"
    assert sum(per_kind.values()) == sum(writes.values())
    assert later == 0


def test_an_operator_that_starts_later_goes_on_where_the_other_ended() -> None:
    cluster = Cluster()

    async def life() -> list[str]:
        order: list[str] = []
        async with Running(cluster):
            cluster.put("alignmentruns", an_alignment_run())
            await asyncio.sleep(1)
            job = jobs_by_stage(cluster)["prepare"]
            cluster.end(job, outcome_of(cluster, job, cluster.run()))
        async with Running(cluster):
            order += await live_through(cluster)
        return order

    assert run(life()) == ["feedback-model", "synthesis", "policy", "evaluation"]
    assert conditions(cluster.run())["Succeeded"] == ("True", "Succeeded")
