"""What becomes of a decision: the order of writes, conflicts, refusals, and runs that have to do with each other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from boresight_operator.api import CONFIG_MAPS, JOBS, Answer
from boresight_operator.settings import Limits, NamespaceSettings
from builders_loop import DIGEST, NAMESPACE, STORE, Cluster, Running, failure, jobs_by_stage, outcome_of, settings
from builders_manifests import an_alignment_run
from virtual_time import run


def stage(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(stage for stage in document["status"]["stages"] if stage["name"] == name)


def condition(document: dict[str, Any], name: str) -> tuple[str, str]:
    return next((c["status"], c["reason"]) for c in document["status"]["conditions"] if c["type"] == name)


def a_run(name: str = "first", **spec: Any) -> dict[str, Any]:
    document = an_alignment_run(**spec)
    return {**document, "metadata": {"name": name}}


async def prepared(cluster: Cluster, *names: str) -> None:
    """Let ``prepare`` of these runs end well, all at once."""
    await asyncio.sleep(1)
    for job in [job for job in cluster.all(JOBS.plural) if job["metadata"]["labels"]["boresight.dev/run"] in names]:
        cluster.end(job, outcome_of(cluster, job, cluster.run(job["metadata"]["labels"]["boresight.dev/run"])))
    await asyncio.sleep(1)


def once(
    method: str, ending: str, make: Callable[[], Answer | OSError]
) -> Callable[[str, str], Answer | OSError | None]:
    """Intercept the first request of that kind."""
    left = [1]

    def intercept(found: str, path: str) -> Answer | OSError | None:
        if found == method and path.split("/")[-1].startswith(ending) and left and left.pop():
            return make()
        return None

    return intercept


def test_the_status_names_an_attempt_before_anything_of_it_exists() -> None:
    cluster = Cluster()

    async def life() -> None:
        async with Running(cluster):
            cluster.put("alignmentruns", a_run())
            await asyncio.sleep(1)

    run(life())
    writes = [path.split("/")[-1] for method, path in cluster.requests if method != "GET"]
    assert writes[0] == "status"
    assert writes.index("configmaps") < writes.index("jobs")
    assert stage(cluster.run(), "prepare")["attempt"] == 1


def test_a_conflict_is_observed_again_and_nothing_is_done_twice() -> None:
    cluster = Cluster()

    async def life() -> None:
        async with Running(cluster):
            cluster.put("alignmentruns", a_run())
            cluster.intercept = once("PATCH", "status", lambda: failure(409, "Conflict", "somebody was quicker"))
            await asyncio.sleep(1)

    run(life())
    assert len(cluster.all(JOBS.plural)) == 1
    assert ("GET", f"/apis/boresight.dev/v1alpha1/namespaces/{NAMESPACE}/alignmentruns/first") in cluster.requests


def test_what_the_api_server_does_not_take_is_said_and_tried_again() -> None:
    cluster = Cluster()

    async def life() -> dict[str, Any]:
        async with Running(cluster):
            quota = failure(403, "Forbidden", "exceeded quota: pods")
            cluster.intercept = lambda method, path: (
                quota if (method, path.split("/")[-1]) == ("POST", "jobs") else None
            )
            cluster.put("alignmentruns", a_run())
            await asyncio.sleep(5)
            refused = stage(cluster.run(), "prepare")
            cluster.intercept = lambda method, path: None
            await asyncio.sleep(200)
            return refused

    refused = run(life())
    assert (refused["state"], "exceeded quota: pods" in refused["message"]) == ("Waiting", True)
    assert len(cluster.all(JOBS.plural)) == 1
    assert stage(cluster.run(), "prepare")["state"] == "Running"


def test_a_foreign_object_under_our_name_is_a_conflict_and_stays_as_it_is() -> None:
    cluster, foreign = Cluster(), {"data": {"mine": "1"}}

    async def life() -> None:
        async with Running(cluster):
            cluster.put("alignmentruns", a_run())
            await asyncio.sleep(1)
        job = jobs_by_stage(cluster)["prepare"]["metadata"]["name"]
        uid = cluster.run()["metadata"]["uid"]
        other = Cluster()
        other.put(CONFIG_MAPS.plural, {"metadata": {"name": job}, **foreign})
        other.put("alignmentruns", {**a_run(), "metadata": {"name": "first", "uid": uid}})
        async with Running(other):
            await asyncio.sleep(5)
        assert condition(other.run(), "Stalled") == ("True", "NameConflict")
        assert other.objects[CONFIG_MAPS.plural, job]["data"] == foreign["data"]
        assert other.all(JOBS.plural) == []

    run(life())


def test_two_runs_that_are_ready_at_the_same_moment_start_one_attempt_of_a_key() -> None:
    cluster = Cluster()

    async def life() -> None:
        async with Running(cluster):
            cluster.put("alignmentruns", a_run("one"))
            cluster.put("alignmentruns", a_run("two"))
            await prepared(cluster, "one", "two")

    run(life())
    keyed = [job for job in cluster.all(JOBS.plural) if "boresight.dev/key" in job["metadata"]["annotations"]]
    assert [job["metadata"]["labels"]["boresight.dev/run"] for job in keyed] == ["one"]
    assert stage(cluster.run("two"), "feedback-model")["reason"] == "SameKeyRunning"


def test_who_waited_for_a_claim_that_came_to_nothing_takes_over() -> None:
    """ "one" is edited at the moment at which it would have claimed the key, so nobody ever sees it claim it."""
    cluster = Cluster()

    async def life() -> None:
        async with Running(cluster):
            cluster.put("alignmentruns", a_run("one"))
            cluster.put("alignmentruns", a_run("two"))
            await asyncio.sleep(1)

            def edit(method: str, path: str) -> Answer | None:
                if method != "PATCH" or not path.endswith("one/status"):
                    return None
                cluster.intercept = lambda method, path: None
                cluster.put("alignmentruns", {**cluster.run("one"), "spec": a_run(suspend=True)["spec"]})
                return failure(409, "Conflict", "edited")

            cluster.intercept = edit
            await prepared(cluster, "one", "two")
            await asyncio.sleep(5)

    run(life())
    keyed = [job for job in cluster.all(JOBS.plural) if "boresight.dev/key" in job["metadata"]["annotations"]]
    assert [job["metadata"]["labels"]["boresight.dev/run"] for job in keyed] == ["two"]


def test_a_status_that_is_not_taken_holds_up_no_run_with_the_same_key() -> None:
    cluster = Cluster()

    async def life() -> None:
        async with Running(cluster):
            cluster.put("alignmentruns", a_run("one"))
            cluster.put("alignmentruns", a_run("two"))
            await asyncio.sleep(1)
            refused = failure(422, "Invalid", "the CRD is older than the operator")
            cluster.intercept = lambda method, path: refused if path.endswith("/one/status") else None
            await prepared(cluster, "one", "two")
            await asyncio.sleep(5)

    run(life())
    keyed = [job for job in cluster.all(JOBS.plural) if "boresight.dev/key" in job["metadata"]["annotations"]]
    assert [job["metadata"]["labels"]["boresight.dev/run"] for job in keyed] == ["two"]


TOO_OLD = (
    "failed to create typed patch object (team/first; AlignmentRun): .status.prepared: field not declared in schema"
)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, "", TOO_OLD), "CustomResourceDefinition alignmentruns.boresight.dev is older than this operator"),
        ((422, "Invalid", "status.stages[0].state: Unsupported value"), "may be of another release"),
    ],
    ids=["field that the schema lacks", "value that the schema lacks"],
)
def test_a_status_that_an_older_crd_does_not_take_says_what_to_do_and_makes_nothing(
    answer: tuple[int, str, str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster()

    async def life() -> None:
        cluster.intercept = lambda method, path: failure(*answer) if path.endswith("/status") else None
        async with Running(cluster):
            cluster.put("alignmentruns", a_run())
            await asyncio.sleep(30)
            assert cluster.all(JOBS.plural) == []
            cluster.intercept = lambda method, path: None
            await asyncio.sleep(100)
            assert cluster.all(JOBS.plural)

    run(life())
    told = [record.getMessage() for record in caplog.records if said in record.getMessage()]
    assert told
    assert all("kubectl apply --server-side -f crds/" in line for line in told)


def test_a_job_does_not_wait_for_what_is_told_of_it() -> None:
    cluster = Cluster()

    async def life() -> None:
        async with Running(cluster):
            cluster.put("alignmentruns", a_run())
            await prepared(cluster, "first")

    run(life())
    made = [path.split("/")[-1] for method, path in cluster.requests if method == "POST"]
    assert made[-2:] == ["jobs", "events"]


def test_runs_at_the_namespaces_limit_go_on_as_others_end() -> None:
    cluster = Cluster()
    limited = NamespaceSettings(storage={"uri": STORE}, limits=Limits(max_runs=1))

    async def life() -> tuple[str, list[str]]:
        async with Running(cluster, settings(defaults=limited)):
            cluster.put("alignmentruns", a_run("one"))
            await asyncio.sleep(1)
            cluster.put("alignmentruns", a_run("two"))
            await asyncio.sleep(1)
            reason = stage(cluster.run("two"), "prepare")["reason"]
            cluster.remove("alignmentruns", "one")
            await asyncio.sleep(1)
            return reason, [job["metadata"]["labels"]["boresight.dev/run"] for job in cluster.all(JOBS.plural)]

    assert run(life()) == ("NamespaceLimit", ["two"])


def test_a_run_that_always_fails_holds_up_no_other() -> None:
    cluster = Cluster()

    async def life() -> int:
        refused = failure(500, "InternalError", "no")
        cluster.intercept = lambda method, path: refused if path.endswith("bad/status") else None
        async with Running(cluster):
            cluster.put("alignmentruns", a_run("bad"))
            for number in range(10):
                cluster.put("alignmentruns", a_run(f"good-{number}"))
            await asyncio.sleep(2)
            before = len(cluster.all(JOBS.plural))
            cluster.intercept = lambda method, path: None
            await asyncio.sleep(120)
            return before

    assert run(life()) == 10
    assert len(cluster.all(JOBS.plural)) == 11


def test_an_event_that_cannot_be_posted_fails_nothing() -> None:
    cluster = Cluster()

    async def life() -> float:
        forbidden = failure(403, "Forbidden", "events")
        cluster.intercept = lambda method, path: (
            forbidden if (method, path.split("/")[-1]) == ("POST", "events") else None
        )
        async with Running(cluster) as operator:
            cluster.put("alignmentruns", a_run())
            await prepared(cluster, "first")
            return operator.telemetry.registry.get_sample_value("boresight_events_failed_total") or 0

    assert run(life()) > 0
    assert stage(cluster.run(), "feedback-model")["state"] == "Running"


def test_pins_come_back_from_the_saved_plan_when_the_status_is_lost() -> None:
    cluster = Cluster()

    async def life() -> tuple[Any, Any]:
        async with Running(cluster):
            cluster.put("alignmentruns", a_run())
            await prepared(cluster, "first")
            before = cluster.run()["status"]
            for job in list(cluster.all(JOBS.plural)):  # the report of prepare is gone too
                if job["metadata"]["labels"]["boresight.dev/stage"] == "prepare":
                    cluster.remove(JOBS.plural, job["metadata"]["name"])
            cluster.put("alignmentruns", {**cluster.run(), "status": {}, "applied": {}})
            await asyncio.sleep(2)
            job = jobs_by_stage(cluster)["prepare"]
            told.append(
                json.loads(cluster.objects[CONFIG_MAPS.plural, job["metadata"]["name"]]["data"]["prepare.json"])
            )
            cluster.end(job, outcome_of(cluster, job, cluster.run()))
            await asyncio.sleep(2)
            return before, cluster.run()["status"]

    told: list[dict[str, Any]] = []
    before, after = run(life())
    assert {pin["digest"] for pin in told[0]["pins"]} == {DIGEST}
    assert after["sources"] == before["sources"]
    assert after["plan"] == before["plan"]
    assert len([job for job in cluster.all(JOBS.plural) if "boresight.dev/key" in job["metadata"]["annotations"]]) == 1


def test_a_newer_operators_status_is_left_alone() -> None:
    cluster = Cluster()
    newer = {"plan": "ab" * 32, "hologram": {"x": 1}}

    async def life() -> None:
        stored = cluster.put("alignmentruns", a_run())
        cluster.put("alignmentruns", {**stored, "status": newer, "applied": {"boresight": newer}})
        async with Running(cluster):
            await asyncio.sleep(100)

    run(life())
    status = cluster.run()["status"]
    assert (status["plan"], status["hologram"]) == (newer["plan"], newer["hologram"])
    assert condition(cluster.run(), "Accepted") == ("Unknown", "NewerVersion")
    assert [path for method, path in cluster.requests if method != "GET"] == [
        f"/apis/boresight.dev/v1alpha1/namespaces/{NAMESPACE}/alignmentruns/first/status"
    ]


def test_a_field_of_the_status_that_somebody_else_keeps_is_not_fought_over(caplog: pytest.LogCaptureFixture) -> None:
    """An apply removes only what its own manager once applied: more of them would change nothing either."""
    cluster = Cluster()
    theirs = {"keyMetric": "winRate 0.99"}

    async def life() -> int:
        stored = cluster.put("alignmentruns", a_run())
        cluster.put("alignmentruns", {**stored, "status": theirs, "applied": {"somebody": theirs}})
        async with Running(cluster):
            await asyncio.sleep(20)
            before = len(cluster.requests)
            await asyncio.sleep(600)
            return sum(method != "GET" and "leases" not in path for method, path in cluster.requests[before:])

    assert run(life()) <= 2, "what there is to say of its pod, and once more that this changes nothing of theirs"
    assert stage(cluster.run(), "prepare")["attempt"] == 1, "the run goes on"
    assert "status.keyMetric is kept by another field manager" in caplog.text


@pytest.mark.parametrize("plural", ["alignmentruns"])
def test_nothing_is_made_for_a_run_that_is_gone(plural: str) -> None:
    cluster = Cluster()

    async def life() -> None:
        async with Running(cluster):
            cluster.put(plural, a_run())
            cluster.intercept = lambda method, path: (
                cluster.remove(plural, "first")
                if path.endswith("first/status") and (plural, "first") in cluster.objects
                else None
            )
            await asyncio.sleep(100)

    run(life())
    assert cluster.all(JOBS.plural) == cluster.all(CONFIG_MAPS.plural) == []
    assert len([method for method, _ in cluster.requests if method != "GET"]) == 1
