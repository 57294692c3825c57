"""What is said about a run as Kubernetes events: at most one at the start and one at the end of a keyed stage.

A stage's end and the next one's start are one decision, so they are one event.
"""

from __future__ import annotations

from boresight_api.status import Condition, ConditionStatus, StageStatus

from .draft import Draft, is_prepare

REASONS = frozenset(
    {
        "StageSucceeded",
        "StageCached",
        "StageFailed",
        "StageStarting",
        "AttemptFailed",
        "Preempted",
        "AttemptLost",
        "WorkDiscarded",
        "WorkAdopted",
        "StorageChanged",
        "ArtifactMissing",
        "SourcesRepinned",
        "Suspended",
        "SpecRejected",
        "Retrying",
    }
)
"""Every reason there is."""


def ended(draft: Draft, stage: StageStatus, what: str) -> None:
    """A stage has its artifact. If the next one starts in the same decision, :func:`starting` adds it here."""
    draft.event("StageSucceeded", f"{stage.name} {what}")


def starting(draft: Draft, stage: StageStatus) -> None:
    """An attempt is to start: said beside the end of the stage before it, if that is in the same decision."""
    message = f"{stage.name} starts (attempt {stage.attempt})"
    last = draft.events[-1] if draft.events else None
    if last is not None and last.reason in {"StageSucceeded", "StageCached"}:
        draft.events.pop()
        draft.event(last.reason, f"{last.message}; {message}")
    elif not is_prepare(stage) and (stage.attempt or 0) == 1:
        draft.event("StageStarting", message)


def rejected(draft: Draft, conditions: tuple[Condition, ...]) -> None:
    """The spec is not accepted, and that is news."""
    accepted = next(condition for condition in conditions if condition.type == "Accepted")
    before = next((c for c in draft.status.conditions if c.type == "Accepted"), None)
    known = before is not None and before.status is accepted.status and before.message == accepted.message
    if accepted.status is ConditionStatus.FALSE and not known:
        draft.event("SpecRejected", accepted.message, warning=True)
