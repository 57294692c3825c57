"""The editing table: what an edit does to stages that wait, run or are done.

| change | effect |
|---|---|
| parameter | new keys at once; a running stage whose key left the plan is stopped (WorkDiscarded) |
| source | stages go on until ``prepare`` has named the new keys |
| storage | all states Unknown, ``prepare`` decides |
| compute, image, pod template | the running attempt goes on, its next one uses them, and the status says so |
| suspend | the attempt is stopped, which takes a checkpoint; resuming is a new attempt, without charge |
| annotation ``boresight.dev/retry`` | budgets anew, ``prepare`` again |
"""

from __future__ import annotations

from collections.abc import Iterable

from boresight_api.outcome import SuiteResult
from boresight_api.pins import Pin
from boresight_api.plan import Plan
from boresight_api.status import TRAIN, SourceStatus, StageProgress, StageStatus

from ..views import PREPARE, JobView
from .budgets import NO_CHARGES
from .draft import DONE, NODE_LOST, Draft, State, finished, is_prepare, under_way
from .wishes import compute_digest

OLD_COMPUTE = "it goes on with the compute that it was started with; its next attempt uses the present one"
NEW_STAGE = {
    **NO_CHARGES,
    "reason": None,
    "message": None,
    "since": None,
    "job_uid": None,
    "compute": None,
    "resumed_from_step": None,
    "running_since": None,
    "running_seconds": None,
    "start_time": None,
    "completion_time": None,
    "artifact": None,
    "metrics": (),
}
"""What a stage forgets with its key. Its history, and what it has cost, stay."""


def follow_plan(draft: Draft) -> None:
    """Bring the stages in line with the plan: names, order and keys. Without a plan they stay as they are."""
    if draft.plan is None:
        return
    wanted = {stage.name: stage.key for stage in draft.plan.stages}
    for stage in [stage for name, stage in draft.stages.items() if name != PREPARE and name not in wanted]:
        _discard(draft, stage, "the stage left the plan")
    stages = {PREPARE: draft.stages.get(PREPARE) or StageStatus(name=PREPARE, state=State.PENDING)}
    for name, key in wanted.items():
        stages[name] = _keyed(draft, draft.stages.get(name), name, key)
    draft.stages = stages
    digest = draft.plan.digest
    if digest is not None and digest != draft.status.plan:
        draft.status = draft.status.model_copy(update={"plan": digest})
    if digest is not None and not draft.status.sources:  # lost with the status; the saved plan knows them
        sources = sources_of(draft.plan, draft.seen.pins.values())
        draft.status = draft.status.model_copy(update={"sources": sources})
    if draft.status.recipe is None:
        draft.status = draft.status.model_copy(update={"recipe": draft.plan.recipe})


def sources_of(plan: Plan, pins: Iterable[Pin]) -> tuple[SourceStatus, ...]:
    """What the plan reads from outside, as the status has it."""
    by_id = {pin.id: pin for pin in pins}
    return tuple(
        SourceStatus(
            id=source.id,
            name=source.name[:32],
            uri=source.uri,
            **by_id[source.id].model_dump(exclude={"id"}) if source.id in by_id else {},
        )
        for source in plan.sources
    )


def retry(draft: Draft) -> None:
    """A new value of the annotation: what failed is looked at again, with whole budgets."""
    wanted = draft.wishes.retry
    if wanted is None or wanted == draft.status.retry:
        return
    begun = draft.status.prepared is not None
    draft.status = draft.status.model_copy(update={"retry": wanted})
    if not begun or finished(draft):
        return
    for stage in tuple(draft.stages.values()):
        stage = draft.put(stage.model_copy(update={**NO_CHARGES, "running_seconds": None}))
        if stage.state is State.FAILED:
            draft.move(stage, State.PENDING if is_prepare(stage) else State.UNKNOWN, "Retry")
        elif stage.state is State.WAITING and not under_way(stage):
            draft.move(stage, State.PENDING, "Retry")
    draft.event("Retrying", "boresight.dev/retry has a new value: budgets are whole again, and prepare runs")


def store(draft: Draft) -> None:
    """Another store: nothing that is known about artifacts holds there.

    A run that is finished stays so when it is the settings' store that moved: nobody asked for it to run again.
    """
    if draft.plan is None or draft.status.store == draft.wishes.store:
        return
    if not draft.wishes.names_a_store and finished(draft):
        return
    moved = draft.status.store is not None
    draft.status = draft.status.model_copy(update={"store": draft.wishes.store})
    if not moved:
        return
    for _, stage in list(draft.planned()):
        if under_way(stage):
            stage = draft.close(stage, _job(draft, stage), "StorageChanged", "its artifact would lie in another store")
        stage = draft.put(stage.model_copy(update={"artifact": None, "job_uid": None, "resumed_from_step": None}))
        draft.move(stage, State.UNKNOWN, "StorageChanged", completion_time=None)
    draft.event("StorageChanged", "the run has another store: prepare looks what it holds")


def suspend(draft: Draft) -> None:
    """Stop what is under way, or let it go on."""
    for stage in tuple(draft.stages.values()):
        if not draft.wishes.suspend:
            if stage.state is State.SUSPENDED:
                draft.move(stage, State.PENDING, "Resumed")
        elif under_way(stage) or stage.state is State.WAITING:
            if under_way(stage):
                stage = draft.close(stage, _job(draft, stage), "Suspended")
                draft.event(
                    "Suspended", f"{stage.name} attempt {stage.attempt} is stopped; resuming goes on from there"
                )
            draft.move(stage, State.SUSPENDED, "Suspended", job_uid=None)


def note_compute(draft: Draft) -> None:
    """Say where a running attempt has another compute than the spec."""
    for planned, stage in draft.planned():
        if stage.state is not State.RUNNING or stage.compute is None or stage.reason == NODE_LOST:
            continue
        if stage.compute != compute_digest(planned.compute):
            draft.put(stage.model_copy(update={"message": OLD_COMPUTE}))
        elif stage.message == OLD_COMPUTE:
            draft.put(stage.model_copy(update={"message": None}))


def results_of(draft: Draft) -> tuple[SuiteResult, ...]:
    """The results, as long as the evaluation that they are of is the plan's."""
    stage = draft.stages.get("evaluation")
    return draft.status.results if stage is not None and stage.state is State.SUCCEEDED else ()


def _keyed(draft: Draft, stage: StageStatus | None, name: str, key: str | None) -> StageStatus:
    """A stage with the plan's key. While that is unknown (a source is not pinned yet) the old one counts."""
    if stage is None:
        return StageStatus(name=name, key=key, state=State.UNKNOWN, reason="NotPrepared")
    if stage.state in DONE and stage.artifact is None and key is not None:
        return draft.move(stage.model_copy(update={"key": key}), State.UNKNOWN, "OutcomeUnknown")
    if stage.key == key:
        return stage
    if key is None:
        unborn = stage.state is State.STARTING and not any(
            job.stage == name and job.attempt == stage.attempt for job in draft.seen.jobs
        )
        return draft.move(stage, State.UNKNOWN, "NotPrepared") if unborn else stage
    stage = _discard(draft, stage, "its key left the plan")
    stage = draft.put(stage.model_copy(update={**NEW_STAGE, "key": key}))
    return draft.move(stage, State.UNKNOWN, "NotPrepared")


def _discard(draft: Draft, stage: StageStatus, why: str) -> StageStatus:
    """Stop the attempt of a stage that is not wanted any more, and say what is lost."""
    if not under_way(stage):
        return stage
    told = next((p for p in draft.seen.run.status.progress if p.name == stage.name), None)
    place = "" if told is None else _place_of(told, stage)
    draft.event("WorkDiscarded", f"{stage.name} attempt {stage.attempt} is stopped{place}: {why}", warning=True)
    return draft.close(stage, _job(draft, stage), "WorkDiscarded", why)


def _place_of(told: StageProgress, stage: StageStatus) -> str:
    """Only the steps of training are what checkpoints count."""
    if told.phase != TRAIN:
        return f" at {told.step} of {told.total_steps}" + (f" of its phase {told.phase}" if told.phase else "")
    return f" at step {told.step}, {max(0, told.step - (stage.resumed_from_step or 0))} of them its own"


def _job(draft: Draft, stage: StageStatus) -> JobView | None:
    return next((job for job in draft.seen.jobs if job.uid == stage.job_uid), None)
