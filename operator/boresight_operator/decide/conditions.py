"""The five conditions. Reconciling and Stalled are for kstatus and Flux, Succeeded for everybody; docs/situations.md
says which situation gives which.

``Reconciling`` is True until ``prepare`` has ended or waited for 3 minutes, so that ``wait: true`` neither passes on
rejected data nor times out on a run of days. ``Stalled`` is True only if nothing but the user can help.
"""

from __future__ import annotations

from collections.abc import Sequence

from boresight_api.problems import Problem
from boresight_api.status import Condition, ConditionStatus, StageStatus

from ..views import PREPARE
from .columns import at_work
from .draft import NODE_LOST, Draft, State, finished, has_ended, is_prepare, seconds, stamp, text, under_way

TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
RECONCILING_SECONDS = 180
"""How long waiting for a place counts as reconciling."""

_ADVICE = {
    "NameConflict": "delete or rename the object that has this name and is not this run's",
    "ObjectInvalid": (
        "the operator's settings (for a NetworkPolicy, ingressFrom) or an admission webhook make it so: mend them; "
        "it is offered again by itself"
    ),
}
"""What is to be done about an object that waiting alone will not get taken."""
Found = tuple[ConditionStatus, str, str | None]
"""Status, reason, message."""


def conditions(draft: Draft, problems: Sequence[Problem]) -> tuple[Condition, ...]:
    """All five, with the generation that they were decided on."""
    found: dict[str, Found] = {
        "Accepted": _accepted(draft, problems),
        "Reconciling": _reconciling(draft, problems),
        "Stalled": _stalled(draft, problems),
        "Suspended": _suspended(draft),
        "Succeeded": _succeeded(draft, problems),
    }
    before = {condition.type: condition for condition in draft.status.conditions}
    return tuple(condition(draft, name, value, before.get(name)) for name, value in found.items())


def condition(draft: Draft, name: str, found: Found, before: Condition | None) -> Condition:
    """A condition; the time of its last transition stays while its status does."""
    status, reason, message = found
    since = before.last_transition_time if before is not None and before.status is status else stamp(draft.now)
    return Condition.model_construct(
        type=name,
        status=status,
        reason=reason,
        message=text(message) or "",
        last_transition_time=since,
        observed_generation=max(0, draft.seen.run.generation),
    )


def newer_version(draft: Draft, problem: str) -> Condition:
    """A newer operator wrote the status; this one leaves it alone."""
    message = f"{problem}: a newer operator wrote this status; this one leaves the run alone. Update the operator"
    before = next((c for c in draft.status.conditions if c.type == "Accepted"), None)
    return condition(draft, "Accepted", (UNKNOWN, "NewerVersion", message), before)


def _accepted(draft: Draft, problems: Sequence[Problem]) -> Found:
    if not problems:
        return TRUE, "Accepted", None
    reason = "InvalidSpec" if draft.plan is None else "NotAllowed"
    return FALSE, reason, "\n".join(map(str, problems))


def _reconciling(draft: Draft, problems: Sequence[Problem]) -> Found:
    stage = draft.stages.get(PREPARE)
    if draft.wishes.suspend or _stalled(draft, problems)[0] is TRUE or finished(draft):
        return FALSE, "Reconciled", None
    if stage is None or stage.state in {State.SUCCEEDED, State.FAILED}:
        return FALSE, "Reconciled", None
    reason = stage.reason or "Preparing"
    if reason == "NamespaceTerminating":
        return FALSE, reason, stage.message
    since = seconds(stage.since)
    if stage.state is State.WAITING and since is not None:
        if draft.now >= since + RECONCILING_SECONDS:
            return FALSE, reason, stage.message
        draft.wake_at(since + RECONCILING_SECONDS)
        return TRUE, reason, stage.message
    return TRUE, "Preparing", "prepare pins the sources, checks the data and looks into the store"


def _stalled(draft: Draft, problems: Sequence[Problem]) -> Found:
    if finished(draft):
        return FALSE, "NotStalled", None
    if problems:
        return TRUE, *_accepted(draft, problems)[1:]
    failed = _failed(draft)
    if failed is not None:
        return TRUE, failed.reason or "Failed", _cause(draft, failed)
    for stage in draft.stages.values():
        reason = stage.reason or ""
        if stage.state is State.WAITING and reason in _ADVICE:
            return TRUE, reason, f"{stage.message}; {_ADVICE[reason]}"
    return FALSE, "NotStalled", None


def _suspended(draft: Draft) -> Found:
    if not draft.wishes.suspend:
        return FALSE, "NotSuspended", None
    if not all(map(has_ended, draft.seen.jobs)):
        return FALSE, "Suspending", "the attempt takes a checkpoint and ends"
    return TRUE, "Suspended", "spec.suspend is true; false goes on from the last checkpoint"


def _succeeded(draft: Draft, problems: Sequence[Problem]) -> Found:
    """Its reason is the STATUS column."""
    if finished(draft):
        cached = [s for _, s in draft.planned() if s.state is State.CACHED]
        everything = len(cached) == sum(1 for _ in draft.planned())
        return TRUE, "Succeeded", "every artifact was there already" if everything else None
    failed = _failed(draft)
    if failed is not None and not problems:
        return FALSE, failed.reason or "Failed", f"{failed.name}: {failed.message or ''}"
    live = next((s for s in draft.stages.values() if under_way(s) and s.state is not State.WAITING), None)
    if problems and live is None:
        return UNKNOWN, _accepted(draft, problems)[1], None
    if draft.wishes.suspend:
        return UNKNOWN, "Suspended", None
    return UNKNOWN, *_doing(live or at_work(draft))


def _doing(stage: StageStatus | None) -> tuple[str, str | None]:
    """What the stage at work does, in a word."""
    if stage is None:
        return "Queued", None
    if stage.reason == NODE_LOST:
        return NODE_LOST, f"{stage.name}: {stage.message or ''}"
    if stage.state is State.RUNNING and stage.running_since is not None:
        return ("Preparing" if is_prepare(stage) else "Running"), f"{stage.name} (attempt {stage.attempt})"
    if stage.state is State.WAITING:
        reason = stage.reason or "Queued"
        return ("Retrying" if reason == "BackOff" else reason), f"{stage.name}: {stage.message or ''}"
    if stage.state in {State.STARTING, State.RUNNING}:
        return ("Preparing" if is_prepare(stage) else "Starting"), f"{stage.name} (attempt {stage.attempt})"
    return "Queued", None


def _failed(draft: Draft) -> StageStatus | None:
    return next((stage for stage in draft.stages.values() if stage.state is State.FAILED), None)


def _cause(draft: Draft, stage: StageStatus) -> str:
    """What happened, and where to read more: everything that is needed without another command than the last."""
    run = draft.seen.run
    rank = next((entry.rank for entry in stage.history[-1:] if entry.rank), None)
    command = f"kubectl boresight logs {run.name} -n {run.namespace} --stage {stage.name} --attempt {stage.attempt}"
    return f"{stage.name}: {stage.message or stage.reason}\n{command}" + (f" --rank {rank}" if rank else "")
