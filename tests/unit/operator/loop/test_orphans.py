"""A Job that is gone is not over while its pods still end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from boresight_operator.api import JOBS, PODS
from boresight_operator.cache import Cache
from boresight_operator.observe import job_view
from builders_loop import Cluster, Running, jobs_by_stage, outcome_of
from builders_manifests import an_alignment_run
from virtual_time import run


def of_key(cluster: Cluster) -> list[dict[str, Any]]:
    return [job for job in cluster.all(JOBS.plural) if "boresight.dev/key" in job["metadata"]["annotations"]]


def lose(cluster: Cluster, job: dict[str, Any]) -> dict[str, Any]:
    """Delete a Job, but not yet its pod."""
    pod = cluster.objects.pop((PODS.plural, f"{job['metadata']['name']}-0"))
    cluster.remove(JOBS.plural, job["metadata"]["name"])
    return cluster.put(PODS.plural, pod)


async def training(cluster: Cluster, *names: str) -> dict[str, Any]:
    """Runs whose feedback model trains; the Job that does."""
    for name in names:
        cluster.put("alignmentruns", {**an_alignment_run(), "metadata": {"name": name}})
    await asyncio.sleep(1)
    for job in cluster.all(JOBS.plural):
        cluster.end(job, outcome_of(cluster, job, cluster.run(job["metadata"]["labels"]["boresight.dev/run"])))
    await asyncio.sleep(1)
    job = jobs_by_stage(cluster)["feedback-model"]
    cluster.pod(job)
    await asyncio.sleep(1)
    return job


def test_what_comes_next_waits_for_the_pods_of_a_job_that_was_deleted_by_hand() -> None:
    """What then starts is ``prepare``, to see what the attempt has left."""
    cluster = Cluster()

    async def life() -> tuple[int, int]:
        async with Running(cluster):
            job = await training(cluster, "one")
            pod = lose(cluster, job)
            await asyncio.sleep(10)
            before = len(cluster.all(JOBS.plural))
            cluster.remove(PODS.plural, pod["metadata"]["name"])
            await asyncio.sleep(10)
            return before, len(cluster.all(JOBS.plural))

    assert run(life()) == (1, 2)


def test_the_next_run_waits_for_the_pods_of_one_that_was_deleted() -> None:
    cluster = Cluster()

    async def life() -> tuple[int, int]:
        async with Running(cluster):
            job = await training(cluster, "one", "two")
            pod = lose(cluster, job)
            cluster.remove("alignmentruns", "one")
            await asyncio.sleep(10)
            before = len(of_key(cluster))
            cluster.remove(PODS.plural, pod["metadata"]["name"])
            await asyncio.sleep(10)
            return before, len(of_key(cluster))

    assert run(life()) == (0, 1)


def test_an_operator_that_starts_meanwhile_knows_it_too() -> None:
    cluster = Cluster()

    async def life() -> int:
        async with Running(cluster):
            job = await training(cluster, "one")
        lose(cluster, job)
        async with Running(cluster):
            await asyncio.sleep(10)
            return len(cluster.all(JOBS.plural))

    assert run(life()) == 1


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_holds_up_nobody(phase: str) -> None:
    cluster = Cluster()

    async def life() -> int:
        async with Running(cluster):
            job = await training(cluster, "one")
            pod = lose(cluster, job)
            cluster.put(PODS.plural, {**pod, "status": {"phase": phase}})
            await asyncio.sleep(10)
            return len(cluster.all(JOBS.plural))

    assert run(life()) == 2


def test_what_is_left_of_a_job_passes_for_it_only_under_its_own_name() -> None:
    cluster, cache = Cluster(), Cache()

    async def life() -> tuple[dict[str, Any], dict[str, Any]]:
        async with Running(cluster):
            job = await training(cluster, "one")
            return cluster.run("one"), lose(cluster, job)

    owner, pod = run(life())
    cache.observe(PODS, "ADDED", pod)
    name, uid = owner["metadata"]["name"], owner["metadata"]["uid"]
    (left,) = cache.jobs_of(uid)
    view = job_view(left, cache.pods_of(left["metadata"]["uid"]), run_name=name, run_uid=uid)
    assert view is not None
    assert (view.stage, view.attempt, view.deleting, len(view.pods)) == ("feedback-model", 1, True, 1)
    assert job_view(left, (), run_name=name, run_uid="another") is None
