"""When ``prepare`` must run, and what its report means. It is the operator's only eyes: nothing else sees the store.

It runs once per plan, after a change of storage, hub or their Secrets' names, on retry, and before any attempt of a
stage whose outcome may be lost (state Unknown). It is never cached and never shared.
"""

from __future__ import annotations

from boresight_api.outcome import PrepareReport, PublishedArtifact, StageFinding, StageState
from boresight_api.plan import Plan, plan
from boresight_api.problems import ProblemsError
from boresight_api.status import AttemptStatus, StageStatus

from ..parsed import parsed
from ..views import PREPARE
from . import editing
from .budgets import NO_CHARGES, next_attempt
from .draft import DONE, Draft, State, finished, remember, stamp, under_way
from .wishes import asked

MISSING = "ArtifactMissing"
"""Reason of a stage that was done and whose artifact is gone: what another run's status says of it is not believed."""
FOUND = "FoundInStore"
"""History's reason of an attempt of which only a checkpoint folder tells."""
_OTHER_RELEASE = (
    "the image of the pods and the operator are of different releases; use the image that the settings name"
)


def demand(draft: Draft) -> None:
    """Make ``prepare`` Pending if it must run (again)."""
    if draft.plan is None or finished(draft):
        return
    stage = draft.stages[PREPARE]
    question = asked(draft.plan, draft.wishes, draft.status.retry)
    if draft.status.prepared != question:
        first = draft.status.prepared is None
        if first and draft.seen.pins_lost:
            draft.event(
                "SourcesRepinned", "the status and the saved plan were lost: sources are pinned anew", warning=True
            )
        draft.status = draft.status.model_copy(update={"prepared": question})
        _again(draft, stage, "NotPrepared" if first else "Changed")
    elif stage.state is State.SUCCEEDED and any(s.state is State.UNKNOWN for _, s in draft.planned()):
        _again(draft, stage, "OutcomeUnknown")


def is_outdated(draft: Draft) -> bool:
    """Whether an attempt under way answers what is not asked any more: the spec has changed since it began."""
    return draft.plan is not None and draft.status.prepared != asked(draft.plan, draft.wishes, draft.status.retry)


def refused(draft: Draft, report: PrepareReport) -> str | None:
    """Why a report is not taken: it speaks of another plan than its pins make here, or of less. None if it is."""
    found = _planned(draft, report)
    if not draft.wishes.stores:
        return "the run has no store: name one in spec.storage"
    if isinstance(found, str):
        return f"the sources that prepare pinned do not make a plan: {found}"
    if found.digest != report.plan:
        return (
            f"prepare reports on plan {report.plan[:16]}, its pins make {(found.digest or 'none')[:16]} here: "
            + _OTHER_RELEASE
        )
    told = {finding.name for finding in report.stages}
    silent = [stage.name for stage in found.stages if stage.name not in told]
    if silent:  # they would stay Unknown, and prepare would run for them again and again
        return f"prepare reports nothing on {', '.join(silent)}: {_OTHER_RELEASE}"
    return None


def apply(draft: Draft, report: PrepareReport) -> None:
    """Take the pins, the keys that follow from them, and what the store holds."""
    found = _planned(draft, report)
    assert isinstance(found, Plan)
    draft.plan = found
    draft.status = draft.status.model_copy(
        update={
            "plan": found.digest,
            "recipe": draft.status.recipe or found.recipe,
            "prepared": asked(found, draft.wishes, draft.status.retry),
            "sources": editing.sources_of(found, report.pins),
        }
    )
    editing.follow_plan(draft)
    missing = any(stage.reason == "MissingInput" for stage in draft.stages.values())
    findings = {finding.name: finding for finding in report.stages}
    for planned, stage in list(draft.planned()):
        finding = findings.get(planned.name)
        if finding is not None:
            _found(draft, _numbered(draft, stage, finding), finding, believe_missing=missing)


def _again(draft: Draft, stage: StageStatus, reason: str) -> None:
    """An attempt under way answers another question: it is stopped (its Job is no stage's any more)."""
    if under_way(stage):
        job = next((job for job in draft.seen.jobs if job.uid == stage.job_uid), None)
        stage = draft.close(stage, job, "Superseded")
    charges = NO_CHARGES if reason != "OutcomeUnknown" else {}
    draft.move(stage, State.PENDING, reason, completion_time=None, job_uid=None, **charges)


def _planned(draft: Draft, report: PrepareReport) -> Plan | str:
    """The plan with the report's pins; a plan whose keys are all known is kept as it was saved."""
    pins = {pin.id: pin for pin in report.pins}
    known = draft.plan
    if known is not None and known.digest is not None and known.digest == report.plan:
        return known
    try:
        return plan(parsed(draft.seen.run), pins, recipe=draft.status.recipe)
    except ProblemsError as error:
        return str(error)


def _numbered(draft: Draft, stage: StageStatus, finding: StageFinding) -> StageStatus:
    """Remember an attempt that only the store knows of, so that its number is never given again."""
    if finding.attempt is None or finding.attempt < next_attempt(draft, stage):
        return stage
    over = AttemptStatus(attempt=finding.attempt, reason=FOUND)
    return draft.put(stage.model_copy(update={"history": remember(stage.history, over)}))


def _found(draft: Draft, stage: StageStatus, finding: StageFinding, *, believe_missing: bool) -> None:
    """One stage: finished, to be gone on with, or to be begun. What runs goes on and will find out itself."""
    if under_way(stage):
        return
    if finding.state is StageState.PRESENT and finding.digest is not None:
        if stage.state not in DONE:
            cached(draft, stage, finding.digest)
        return
    if stage.state in DONE and not believe_missing:
        return
    if stage.state in DONE:
        draft.event(
            "ArtifactMissing", f"{stage.name}: the store has no artifact any more; it is made again", warning=True
        )
    step = finding.step if finding.state is StageState.CHECKPOINT else None
    if stage.state in DONE or stage.state is State.UNKNOWN:
        update = {"artifact": None, "metrics": (), "completion_time": None, "job_uid": None}
        reason = MISSING if stage.state in DONE else None
        draft.move(stage, State.PENDING, reason, None, resumed_from_step=step, **update)
    else:
        draft.put(stage.model_copy(update={"resumed_from_step": step}))


def cached(draft: Draft, stage: StageStatus, digest: str) -> None:
    """The store has the artifact already: no device is asked for."""
    artifact = PublishedArtifact.model_construct(uri=f"{draft.wishes.stores[0]}/artifacts/{stage.key}", digest=digest)
    draft.move(
        stage,
        State.CACHED,
        None,
        "found in the store",
        artifact=artifact,
        completion_time=stamp(draft.now),
        job_uid=None,
    )
    draft.event("StageCached", f"{stage.name} was found in the store")
