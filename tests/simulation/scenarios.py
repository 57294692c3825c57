"""Named histories. Each is told as it is, and once for each of its requests with a crash before or after that one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from boresight_api.outcome import FailureClass
from boresight_operator import api
from boresight_operator.api import Object
from builders_manifests import KEY, a_synthesis, an_alignment_run, an_eval_run

from .history import Story, Told, condition_of, shown
from .registry import controller_of, uid_of
from .workload import Behaviour, digest_of
from .world import STORAGE

STAGES = ("feedback-model", "synthesis", "policy", "evaluation")
SCENARIOS: dict[str, Story] = {}


def scenario(story: Story) -> Story:
    """Register."""
    SCENARIOS[story.__name__] = story
    return story


def with_beta(beta: str, **spec: Any) -> dict[str, Any]:
    """An AlignmentRun; runs with different beta share everything before the policy."""
    return an_alignment_run(policy={"dpo": {"beta": beta}}, **spec)


def on_nodes(number: int) -> dict[str, Any]:
    """Synthesis on several pods."""
    return an_alignment_run(synthesis={"compute": {"nodes": number}})


def job_of(told: Told, pod: Object) -> Object:
    """The Job of a pod."""
    owner = controller_of(pod)
    assert owner is not None
    return told.world.registry.by_uid[owner["uid"]][1]


def stage_of(told: Told, pod: Object) -> tuple[str, int]:
    """Name of the stage and number of the attempt that a pod works for."""
    labels = pod["metadata"]["labels"]
    return labels["boresight.dev/stage"], int(labels["boresight.dev/attempt"])


def fails(told: Told, fates: Mapping[tuple[str, int], Behaviour]) -> None:
    """Choose how attempts fare; all others succeed."""
    told.world.behave = lambda pod: fates.get(stage_of(told, pod), Behaviour())


def published(told: Told) -> list[str]:
    """Keys in the order of their making."""
    return [key for _, key, _ in told.world.store.published]


def worked_at_most_once(told: Told) -> None:
    """No key was computed by two attempts."""
    keys = [key for _, key, _ in told.world.store.worked]
    assert len(keys) == len(set(keys)), "a key was worked on twice"


@scenario
async def one_run(told: Told) -> None:
    """The whole life of a run."""
    told.user.apply(an_alignment_run(), "first")
    await told.end_of("first", "True")
    assert len(published(told)) == len(STAGES), shown(told.world)
    await told.end()


@scenario
async def three_kinds(told: Told) -> None:
    """All kinds, with inputs that exist."""
    told.world.store.artifacts[STORAGE, KEY] = digest_of("made elsewhere")
    told.user.apply(a_synthesis(), "pairs")
    told.user.apply(an_eval_run(), "report")
    told.user.apply(with_beta("0.1", evaluation={"suites": [{"name": "Holdout"}]}), "first")
    for name in ("pairs", "report", "first"):
        await told.end_of(name, "True")
    await told.end()


@scenario
async def shared_keys(told: Told) -> None:
    """Two runs that differ in beta: one feedback model, one synthesis, and a policy and an evaluation each."""
    told.user.apply(with_beta("0.1"), "one")
    told.user.apply(with_beta("0.2"), "two")
    await told.end_of("one", "True")
    await told.end_of("two", "True")
    assert len(published(told)) == 6
    worked_at_most_once(told)
    assert {told.stage(name, "synthesis")["state"] for name in ("one", "two")} == {"Succeeded", "Cached"}
    await told.end()


@scenario
async def oldest_is_deleted(told: Told) -> None:
    """Who works is deleted; who waited takes over."""
    told.user.apply(with_beta("0.1"), "one")
    await asyncio.sleep(2.0)
    told.user.apply(with_beta("0.2"), "two")
    at_work: list[str] = []

    def somebody_works() -> bool:
        at_work[:] = [name for name in ("one", "two") if told.running(name, "feedback-model")]
        return bool(at_work)

    await told.until(somebody_works, "feedback-model runs")
    told.user.delete(at_work[0])
    await told.end_of({"one": "two", "two": "one"}[at_work[0]], "True")
    await told.end()


@scenario
async def edited(told: Told) -> None:
    """Another beta while the policy trains: the policy begins anew, nothing before it."""
    told.user.apply(with_beta("0.1"), "first")
    await told.works("first", "policy")
    old = told.stage("first", "policy")["key"]
    told.user.edit("first", {"policy": {"dpo": {"beta": "0.5"}}})
    await told.end_of("first", "True")
    assert told.stage("first", "policy")["key"] != old
    assert len(set(published(told)) - {old}) == len(STAGES)
    await told.end()


@scenario
async def suspended_and_resumed(told: Told) -> None:
    """Its pod goes, its checkpoint stays, nothing is charged. (A late operator may find the stage finished.)"""
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "feedback-model")
    told.user.suspend("first")
    await told.state("first", "feedback-model", "Suspended", "Succeeded")
    await told.until(lambda: not told.running("first", "feedback-model"), "its pod goes")
    told.user.resume("first")
    await told.end_of("first", "True")
    uncharged(told.stage("first", "feedback-model"))
    await told.end()


def uncharged(stage: Mapping[str, Any]) -> None:
    """No budget of the stage was touched."""
    for budget in ("infrastructureRetries", "errorRetries", "outOfMemoryRetries", "missingInputRetries"):
        assert not stage.get(budget), f"{budget} is {stage[budget]}"


@scenario
async def preempted(told: Told) -> None:
    """Somebody more important takes the node; nothing is charged."""
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "feedback-model")
    told.world.kubelet.evict(uid_of(told.running("first", "feedback-model")[0]))
    await told.end_of("first", "True")
    stage = told.stage("first", "feedback-model")
    uncharged(stage)
    assert stage["preemptions"] == 1
    await told.end()


@scenario
async def infrastructure_fails(told: Told) -> None:
    """Two faults of the infrastructure and one of the program, within their budgets."""
    infrastructure = Behaviour(fails=FailureClass.INFRASTRUCTURE)
    fates = {
        ("feedback-model", 1): infrastructure,
        ("feedback-model", 2): Behaviour(exit_code=137),
        ("synthesis", 1): Behaviour(oom_killed=True),
        ("policy", 1): Behaviour(rubbish="Traceback: boom", exit_code=70),
    }
    fails(told, fates)
    told.user.apply(an_alignment_run(), "first")
    await told.end_of("first", "True")
    assert told.stage("first", "feedback-model").get("infrastructureRetries") == 1
    assert told.stage("first", "feedback-model").get("errorRetries") == 1
    assert told.stage("first", "synthesis").get("outOfMemoryRetries") == 1
    assert told.stage("first", "policy").get("errorRetries") == 1
    await told.end()


@scenario
async def no_container(told: Told) -> None:
    """A node that never gets the container up, and says nothing: its time is over once, and the next attempt works."""
    fails(told, {("feedback-model", 1): Behaviour(waiting="ContainerCreating")})
    told.user.apply(an_alignment_run(timeouts={"startSeconds": 300}), "first")
    await told.state("first", "feedback-model", "Waiting")
    assert told.stage("first", "feedback-model")["reason"] == "ContainerCreating"
    await told.end_of("first", "True")
    stage = told.stage("first", "feedback-model")
    assert [entry["reason"] for entry in stage["history"]] == ["StartTimeout", "Succeeded"]
    assert stage["infrastructureRetries"] == 1
    await told.end()


@scenario
async def network_policy_refused(told: Told) -> None:
    """Nobody takes the run's NetworkPolicy: it says so to its user, and goes on by itself once that is mended."""
    answer, refused = told.world.api.answer, [True]

    def refuse(actor: str, method: str, path: str, *rest: Any) -> Any:
        if "/networkpolicies/" in path and refused:
            return told.world.api.failed(422, "Invalid", "spec.ingress[1].from[0].podSelector: Invalid value")
        return answer(actor, method, path, *rest)

    told.world.api.answer = refuse  # type: ignore[method-assign]
    told.user.apply(an_alignment_run(), "first")
    stalled = lambda: condition_of(told.user.find("first"), "Stalled")  # noqa: E731
    await told.until(lambda: stalled().get("reason") == "ObjectInvalid", "first is Stalled")
    assert "NetworkPolicy" in stalled()["message"]
    await asyncio.sleep(3600)
    assert stalled()["status"] == "True"
    assert not told.user.jobs("first")
    refused.clear()
    await told.end_of("first", "True")
    assert told.stage("first", "prepare")["attempt"] == 1
    await told.end()


@scenario
async def budgets_end(told: Told) -> None:
    """The budget is used up to the last attempt, and not one further."""
    told.world.behave = lambda pod: Behaviour(
        seconds=10, fails=FailureClass.INFRASTRUCTURE if stage_of(told, pod)[0] == "feedback-model" else None
    )
    told.user.apply(an_alignment_run(retry={"infrastructure": 2}), "first")
    await told.end_of("first", "False")
    assert told.stage("first", "feedback-model")["state"] == "Failed"
    assert told.stage("first", "feedback-model")["attempt"] == 3
    assert len(told.world.store.worked) == 3
    told.world.behave = lambda pod: Behaviour()
    told.user.retry("first", "again")
    await told.until(lambda: told.succeeded("first") == "True", "first succeeds after all")
    await told.end()


@scenario
async def deleted_and_made_again(told: Told) -> None:
    """GitOps: the same run under the same name adopts what the first one made."""
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "synthesis")
    told.user.delete("first")
    await asyncio.sleep(1.0)
    told.user.apply(an_alignment_run(), "first")
    await told.end_of("first", "True")
    assert told.stage("first", "feedback-model")["state"] == "Cached"
    assert len(published(told)) == len(STAGES), shown(told.world)
    await told.end()


@scenario
async def input_removed(told: Told) -> None:
    """Somebody deletes a finished stage's artifact: prepare looks again, and what is missing is made again."""
    told.user.apply(with_beta("0.1", stopAfter="Synthesis"), "first")
    await told.state("first", "policy", "Waiting")
    told.user.remove_artifact(STORAGE, told.stage("first", "synthesis")["key"])
    told.user.edit("first", {"stopAfter": None})
    await told.end_of("first", "True")
    await told.end()


@scenario
async def status_emptied(told: Told) -> None:
    """The status is a view: without it the same work goes on, or is found done."""
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "synthesis")
    told.user.lose_status("first")
    await told.end_of("first", "True")
    assert len(published(told)) == len(STAGES), shown(told.world)
    await told.end()


@scenario
async def evicted_from_the_queue(told: Told) -> None:
    """Kueue suspends the Job: it keeps its place, nothing is charged, the attempt is the same."""
    told.user.apply(an_alignment_run(compute={"queueName": "research"}), "first")
    await told.works("first", "feedback-model")
    told.world.kueue.evict(uid_of(told.user.jobs("first", "feedback-model")[-1]))
    await told.end_of("first", "True")
    uncharged(told.stage("first", "feedback-model"))
    await told.end()


@scenario
async def several_pods(told: Told) -> None:
    """Independent pods, one of which fails, and a merge after them."""
    told.user.apply(on_nodes(3), "first")
    await told.works("first", "synthesis")
    await told.end_of("first", "True")
    await told.end()


@scenario
async def job_deleted_by_hand(told: Told) -> None:
    """kubectl delete job: the next attempt, uncharged."""
    told.user.apply(an_alignment_run(), "first")
    await told.works("first", "feedback-model")
    told.user.delete_job(told.user.jobs("first", "feedback-model")[-1])
    await told.end_of("first", "True")
    uncharged(told.stage("first", "feedback-model"))
    await told.end()


@scenario
async def node_lost(told: Told) -> None:
    """A node is gone for good; the next attempt does not wait for ever for what ran there."""
    told.user.apply(an_alignment_run(), "first")
    told.world.behave = lambda pod: Behaviour(seconds=600)
    await told.works("first", "feedback-model")
    node = told.running("first", "feedback-model")[0]["spec"]["nodeName"]
    told.world.kubelet.lose_node(node)
    await asyncio.sleep(400)
    told.world.kubelet.remove_node(node)
    await told.end_of("first", "True", seconds=7200)
    await told.end()


@scenario
async def cleaned_up(told: Told) -> None:
    """Jobs and ConfigMaps of stages stay as long as was asked, then go."""
    told.user.apply(an_alignment_run(retainPodsSeconds=300), "first")
    await told.end_of("first", "True")
    assert told.user.jobs("first")
    await asyncio.sleep(400)
    assert not told.user.jobs("first")
    assert not list(told.world.registry.all(api.PODS))
    await told.end()
