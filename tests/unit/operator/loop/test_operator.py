"""The operator as a process: when it begins to write, what makes it list again, how it ends, what it says of itself."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Any

import pytest
from boresight_operator.api import ALIGNMENT_RUNS, JOBS, WATCHED, Answer
from boresight_operator.errors import LeaseOver
from boresight_operator.operator import STUCK_SECONDS, Operator
from boresight_operator.settings import NamespaceSettings, Settings
from builders_loop import STORE, Cluster, Running, settings
from builders_manifests import an_alignment_run
from scripted_api import failure
from virtual_time import run

LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


def elected(name: str) -> Settings:
    """Of one operator of several."""
    return Settings(
        defaults=NamespaceSettings(storage={"uri": STORE}), identity=name, pod_name=name, lease_namespace="default"
    )


def lists(cluster: Cluster) -> int:
    return sum((method, path) == ("GET", JOBS.path()) for method, path in cluster.requests)


def writes(cluster: Cluster) -> list[str]:
    return [path for method, path in cluster.requests if method != "GET" and "/leases" not in path]


def test_nothing_is_written_before_everything_is_listed() -> None:
    cluster = Cluster()

    async def life() -> tuple[bool, bool]:
        cluster.put("alignmentruns", an_alignment_run())
        down: Answer | OSError = ConnectionError("no")
        cluster.intercept = lambda method, path: down if path == JOBS.path() else None
        async with Running(cluster) as operator:
            await asyncio.sleep(30)
            before = bool(writes(cluster)) or not operator.not_ready()
            cluster.intercept = lambda method, path: None
            await asyncio.sleep(30)
            return before, bool(writes(cluster)) and not operator.not_ready()

    assert run(life()) == (False, True)


def test_without_a_crd_it_is_not_ready_and_says_which_and_no_restart_is_asked_for() -> None:
    """Also when it is removed under an operator that works; and it is ready again once the CRD is there."""
    cluster, missing = Cluster(), failure(404, "NotFound", "the server could not find the requested resource")

    async def life() -> None:
        async with Running(cluster) as operator:
            for seconds in (5, 1000):
                await asyncio.sleep(1)
                cluster.intercept = lambda method, path: missing if path.endswith("/evalruns") else None
                operator.relist()
                await asyncio.sleep(seconds)
                (said,) = operator.not_ready()
                assert "CustomResourceDefinition evalruns.boresight.dev is missing" in said
                assert "kubectl apply" in said
                assert operator.unhealthy() == []
                cluster.intercept = lambda method, path: None
                await asyncio.sleep(20)
                assert operator.not_ready() == []

    run(life())


def test_only_the_holder_of_the_lease_writes_and_a_standby_takes_over_within_a_second_of_its_end() -> None:
    cluster = Cluster()

    async def life() -> tuple[int, int]:
        async with Running(cluster, elected("a")):
            await asyncio.sleep(3)
            second = Running(cluster, elected("b"))
            operator = await second.__aenter__()
            await asyncio.sleep(3)
            assert not operator.unhealthy()
            assert operator.not_ready() == []
            before = len(writes(cluster))
        cluster.put("alignmentruns", an_alignment_run())
        await asyncio.sleep(1.5)
        after = len(writes(cluster))
        await second.__aexit__()
        return before, after

    before, after = run(life())
    assert before == 0
    assert after > 0


def test_the_process_ends_when_the_lease_is_lost() -> None:
    cluster = Cluster()

    async def life() -> None:
        operator = Operator(elected("a"), cluster, wall=cluster.now, random=Random(1))
        task = asyncio.create_task(operator.run())
        await asyncio.sleep(3)
        cluster.intercept = lambda method, path: ConnectionError("cut") if "/leases" in path else None
        with pytest.raises(LeaseOver):
            await asyncio.wait_for(task, 30)

    run(life())


def test_after_an_outage_everything_is_listed_again() -> None:
    """What was deleted meanwhile is found, whatever the watches say."""
    cluster = Cluster()

    async def life() -> tuple[int, int]:
        async with Running(cluster, elected("a")) as operator:
            cluster.put("alignmentruns", an_alignment_run())
            await asyncio.sleep(2)
            before = lists(cluster)
            cluster.intercept = lambda method, path: ConnectionError("cut")
            await asyncio.sleep(3)
            cluster.listeners.clear()
            cluster.remove("alignmentruns", "first")
            cluster.intercept = lambda method, path: None
            await asyncio.sleep(4)
            cluster.listeners.append(operator)
            return lists(cluster) - before, sum(1 for _ in operator._siblings.all())

    assert run(life()) == (1, 0)


def test_after_a_watch_has_listed_again_everything_is_listed_once() -> None:
    cluster = Cluster()

    async def life() -> int:
        async with Running(cluster) as operator:
            stored = cluster.put("alignmentruns", an_alignment_run())
            await asyncio.sleep(5)
            before = lists(cluster)
            for _ in range(30):
                operator.on_event(ALIGNMENT_RUNS, None, stored)
                await asyncio.sleep(0.1)
            await asyncio.sleep(5)
            return lists(cluster) - before

    assert run(life()) == 1


def test_a_run_that_hangs_is_a_reason_to_restart() -> None:
    cluster = Cluster()

    async def life() -> list[str]:
        async with Running(cluster) as operator:
            await asyncio.sleep(1)
            operator._at_work["uid-of-it"] = asyncio.get_running_loop().time()
            await asyncio.sleep(STUCK_SECONDS + 1)
            faults = list(operator.unhealthy())
            del operator._at_work["uid-of-it"]
            return faults

    assert ["uid-of-it" in fault for fault in run(life())] == [True]


def test_lists_that_fail_for_long_are_a_reason_to_restart() -> None:
    cluster = Cluster()

    async def life() -> tuple[list[str], list[str]]:
        async with Running(cluster, settings(list_interval_seconds=60)) as operator:
            await asyncio.sleep(5)
            before = list(operator.unhealthy())
            cluster.intercept = lambda method, path: ConnectionError("no") if path == JOBS.path() else None
            await asyncio.sleep(300)
            return before, list(operator.unhealthy())

    before, after = run(life())
    assert before == []
    assert [fault.split()[0] for fault in after] == ["jobs"]


def test_an_error_is_one_line_with_run_and_stage(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()

    async def life() -> None:
        async with Running(cluster):
            cluster.put("alignmentruns", an_alignment_run())
            await asyncio.sleep(1)
            cluster.intercept = lambda method, path: ConnectionError("cut") if "/status" in path else None
            job = cluster.all(JOBS.plural)[0]
            cluster.pod(job)
            await asyncio.sleep(15)
            cluster.intercept = lambda method, path: None
            await asyncio.sleep(90)

    with caplog.at_level(logging.WARNING, "boresight_operator.operator"):
        run(life())
    records = [record for record in caplog.records if record.name == "boresight_operator.operator"]
    assert records
    assert {(vars(record)["run"], vars(record)["stage"]) for record in records} == {
        ("team/AlignmentRun/first", "prepare")
    }
    assert not any(record.exc_info for record in records)


def test_metrics_tell_what_happened_and_have_names_only_where_series_are_capped() -> None:
    cluster = Cluster()

    async def life() -> tuple[dict[str, Any], set[str]]:
        async with Running(cluster, settings(metrics_runs=0, metrics_stages=0)) as operator:
            cluster.put("alignmentruns", an_alignment_run())
            await asyncio.sleep(2)
            get = operator.telemetry.registry.get_sample_value
            labels = {
                value
                for family in operator.telemetry.registry.collect()
                for sample in family.samples
                for value in sample.labels.values()
            }
            return {
                "leader": get("boresight_leader"),
                "reconciles": get("boresight_reconcile_seconds_count", {"result": "done"}),
                "jobs": get("boresight_api_requests_total", {"verb": "create", "resource": "jobs", "code": "201"}),
                "listed": get("boresight_list_age_seconds", {"resource": "jobs"}),
                "seen": get("boresight_watch_age_seconds", {"resource": "alignmentruns"}),
                "runs": get("boresight_runs", {"kind": "AlignmentRun"}),
                "preparing": get("boresight_stages", {"stage": "prepare", "state": "Running"}),
                "left out": get("boresight_runs_left_out"),
            }, labels

    found, labels = run(life())
    assert found["leader"] == found["jobs"] == found["runs"] == found["preparing"] == found["left out"] == 1
    assert found["reconciles"] >= 1
    assert 0 < found["listed"] < 5
    assert 0 < found["seen"] < 5
    assert not any("first" in label for label in labels)
    assert {resource.plural for resource in WATCHED} <= labels
