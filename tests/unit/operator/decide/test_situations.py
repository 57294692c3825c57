"""docs/situations.md is read by these tests: every row is a situation that is built here, and decided on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from boresight_api.outcome import FailureClass, StageFinding, StageState
from boresight_operator.names import attempt_name
from boresight_operator.settings import Limits
from boresight_operator.views import Claim, Part, Refusal, Rival, Usage
from builders_manifests import an_alignment_run
from builders_operator import (
    NOW,
    World,
    a_pod,
    a_run,
    artifact,
    by_rule,
    digest_of,
    ended,
    over,
    running,
    settings,
    several_nodes,
)

PAGE = Path(__file__).parents[4] / "docs" / "situations.md"
CONDITIONS = ("Accepted", "Reconciling", "Stalled", "Suspended", "Succeeded")


@dataclass(frozen=True)
class Row:
    """A line of the page's table."""

    situation: str
    conditions: dict[str, tuple[str, str]]
    stage: str
    kstatus: str
    argo: str
    flux: str


def rows() -> dict[str, Row]:
    """The table, by situation."""
    found = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not re.match(r"\| \*\*\w+\*\*", line) or len(cells) != 10:
            continue
        name, _, *conditions, stage, kstatus, argo_and_flux = [cells[0].strip("*"), *cells[1:]]
        argo, flux = argo_and_flux.split(", ")
        told = {condition: _split(cell) for condition, cell in zip(CONDITIONS, conditions, strict=True)}
        found[name] = Row(name, told, stage, kstatus, argo, flux)
    return found


def _split(cell: str) -> tuple[str, str]:
    status, _, reason = cell.partition("/")
    return status, reason


# -- what others make of it ------------------------------------------------------------------------------------------


def kstatus(world: World) -> str:
    """The rules of cli-utils' pkg/kstatus/status, in their order, for a kind that it does not know."""
    conditions = {condition.type: condition.status.value for condition in world.status.conditions}
    if world.deleting:
        return "Terminating"
    if world.status.observed_generation is not None and world.status.observed_generation != world.generation:
        return "InProgress"
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "Current"


def argo_cd(world: World) -> str:
    """The health check that comes with the chart."""
    conditions = {condition.type: condition for condition in world.status.conditions}
    status = {name: condition.status.value for name, condition in conditions.items()}
    if world.status.observed_generation != world.generation or not conditions:
        return "Progressing"
    if status.get("Succeeded") == "True":
        return "Healthy"
    if status.get("Succeeded") == "False" or status.get("Stalled") == "True":
        return "Degraded"
    if status.get("Suspended") == "True" or conditions["Succeeded"].reason in {"QuotaPending", "StoppedAfter"}:
        return "Suspended"
    return "Progressing"


FLUX = {"InProgress": "waits", "Current": "ready", "Failed": "fails", "Terminating": "waits"}
"""What ``wait: true`` makes of kstatus."""


# -- situations ------------------------------------------------------------------------------------------------------


def preparing() -> World:
    return a_run().settle().runs("prepare")


def at_policy() -> World:
    return a_run().done_until("policy").after(5)


def policy_runs() -> World:
    return at_policy().runs("policy").after(100)


def policy_waits(**pod: object) -> World:
    return at_policy().runs("policy", a_pod(created=NOW, **pod))


def policy_fails(kind: FailureClass, message: str, times: int = 1, step: int | None = 40) -> World:
    world = policy_runs()
    for number in range(times):
        if number:
            world.after(700).settle()  # longer than any back-off
        world.runs("policy").after(100).fails("policy", kind, message, step)
    return world


def the_kernel_kills_policy_twice() -> World:
    world = policy_runs()
    for number in range(2):
        if number:
            world.after(700).settle()
        killed = over(ended(137, reason="OOMKilled"))
        world.runs("policy").after(100).update("policy", failed=by_rule(F.ERROR), pods=(killed,)).settle()
    return world


def refused(reason: str, message: str, kind: str = "Job") -> World:
    world = a_run()
    name = attempt_name("first", world.uid, "prepare", None, 1, Part.WORK)
    world.refusals = (Refusal(name, kind, reason, message, NOW),)
    world._create = lambda start: None  # type: ignore[method-assign]
    for _ in range(3):
        world.step()
    return world


def namespace_limit() -> World:
    world = a_run(settings=settings(limits=Limits(max_runs=1)), usage=Usage(runs=1))
    return world.settle()


def same_key_running() -> World:
    world = a_run()
    world.rivals = {world.key("feedback-model"): (Rival("AlignmentRun", "older", "u", 0, Claim.LIVE),)}
    return world.prepared()


def all_cached() -> World:
    world = a_run()
    world.store = {
        stage.name: StageFinding(name=stage.name, state=StageState.PRESENT, digest=digest_of(stage.name))
        for stage in world.full_plan().stages
    }
    return world.prepared()


def made_by_others() -> World:
    world = a_run()
    world.rivals = {
        stage.key or "": (Rival("AlignmentRun", "older", "u", 0, Claim.DONE, artifact(stage.key or "")),)
        for stage in world.full_plan().stages
    }
    return world.prepared()


def succeeded() -> World:
    world = a_run()
    for name in ("feedback-model", "synthesis", "policy", "evaluation"):
        world.done_until(name).runs(name).after(100).succeeds(name)
    return world


def deadline(*, gone: bool) -> World:
    world = a_run(an_alignment_run(timeouts={"stageSeconds": 3600})).done_until("policy").runs("policy")
    world.after(3700).settle()
    return world.fails("policy", FailureClass.PREEMPTED, step=1200) if gone else world


def node_lost() -> World:
    world = policy_runs()
    return world.update("policy", pods=(running(deleting_since=world.now + 30),)).after(400).settle()


def not_allowed() -> World:
    return a_run(an_alignment_run(compute={"podTemplate": {"priorityClassName": "mine"}})).settle()


def not_allowed_any_more() -> World:
    world = refused("Forbidden", "violates PodSecurity restricted")
    return world.edit(compute={"podTemplate": {"priorityClassName": "mine"}}).settle()


def preempted() -> World:
    pod = over(ended(76), disruption="Preempted by a pod of higher priority")
    return policy_runs().update("policy", failed=("PodFailurePolicy", "rule at index 0"), pods=(pod,)).settle()


def previous_attempt_ending() -> World:
    world = policy_runs()
    world.edit(policy={"dpo": {"beta": "0.3"}}).settle()
    return world.runs("prepare").succeeds("prepare")


def job_gone() -> World:
    return policy_runs().ends("policy").runs("prepare")


def newer_version() -> World:
    world = policy_runs()
    world.status_problem = "status.stages[2].gang"
    world.step()
    return world


def deleting() -> World:
    world = policy_runs()
    world.deleting = True
    world.step()
    return world


def retried() -> World:
    world = policy_fails(FailureClass.DIVERGED, "the loss is not a number")
    world.annotations = {"boresight.dev/retry": "2"}
    return world.settle()


def shards_merge() -> World:
    world = a_run(tweak=several_nodes("synthesis", 4)).done_until("synthesis")
    world.runs("synthesis", *(running(i) for i in range(4))).after(100)
    return world.update("synthesis", complete=True, pods=tuple(over(ended(0), i) for i in range(4))).settle()


F = FailureClass
NO_SECRET = {"waiting_reason": "CreateContainerConfigError", "waiting_message": 'secret "boresight-storage" not found'}
SITUATIONS: dict[str, Callable[[], World]] = {
    "PreparingFirst": preparing,
    "NamespaceLimit": namespace_limit,
    "NamespaceLimitLong": lambda: namespace_limit().after(200).settle(),
    "PrepareQueued": lambda: a_run().settle().update("prepare", suspended=True).settle(),
    "PrepareRetrying": lambda: preparing().fails("prepare", F.INFRASTRUCTURE, "the store does not answer"),
    "DataRejected": lambda: preparing().fails("prepare", F.INVALID_DATA, "feedback: row 7: no critique"),
    "Starting": at_policy,
    "Running": policy_runs,
    "QuotaPending": lambda: at_policy().update("policy", suspended=True).settle(),
    "Evicted": lambda: policy_runs().update("policy", suspended=True, pods=()).settle(),
    "Unschedulable": lambda: policy_waits(unschedulable="0/9 nodes are available: 9 Insufficient nvidia.com/gpu."),
    "SecretMissing": lambda: policy_waits(**NO_SECRET),
    "ConfigError": lambda: policy_waits(waiting_reason="CreateContainerError", waiting_message="no such path"),
    "ImagePull": lambda: policy_waits(waiting_reason="ImagePullBackOff", waiting_message="not found"),
    "InvalidImageName": lambda: policy_waits(waiting_reason="InvalidImageName", waiting_message="a b"),
    "ContainerCreating": lambda: policy_waits(node="node-a").after(40).update("policy", events=()).settle(),
    "MountFailed": lambda: at_policy().update("policy", events=("FailedMount: no such volume",)).settle(),
    "PodsForbidden": lambda: at_policy().update("policy", events=("FailedCreate: exceeded quota",)).settle(),
    "StartTimeout": lambda: policy_waits(**NO_SECRET).after(1000).settle(),
    "SameKeyRunning": same_key_running,
    "Preempted": preempted,
    "BackOff": lambda: policy_fails(F.INFRASTRUCTURE, "the store does not answer"),
    "InfrastructureSpent": lambda: policy_fails(F.INFRASTRUCTURE, "the store does not answer", times=6),
    "Hung": lambda: policy_fails(F.HUNG, "no step for 20 minutes"),
    "OutOfMemoryHalved": lambda: policy_fails(F.OUT_OF_MEMORY, "CUDA out of memory"),
    "OutOfMemoryTwice": lambda: policy_fails(F.OUT_OF_MEMORY, "CUDA out of memory", times=2),
    "OOMKilled": the_kernel_kills_policy_twice,
    "ErrorOnce": lambda: policy_fails(F.ERROR, "ValueError: ..."),
    "ErrorTwice": lambda: policy_fails(F.ERROR, "ValueError: ...", times=2),
    "Diverged": lambda: policy_fails(F.DIVERGED, "the loss is not a number"),
    "InvalidData": lambda: policy_fails(F.INVALID_DATA, "pairs: no row is left"),
    "InvalidConfig": lambda: policy_fails(F.INVALID_CONFIG, "maxLength: ..."),
    "MissingInput": lambda: policy_fails(F.MISSING_INPUT, "no artifact"),
    "MissingInputThrice": lambda: missing_input_thrice(),
    "NodeLost": node_lost,
    "DeadlineStopping": lambda: deadline(gone=False),
    "DeadlineExceeded": lambda: deadline(gone=True),
    "ForeignOutcome": lambda: policy_runs().update("policy", complete=True, pods=(over(ended(0, "{}")),)).settle(),
    "JobGone": job_gone,
    "PreviousAttemptEnding": previous_attempt_ending,
    "Merging": shards_merge,
    "InvalidSpec": lambda: a_run(an_alignment_run(task="TextToImage")).settle(),
    "InvalidSpecWhileRunning": lambda: policy_runs().edit(task="TextToImage").settle(),
    "NotAllowed": not_allowed,
    "NotAllowedAnyMore": not_allowed_any_more,
    "NameConflict": lambda: refused("NameConflict", "a Job of somebody else has this name"),
    "NamespaceTerminating": lambda: refused("NamespaceTerminating", "namespace default is being terminated"),
    "ObjectInvalid": lambda: refused("Invalid", "spec.template.labels: Invalid value"),
    "SharedObjectInvalid": lambda: refused("Invalid", "spec.ingress: Invalid value", "NetworkPolicy"),
    "ObjectRefused": lambda: refused("Forbidden", "violates PodSecurity restricted"),
    "ParameterEdited": lambda: policy_runs().edit(policy={"dpo": {"beta": "0.3"}}).settle(),
    "SourceEdited": lambda: policy_runs().edit(model={"uri": "hf://other/model"}).settle(),
    "StorageEdited": lambda: policy_runs().edit(storage={"uri": "s3://bucket/elsewhere"}).settle(),
    "ComputeEdited": lambda: policy_runs().edit(compute={"devicesPerNode": 0}).settle(),
    "Suspending": lambda: policy_runs().edit(suspend=True).settle(),
    "Suspended": lambda: policy_runs().edit(suspend=True).settle().ends("policy"),
    "AppliedSuspended": lambda: a_run(an_alignment_run(suspend=True)).settle(),
    "Resumed": lambda: policy_runs().edit(suspend=True).settle().ends("policy").edit(suspend=False).settle(),
    "StoppedAfter": lambda: a_run(an_alignment_run(stopAfter="Prepare")).prepared(),
    "Retried": retried,
    "Succeeded": succeeded,
    "SucceededAllCached": all_cached,
    "SucceededByOthers": made_by_others,
    "NewerVersion": newer_version,
    "Deleting": deleting,
}
"""A builder per situation of the page."""


def missing_input_thrice() -> World:
    world = policy_runs()
    for _ in range(3):
        world.runs("policy").fails("policy", F.MISSING_INPUT, "no artifact")
        for name in ("prepare", "feedback-model", "synthesis"):
            if world.stage("policy").state != "Failed" and world.stage(name).state == "Running":
                world.runs(name).succeeds(name)
        world.after(1000).settle()
    return world


def told(world: World) -> Row:
    """The row that a world has."""
    found = {condition.type: (condition.status.value, condition.reason) for condition in world.status.conditions}
    stage = next((s for s in world.status.stages if s.state.value not in {"Succeeded", "Cached"}), None)
    shown = "" if stage is None else f"{stage.name} {stage.state.value}" + (f"/{stage.reason}" if stage.reason else "")
    seen = kstatus(world)
    return Row("", found, shown, seen, argo_cd(world), FLUX[seen])


def test_every_situation_of_the_page_is_built_here_and_the_other_way_round() -> None:
    assert sorted(rows()) == sorted(SITUATIONS)
    assert len(SITUATIONS) >= 30


@pytest.mark.parametrize("name", SITUATIONS)
def test_decide_says_what_the_page_says(name: str) -> None:
    expected, found = rows()[name], told(SITUATIONS[name]())
    assert found.conditions == expected.conditions
    assert (found.stage, found.kstatus, found.argo, found.flux) == (
        expected.stage,
        expected.kstatus,
        expected.argo,
        expected.flux,
    )


@pytest.mark.parametrize("name", [name for name in SITUATIONS if name not in {"NewerVersion", "Deleting"}])
def test_every_condition_says_on_which_generation_it_was_decided(name: str) -> None:
    world = SITUATIONS[name]()
    assert {condition.observed_generation for condition in world.status.conditions} == {world.generation}
    assert tuple(condition.type for condition in world.status.conditions) == CONDITIONS


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_stays_as_it_is_while_nothing_happens(name: str) -> None:
    world = SITUATIONS[name]()
    again = world.decide()
    assert again.status == world.status
    assert again.events == ()


def test_stalled_says_what_to_do_next() -> None:
    world = SITUATIONS["Diverged"]()
    message = world.condition("Stalled").message
    assert "the loss is not a number" in message
    assert "kubectl boresight logs first -n default --stage policy --attempt 1" in message
