"""Guards of the operator, and a history that fails without each: the proof that the simulation would notice.

A mutation takes one guard away from the shipped code for one history. ``MUTATIONS`` names the guard, takes it away, and
tells the history in which it matters.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from boresight_api.outcome import FailureClass
from boresight_operator import api, cache, client, effects, elector, lister, operator, reconcile, siblings
from boresight_operator import claims as what_is_said
from boresight_operator.decide import attempts, budgets, claims, classify, start
from builders_manifests import an_alignment_run

from .history import Story, Told
from .process import Call
from .registry import name_of
from .scenarios import SCENARIOS, fails, with_beta
from .workload import Behaviour
from .world import NAMESPACE, Faults, Process


@dataclass(frozen=True)
class Mutation:
    """A guard, how to take it away, and where that shows."""

    name: str
    without: Callable[[], contextlib.AbstractContextManager[Any]]
    story: Story


MUTATIONS: list[Mutation] = []


def guard(name: str, without: Callable[[], contextlib.AbstractContextManager[Any]]) -> Callable[[Story], Story]:
    """Register a story for a guard."""

    def register(story: Story) -> Story:
        MUTATIONS.append(Mutation(name, without, story))
        return story

    return register


# -- the shipped functions without their guard -----------------------------------------------------------------------


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


_BODY = reconcile.body


def _unpinned(run: Any, content: Any, *, pinned: bool) -> Any:
    return _BODY(run, content, pinned=False)


async def _effects_first(self: reconcile.Reconciler, uid: str) -> float | None:
    observation = await self._observer.observe(uid)
    if observation is None:
        return None
    decision = reconcile.decide(observation)
    self._siblings.reserve(observation.run, decision.status)
    did = await self._effects.perform(observation, decision.effects)
    wrote = await self._store(observation, decision)
    self._siblings.release(uid)
    return 0.05 if wrote or did else decision.requeue_after


async def _delete_by_name(
    self: client.Client, resource: api.Resource, namespace: str, name: str, uid: str, *, propagation: str = "Background"
) -> None:
    body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
    request = client.Request("delete", "DELETE", resource, resource.path(namespace, name), 10.0, body=body)
    with contextlib.suppress(client.NotFound):
        await self._send(request)


def _never_ours(resource: api.Resource, stored: Any, body: Any) -> None:
    raise client.AlreadyExists(409, "AlreadyExists", "it is there")


async def _create_only(self: effects.Effects, observation: Any, resource: api.Resource, body: Any) -> Any:
    return await self._api.create(resource, observation.run.namespace, body)


def _never_taken() -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    stack.enter_context(patch.object(client, "_check_ours", _never_ours))
    stack.enter_context(patch.object(effects.Effects, "_create", _create_only))
    return stack


async def _at_once(self: lister.Lister, moment: float) -> None:
    return None


def _lost_is_pending(draft: Any, stage: Any, job: Any, reason: str, message: str) -> None:
    stage = draft.close(stage, job, reason, message)
    draft.move(stage, attempts.State.PENDING, reason, message)


def _believe_all(message: str, expected: Any) -> tuple[Any, str]:
    try:
        return classify.Outcome.parse(message.encode()), ""
    except ValueError:
        return None, "it is no outcome"


_CHARGE = budgets._charge


def _charge_nothing(draft: Any, stage: Any, verdict: Any, counter: str, limit: int) -> None:
    _CHARGE(draft, stage, verdict, counter, 99)


async def _never_again(self: operator.Operator, uid: str) -> None:
    with contextlib.suppress(operator.ApiError, operator.LeaseOver):
        await self._reconciler.reconcile(uid)


# -- one attempt of a key --------------------------------------------------------------------------------------------


@guard("what is decided is reserved at once", lambda: patch.object(siblings.Siblings, "reserve", _nothing))
async def both_may_start_at_once(told: Told) -> None:
    """Two runs with one key are let go in the same moment."""
    for name, beta in (("one", "0.1"), ("two", "0.2")):
        told.user.apply(with_beta(beta, stopAfter="Prepare"), name)
    for name in ("one", "two"):
        await told.state(name, "feedback-model", "Waiting")
    told.world.faults = Faults(watch_lag=dict.fromkeys(api.RUNS, 0.001), latency=0.5)
    for name in ("one", "two"):
        told.user.edit(name, {"stopAfter": None})
    await told.end_of("one", "True")


@guard("a key that another run works on is waited for", lambda: patch.object(claims, "in_the_way", _nothing))
async def one_key_of_two(told: Told) -> None:
    """As it says."""
    await SCENARIOS["shared_keys"](told)


@guard("who waits for a key hears of it", lambda: patch.object(what_is_said.Claims, "freed", lambda *_: []))
async def taken_from_another(told: Told) -> None:
    """The second run becomes Cached as soon as the first has the artifact."""
    await SCENARIOS["shared_keys"](told)


@guard(
    "the pods of the attempt before are waited for", lambda: patch.object(start, "_waits_for_pods", lambda *_: False)
)
async def slow_to_end(told: Told) -> None:
    """Suspended and resumed at once, while the pod takes its whole grace period."""
    told.world.behave = lambda pod: Behaviour(seconds=200, ignores_sigterm=True)
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "feedback-model")
    told.user.suspend("first")
    await told.state("first", "feedback-model", "Suspended")
    told.user.resume("first")
    await asyncio.sleep(60)


# -- writing ---------------------------------------------------------------------------------------------------------


@guard("a status is written on what it was decided on", lambda: patch.object(reconcile, "body", _unpinned))
async def edited_behind_its_back(told: Told) -> None:
    """The edit is stored, and not heard of yet, when the next status is written."""
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "feedback-model")
    told.world.faults = Faults(watch_lag={api.ALIGNMENT_RUNS: 300.0})
    told.user.edit("first", {"policy": {"dpo": {"beta": "0.9"}}})
    await told.state("first", "feedback-model", "Succeeded")


@guard(
    "the status names an attempt before anything of it exists",
    lambda: patch.object(reconcile.Reconciler, "reconcile", _effects_first),
)
async def names_first(told: Told) -> None:
    """Any run."""
    await SCENARIOS["one_run"](told)


@guard("an object is deleted by UID, not by name", lambda: patch.object(client.Client, "delete", _delete_by_name))
async def a_foreign_job_has_the_name(told: Told) -> None:
    """The Job is gone, somebody made another one of that name, and no watch has said so yet."""
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "feedback-model")
    told.world.faults = Faults(watch_lag={api.JOBS: 500.0, api.PODS: 500.0})
    job = told.user.jobs("first", "feedback-model")[-1]
    told.user.delete_job(job)
    foreign = {"metadata": {"name": name_of(job)}, "spec": {"suspend": True, "template": job["spec"]["template"]}}
    told.world.registry.create(api.JOBS, NAMESPACE, foreign, "somebody")
    told.user.suspend("first")
    await asyncio.sleep(20)


@guard("only the holder of the Lease writes", lambda: patch.object(elector.Elector, "check", _nothing))
async def stopped_in_the_middle(told: Told) -> None:
    """The leader is stopped after an answer, the standby takes over, the old one goes on where it was."""
    told.user.apply(an_alignment_run(), "first")
    told.world.start_operator("operator-b")
    stopped: list[Process] = []

    def stop(process: Process, call: Call) -> None:
        if not stopped and call.method == "POST" and "configmaps" in call.path:
            stopped.append(process)
            told.world.stop(process)
            told.world.loop.call_later(150, told.world.go_on, process)

    told.world.on_answer = stop
    await told.end_of("first", "True")


@guard("an object of ours that exists already is ours", _never_taken)
async def made_and_not_heard_of(told: Told) -> None:
    """The first ConfigMap was created, the answer was lost. (Of a Job the watch would tell.)"""
    told.user.apply(an_alignment_run(), "first")
    lost: list[Call] = []

    def lose(process: Process, call: Call) -> None:
        if call.method == "POST" and call.path.endswith("/configmaps") and not lost:
            lost.append(call)
            call.lose_answer = True

    told.world.on_request = lose
    await told.end_of("first", "True")


# -- what is known ---------------------------------------------------------------------------------------------------


@guard("a list is the truth", lambda: patch.object(cache.Listing, "_forget", lambda *args, **kwargs: set()))
async def deleted_unseen(told: Told) -> None:
    """A Job is deleted while the watches are cut; kopf lists again and says nothing of it."""
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "feedback-model")
    for process in told.world.alive():
        for resource in (api.JOBS, api.PODS):
            process.streams[resource].cut()
    told.user.delete_job(told.user.jobs("first", "feedback-model")[-1])
    await asyncio.sleep(60)
    for process in told.world.alive():
        for resource in (api.JOBS, api.PODS):
            process.streams[resource].relist()
    await told.end_of("first", "True")


@guard("a new leader lists before it works", lambda: patch.object(lister.Lister, "wait_for_lists_since", _at_once))
async def a_standby_that_is_behind(told: Told) -> None:
    """The standby has heard of the run's status, not of its Job."""
    told.world.start_operator("operator-b")
    await asyncio.sleep(20)
    standby = next(process for process in told.world.alive() if process.name == "operator-b")
    for resource in (api.JOBS, api.PODS):
        standby.streams[resource].cut()
    told.world.behave = lambda pod: Behaviour(seconds=200)
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "prepare")
    for process in told.world.alive():
        if process is not standby:
            told.world.kill(process, restart_after=None)
    await told.state("first", "prepare", "Succeeded")
    assert told.stage("first", "prepare")["attempt"] == 1, "prepare was thought to be lost"


@guard("lost work is looked for before it is done again", lambda: patch.object(attempts, "lost", _lost_is_pending))
async def finished_unseen(told: Told) -> None:
    """The stage ends, and its Job is deleted, while no operator is there."""
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "feedback-model")
    for process in told.world.alive():
        told.world.kill(process, restart_after=300)
    await asyncio.sleep(120)
    for job in told.user.jobs("first", "feedback-model"):
        told.user.delete_job(job)
    await told.end_of("first", "True")
    made = [place for place in told.invariants.numbers if place[1] == "feedback-model"]
    assert len(made) == 1, "a device was asked for though the artifact was there"


# -- outcomes and budgets --------------------------------------------------------------------------------------------


@guard("an outcome is believed for its own key", lambda: patch.object(classify, "read_outcome", _believe_all))
async def claims_another_key(told: Told) -> None:
    """A pod that says it made something else."""
    fails(told, {("feedback-model", 1): Behaviour(claims_key="f" * 64)})
    told.user.apply(an_alignment_run(), "first")
    await told.end_of("first", "True")


@guard(
    "a preempted attempt is free",
    lambda: patch.object(classify, "_class_of", lambda cause: FailureClass.INFRASTRUCTURE),
)
async def free(told: Told) -> None:
    """As it says."""
    await SCENARIOS["preempted"](told)


@guard("a budget ends", lambda: patch.object(budgets, "_charge", _charge_nothing))
async def ends(told: Told) -> None:
    """As it says."""
    await SCENARIOS["budgets_end"](told)


@guard("no number is given twice", lambda: patch.object(start, "next_attempt", lambda *_: 1))
async def another_number(told: Told) -> None:
    """After a Job that is gone, so that its name is free."""
    await SCENARIOS["job_deleted_by_hand"](told)


@guard(
    "what only time can change is looked at in time",
    lambda: patch.object(operator.Operator, "_reconcile", _never_again),
)
async def after_its_back_off(told: Told) -> None:
    """As it says."""
    await SCENARIOS["infrastructure_fails"](told)
