"""Faults that random histories have found, each as the shortest story that shows it; and the sweep of the issue."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from boresight_operator import api
from boresight_operator.settings import Limits
from builders_manifests import an_alignment_run
from simulation.history import Story, Told, tell
from simulation.process import Call
from simulation.registry import uid_of
from simulation.scenarios import SCENARIOS, uncharged, with_beta
from simulation.workload import Behaviour
from simulation.world import STORAGE, Faults, Process

FOUND: list[Story] = []


def found(story: Story) -> Story:
    """Register."""
    FOUND.append(story)
    return story


@found
async def pods_outlive_the_job_of_a_run_that_was_deleted(told: Told) -> None:
    """The next run with the key begins when the last pod has ended, not when the Job is gone."""
    told.world.behave = lambda pod: Behaviour(ignores_sigterm=True)
    told.user.apply(with_beta("0.1"), "one")
    await asyncio.sleep(2)
    told.user.apply(with_beta("0.2"), "two")
    await told.works("one", "feedback-model")
    told.user.delete("one")
    await told.end_of("two", "True")


@found
async def a_number_outlives_the_status(told: Told) -> None:
    """The Job of attempt 1 still ends when the status is lost: the next attempt is 2."""
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "prepare")
    told.user.lose_status("first")
    await told.end_of("first", "True")
    assert told.stage("first", "prepare")["attempt"] == 2


@found
async def a_status_without_a_number_heals(told: Told) -> None:
    """Somebody edits a stage to Starting, with no attempt named."""
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "feedback-model")
    status = told.user.run("first")["status"]
    stages = [{**stage, "state": "Starting"} if stage["name"] == "evaluation" else stage for stage in status["stages"]]
    told.user.lose_status("first", {**status, "stages": stages})
    await told.end_of("first", "True")


@found
async def a_job_works_in_its_store_though_the_run_has_moved(told: Told) -> None:
    """Its key there is taken until its pods have ended."""
    told.world.behave = lambda pod: Behaviour(ignores_sigterm=True)
    told.user.apply(with_beta("0.1"), "one")
    await asyncio.sleep(2)
    told.user.apply(with_beta("0.1"), "two")
    await told.works("one", "feedback-model")
    await told.state("two", "feedback-model", "Waiting")
    told.user.move("one", "s3://store/other")
    await told.end_of("one", "True")
    await told.end_of("two", "True")
    assert len({storage for storage, _, _ in told.world.store.published}) == 2


@found
async def retention_leaves_alone_what_is_under_way(told: Told) -> None:
    """A run that says Failed while its prepare still runs must not delete that Job, again and again."""
    told.user.apply(an_alignment_run(retainPodsSeconds=1), "first")
    await told.works("first", "prepare")
    status = told.user.run("first")["status"]
    stages = [{**stage, "state": "Failed"} if stage["name"] == "policy" else stage for stage in status["stages"]]
    told.user.lose_status("first", {**status, "stages": stages})
    await told.rest()
    await told.idle()
    assert len([place for place in told.invariants.numbers if place[1] == "prepare"]) <= 2


@found
async def a_pod_deleted_by_hand_costs_nothing(told: Told) -> None:
    """Also if it dies by SIGKILL and is gone before its Job says that it failed."""
    fates = iter([Behaviour(), Behaviour(seconds=200, ignores_sigterm=True)])
    told.world.behave = lambda pod: next(fates, Behaviour())
    told.world.faults = Faults(controller_lag=5.0)
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "feedback-model")
    told.user.delete_pod(told.running("first", "feedback-model")[0])
    await told.end_of("first", "True")
    uncharged(told.stage("first", "feedback-model"))


@found
async def a_run_that_is_deleted_in_the_middle_gets_nothing_more(told: Told) -> None:
    """Between the status and the first object of the attempt."""
    told.user.apply(an_alignment_run(), "first")
    told.world.faults = Faults(watch_lag={api.ALIGNMENT_RUNS: 0.001}, latency=0.2)
    gone: list[Call] = []

    def delete(process: Process, call: Call) -> None:
        if "networkpolicies" in call.path and not gone:
            gone.append(call)
            told.world.loop.call_soon(told.user.delete, "first")

    told.world.on_request = delete
    await told.until(lambda: bool(gone), "the first object is made")
    await asyncio.sleep(30)
    assert not told.invariants.numbers
    told.invariants.nothing_left()


@found
async def one_of_two_makes_a_lost_artifact_again(told: Told) -> None:
    """Both have seen that it is missing; the one that comes later takes what the other has made."""
    for name, beta in (("one", "0.1"), ("two", "0.2")):
        told.user.apply(with_beta(beta, stopAfter="FeedbackModel"), name)
    for name in ("one", "two"):
        await told.state(name, "synthesis", "Waiting")
    key = told.stage("one", "feedback-model")["key"]
    told.user.remove_artifact(STORAGE, key)
    for name in ("one", "two"):
        told.user.edit(name, {"stopAfter": None})
    for name in ("one", "two"):
        await told.end_of(name, "True")
    assert Counter(made for _, made, _ in told.world.store.published)[key] == 2


@found
async def a_pod_that_nobody_has_told_of_outlives_its_run(told: Told) -> None:
    """The watch of pods is half a minute behind: that a Job is gone is known before it had a pod."""
    told.world.behave = lambda pod: Behaviour(ignores_sigterm=True)
    told.world.faults = Faults(watch_lag={api.PODS: 30.0})
    names = ("one", "two")
    for name, beta in zip(names, ("0.1", "0.2"), strict=True):
        told.user.apply(with_beta(beta), name)
    await told.until(lambda: any(told.running(name, "feedback-model") for name in names), "a pod is made")
    first, other = sorted(names, key=lambda name: not told.running(name, "feedback-model"))
    await told.state(other, "feedback-model", "Waiting")
    told.user.delete(first)
    await told.end_of(other, "True")


@found
async def the_end_of_a_pod_that_is_told_late_is_not_lost(told: Told) -> None:
    """The watch of pods is half a minute behind that of Jobs, as in an operator that has just begun and is busy."""
    told.world.faults = Faults(watch_lag={api.PODS: 25.0})
    told.user.apply(an_alignment_run(), "first")
    await told.end_of("first", "True")
    attempts = {stage["name"]: stage["attempt"] for stage in told.user.run("first")["status"]["stages"]}
    assert set(attempts.values()) == {1}, attempts


@found
async def a_store_is_changed_while_prepare_looks_into_the_one_before(told: Told) -> None:
    """And an operator hears of both at once, having been away: what was found is not in the new store."""
    told.user.apply(an_alignment_run(), "one")
    await told.end_of("one", "True")
    told.user.apply(an_alignment_run(), "two")
    await told.works("two", "prepare")
    for process in tuple(told.world.processes.values()):
        told.world.kill(process, restart_after=60.0)
    await asyncio.sleep(30)
    told.user.move("two", "s3://store/other")
    await told.end_of("two", "True")


def test_the_devices_of_a_run_that_was_deleted_are_in_use_until_its_pods_have_ended() -> None:
    async def story(told: Told) -> None:
        told.world.behave = lambda pod: Behaviour(seconds=600, ignores_sigterm=True)
        told.user.apply(with_beta("0.1"), "one")
        await told.works("one", "feedback-model")
        pod = told.running("one", "feedback-model")[0]
        told.user.apply(an_alignment_run(seed=7), "two")
        await told.until(lambda: told.stage("two", "feedback-model").get("reason") == "NamespaceLimit", "two waits")
        told.user.delete("one")
        await told.until(lambda: bool(told.user.jobs("two", "feedback-model")), "two goes on")
        assert uid_of(pod) not in told.world.registry.by_uid
        await told.end_of("two", "True")
        await told.end()

    tell(story, limits=Limits(max_devices=1))


@pytest.mark.parametrize("story", FOUND, ids=lambda story: story.__name__)
def test_what_was_found_stays_away(story: Story) -> None:
    tell(story)


CLOCKS = ("one_run", "infrastructure_fails", "no_container", "node_lost", "cleaned_up", "evicted_from_the_queue")
"""Scenarios in which something takes its time: back-off, time to start, a lost node, retention, a queue."""


@pytest.mark.parametrize("name", CLOCKS)
def test_an_hour_between_the_clocks_of_operator_and_api_server_changes_nothing(name: str) -> None:
    """Whatever is written, and when, is the same; the Lease, which has the holder's time in it, is not compared."""

    def history(skew: float) -> list[tuple[float, str, str, object]]:
        world = tell(SCENARIOS[name], quick=True, operator_skew=skew, standby=True).world
        return [(change.time, change.type, change.resource.kind, change.new) for change in world.writes]

    right = history(0.0)
    assert len(right) > 20
    for skew in (3600.0, -3600.0):
        assert history(skew) == right


def test_a_sweep_of_twenty_betas_trains_one_feedback_model_and_synthesises_once() -> None:
    async def sweep(told: Told) -> None:
        names = [f"sweep-{number}" for number in range(20)]
        for number, name in enumerate(names):
            told.user.apply(with_beta(f"0.{number + 10}"), name)
        for name in names:
            await told.end_of(name, "True")

    told = tell(sweep)
    made = Counter(told.invariants.attempts[uid].stage for uid in told.invariants.numbers.values())
    assert (made["prepare"], made["feedback-model"], made["synthesis"], made["policy"]) == (20, 1, 1, 20)
    tried = [told.stage(f"sweep-{number}", "feedback-model").get("attempt") for number in range(20)]
    assert sorted(tried, key=str) == [1, *[None] * 19], "none begins and gives up"
    assert len({key for _, key, _ in told.world.store.published}) == len(told.world.store.published) == 2 + 2 * 20


def test_the_writes_of_a_quiet_run_are_few() -> None:
    """Per stage: ConfigMap, Job, and the status as it changes; per run three more."""

    async def one(told: Told) -> None:
        told.user.apply(an_alignment_run(), "first")
        await told.end_of("first", "True")
        told.writes = len(told.world.writes)  # type: ignore[attr-defined]

    told = tell(one)
    stages = len(told.user.run("first")["status"]["stages"])
    assert told.writes <= 6 * stages + 3, told.invariants.writes_by_kind()  # type: ignore[attr-defined]
    assert uid_of(told.user.run("first"))
