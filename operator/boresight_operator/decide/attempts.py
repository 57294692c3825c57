"""The attempt that a stage has: which Job it is, whether it runs, waits or has ended, and what its end means."""

from __future__ import annotations

from boresight_api.outcome import FailureClass, Outcome
from boresight_api.status import StageStatus

from ..views import JobView, Part, PodView
from . import budgets, events, prepare
from .classify import POD_GONE_SECONDS, Expected, Verdict, last_step, published, verdict
from .draft import (
    DONE,
    MAX_ATTEMPT,
    MAX_COUNT,
    NODE_LOST,
    Draft,
    State,
    are_shards,
    clock,
    is_prepare,
    remember,
    seconds,
    stamp,
    under_way,
)
from .waiting import LIMITED, UNLIMITED, out_of_time, wait_of

STOPPING = "DeadlineExceeded"
"""Reason of a stage whose attempt was stopped because it ran too long, and which fails once its Job is gone."""
UNREAD = frozenset({"WorkDiscarded", "Suspended"})
"""History's reasons of attempts that were stopped: what they publish while they end is still taken."""


def follow(draft: Draft, stage: StageStatus) -> None:
    """Look at the stage's attempt, if it has one, and draw the consequences."""
    if not under_way(stage):
        return
    job = current_job(draft, stage)
    if job is None:
        _without_job(draft, stage)
        return
    found = verdict(job, expected(draft, stage), shards=are_shards(draft, job), now=draft.now)
    unheard = found is None and (job.complete or job.failed is not None)
    if unheard:
        draft.wake_at(_heard_until(draft, job))
    if stage.reason == STOPPING:
        _stopping(draft, stage, job, found)
    elif unheard:
        _await_news(draft, stage, job)
    elif found is None:
        _going_on(draft, stage, job)
    else:
        _ended(draft, stage, job, found)


def current_job(draft: Draft, stage: StageStatus) -> JobView | None:
    """The Job of the stage's attempt: by UID once that is known, else by stage, key, attempt and part."""
    jobs = [job for job in draft.seen.jobs if job.stage == stage.name and job.key == stage.key]
    if stage.job_uid is not None:
        return next((job for job in jobs if job.uid == stage.job_uid), None)
    part = part_of(draft, stage)
    return next((job for job in jobs if job.attempt == stage.attempt and job.part is part), None)


def part_of(draft: Draft, stage: StageStatus) -> Part:
    """What the next (or present) attempt does: merge, if all independent pods of an earlier Job are through."""
    planned = draft.planned_stage(stage.name)
    nodes = (planned.compute.nodes or 1) if planned is not None else None
    useless = max((e.attempt for e in stage.history if e.failure_class is FailureClass.MISSING_INPUT), default=0)
    jobs = (job for job in draft.seen.jobs if job.stage == stage.name and job.key == stage.key)
    through = (job for job in jobs if are_shards(draft, job) and job.complete and job.attempt > useless)
    return Part.MERGE if any(nodes in {None, job.completions} for job in through) else Part.WORK


def devices_of(draft: Draft, stage: StageStatus) -> int:
    """Devices of the stage's present (or next) attempt, by what the plan asks for."""
    planned = draft.planned_stage(stage.name)
    if planned is None or part_of(draft, stage) is Part.MERGE:
        return 0
    each = planned.compute.devices_per_node
    return (planned.compute.nodes or 1) * (draft.seen.settings.devices_per_node if each is None else each)


def expected(draft: Draft, stage: StageStatus) -> Expected:
    """What an outcome of this stage must say."""
    return Expected(stage.name, None if is_prepare(stage) else stage.key, draft.wishes.stores)


def adopt(draft: Draft) -> None:
    """Take what Jobs show that the status does not know: late outcomes, where stopped attempts left a checkpoint, and
    attempts that a lost status forgot."""
    for stage in tuple(draft.stages.values()):
        if is_prepare(stage) or stage.key is None or stage.state in DONE or under_way(stage):
            continue
        jobs = [job for job in draft.seen.jobs if job.stage == stage.name and job.key == stage.key]
        jobs = [job for job in jobs if 0 < job.attempt <= MAX_ATTEMPT]  # no other number is ours
        late = next((found for job in reversed(jobs) if (found := _unread(draft, stage, job))), None)
        if late is not None:
            job, outcome = late
            stage = draft.put(stage.model_copy(update={"attempt": max(stage.attempt or 0, job.attempt)}))
            succeed(draft, stage, None, outcome, what=f"was finished by attempt {job.attempt} after it was stopped")
        elif stage.state is State.UNKNOWN and not stage.history:
            _take_up(draft, stage, jobs)
        else:
            _note_step(draft, stage, jobs)


def succeed(draft: Draft, stage: StageStatus, job: JobView | None, outcome: Outcome, *, what: str = "") -> None:
    """The stage has its artifact."""
    stage = draft.close(stage, job, "Succeeded", gained=_steps(stage, outcome))
    stage = draft.move(
        stage,
        State.SUCCEEDED,
        completion_time=stamp(draft.now),
        artifact=outcome.artifact,
        metrics=outcome.metrics,
    )
    if outcome.results:
        draft.status = draft.status.model_copy(update={"results": outcome.results})
    events.ended(draft, stage, what or _summary(stage))


def _unread(draft: Draft, stage: StageStatus, job: JobView) -> tuple[JobView, Outcome] | None:
    """The outcome of a stopped attempt that published after all; nobody has drawn a consequence from it yet."""
    if are_shards(draft, job):
        return None
    read = {entry.attempt: entry.reason for entry in stage.history}
    oldest = min(read, default=0)
    if job.attempt < oldest or read.get(job.attempt, "WorkDiscarded") not in UNREAD:
        return None
    outcome = published(job, expected(draft, stage))
    return (job, outcome) if outcome is not None else None


def _note_step(draft: Draft, stage: StageStatus, jobs: list[JobView]) -> None:
    """A stopped attempt has told at its end where its checkpoint is: the next one goes on there.

    Its Job is on its way out and its pod says so for moments only, but a next attempt waits for that pod to end.
    """
    last = stage.history[-1] if stage.history else None
    if last is None or last.reason not in UNREAD or last.steps_gained is not None:
        return
    job = next((job for job in jobs if job.attempt == last.attempt and not are_shards(draft, job)), None)
    step = last_step(job, expected(draft, stage)) if job is not None else None
    if step is None:
        return
    noted = last.model_copy(update={"steps_gained": max(0, step - (stage.resumed_from_step or 0))})
    draft.put(stage.model_copy(update={"history": remember(stage.history, noted), "resumed_from_step": step}))


def _take_up(draft: Draft, stage: StageStatus, jobs: list[JobView]) -> None:
    """The status was lost while an attempt ran: it goes on."""
    alive = [job for job in jobs if not (job.complete or job.failed or job.deleting)]
    if not alive:
        return
    job = max(alive, key=lambda found: found.attempt)
    draft.move(stage, State.RUNNING, "Starting", attempt=job.attempt, job_uid=job.uid)
    draft.event("WorkAdopted", f"{stage.name} attempt {job.attempt} was found at work and goes on")


# -- no Job ----------------------------------------------------------------------------------------------------------


def _without_job(draft: Draft, stage: StageStatus) -> None:
    """A Job that is to be made is made (:mod:`.start`); one that was there and is gone is an attempt that is over."""
    if stage.reason == STOPPING:
        _fail_deadline(draft, stage, None, None)
    elif stage.job_uid is not None:
        lost(draft, stage, None, "JobGone", f"the Job of attempt {stage.attempt} is gone, and with it its outcome")
    elif stage.state is State.RUNNING or stage.attempt is None:  # a status that does not say which Job
        lost(draft, stage, None, "JobGone", f"attempt {stage.attempt} has no Job")


def lost(draft: Draft, stage: StageStatus, job: JobView | None, reason: str, message: str) -> None:
    """Nobody knows how the attempt ended: nothing is charged, and ``prepare`` looks before the next one."""
    stage = draft.close(stage, job, reason, message, devices=devices_of(draft, stage))
    draft.event("AttemptLost", f"{stage.name}: {message}", warning=True)
    if not is_prepare(stage):
        draft.move(stage, State.UNKNOWN, reason, message)
    else:
        budgets.again(draft, stage, reason, message)


# -- a Job -----------------------------------------------------------------------------------------------------------


def _ended(draft: Draft, stage: StageStatus, job: JobView, found: Verdict) -> None:
    if found.lost:
        lost(draft, stage, job, found.reason, found.message)
    elif found.failure is not None:
        budgets.failed(draft, stage, job, found)
    elif found.outcome is None:
        _merge(draft, stage, job)
    elif is_prepare(stage):
        _prepared(draft, stage, job, found.outcome)
    else:
        succeed(draft, stage, job, found.outcome)


def _prepared(draft: Draft, stage: StageStatus, job: JobView, outcome: Outcome) -> None:
    assert outcome.prepare is not None
    if prepare.is_outdated(draft):
        return  # what it found is of the store, or the plan, before: :func:`.prepare.demand` asks anew
    fault = prepare.refused(draft, outcome.prepare)
    if fault is not None:
        budgets.failed(draft, stage, job, Verdict("ReportRejected", fault, FailureClass.INVALID_CONFIG))
        return
    stage = draft.close(stage, job, "Succeeded")
    stage = draft.move(stage, State.SUCCEEDED, completion_time=stamp(draft.now), **budgets.NO_CHARGES)
    events.ended(draft, stage, _summary(stage))
    prepare.apply(draft, outcome.prepare)


def _heard_until(draft: Draft, job: JobView) -> float:
    """When the pods of a Job that has ended must have told how. Of ranks the first to fail is not always the one at
    fault, and a pod's news may come after its Job's, so all are heard."""
    ends = [clock(pod.deleting_since) for pod in job.pods if not pod.over and pod.deleting_since is not None]
    return max([draft.now, *ends]) + POD_GONE_SECONDS


def _await_news(draft: Draft, stage: StageStatus, job: JobView) -> None:
    if stage.job_uid is None:
        draft.move(stage, State.RUNNING, "Starting", job_uid=job.uid)


def _merge(draft: Draft, stage: StageStatus, job: JobView) -> None:
    """The independent pods are through: the same attempt goes on with the merge, which asks for no device."""
    stage = draft.stop_clock(stage, job)
    draft.move(stage, State.STARTING, "Merging", "all pods are through; their parts are put together", job_uid=None)


def _going_on(draft: Draft, stage: StageStatus, job: JobView) -> None:
    """The Job has not ended: it runs, starts or waits."""
    wait = wait_of(draft, stage, job)
    stage = _evicted(draft, stage, job) if wait.reason == "QuotaPending" else stage
    if wait.reason == "Running":
        _running(draft, stage, job)
    elif wait.reason == "InvalidImageName":
        budgets.failed(draft, stage, job, Verdict("InvalidImageName", wait.message, FailureClass.INVALID_CONFIG))
    elif wait.reason in LIMITED | UNLIMITED and stage.running_since is None:
        stage = draft.move(stage, State.WAITING, wait.reason, wait.message, job_uid=job.uid)
        if out_of_time(draft, stage):
            limit = draft.wishes.start_seconds
            message = f"not started within {limit} s (timeouts.startSeconds): {wait.reason}: {wait.message}"
            late = Verdict("StartTimeout", message, FailureClass.INFRASTRUCTURE, node=wait.node)
            budgets.failed(draft, stage, job, late)
    elif stage.running_since is None:
        draft.move(stage, State.RUNNING, "Starting", wait.message or None, job_uid=job.uid)
    else:
        _within_deadline(draft, stage)  # a pod was replaced or ends; the Job will say what it means


def _running(draft: Draft, stage: StageStatus, job: JobView) -> None:
    lost_pod = _out_of_reach(draft, job)
    if stage.running_since is None:
        now = stamp(draft.now)
        stage = draft.move(
            stage, State.RUNNING, "Running", job_uid=job.uid, running_since=now, start_time=stage.start_time or now
        )
    elif lost_pod is not None:
        stage = draft.move(stage, State.RUNNING, NODE_LOST, _advice(lost_pod), job_uid=job.uid)
    else:
        message = None if stage.reason == NODE_LOST else stage.message
        stage = draft.move(stage, State.RUNNING, "Running", message, job_uid=job.uid)
    _within_deadline(draft, stage)


def _out_of_reach(draft: Draft, job: JobView) -> PodView | None:
    """A pod that was to end long ago and may run still, for its node does not answer. Nothing may take its place."""
    late = [pod for pod in job.pods if not pod.over and pod.deleting_since is not None]
    for pod in late:
        until = clock(pod.deleting_since or 0.0) + draft.seen.settings.node_lost_seconds
        if draft.now > until:
            return pod
        draft.wake_at(until)
    return None


def _advice(pod: PodView) -> str:
    return (
        f"pod {pod.name} was to end at {stamp(pod.deleting_since or 0.0)} and its node {pod.node or '(none)'} does not "
        "answer: it may run still, so nothing takes its place. If the machine is off, delete the Node, or taint it "
        "node.kubernetes.io/out-of-service"
    )


def _evicted(draft: Draft, stage: StageStatus, job: JobView) -> StageStatus:
    """A Job that had its place and is suspended again was evicted: it keeps its place in the queue, at no charge."""
    had_place = stage.state is State.RUNNING or (stage.job_uid is not None and stage.reason != "QuotaPending")
    if not had_place:
        return stage
    count = min(MAX_COUNT, (stage.preemptions or 0) + 1)
    stage = draft.stop_clock(stage, job)
    draft.event("Preempted", f"{stage.name} attempt {stage.attempt} was evicted from its queue; its Job stays")
    return draft.put(stage.model_copy(update={"preemptions": count}))


# -- the deadline ----------------------------------------------------------------------------------------------------


def _within_deadline(draft: Draft, stage: StageStatus) -> None:
    """``timeouts.stageSeconds`` counts running time; past it the attempt is stopped, which takes a checkpoint."""
    limit, began = draft.wishes.stage_seconds, seconds(stage.running_since)
    if limit is None or began is None:
        return
    ends = began + limit - (stage.running_seconds or 0)
    if draft.now > ends:
        message = f"it ran for more than {limit} s (timeouts.stageSeconds): it is stopped and leaves a checkpoint"
        draft.move(stage, State.RUNNING, STOPPING, message)
    else:
        draft.wake_at(ends)


def _stopping(draft: Draft, stage: StageStatus, job: JobView, found: Verdict | None) -> None:
    """The attempt was stopped for its deadline: if it finished all the same, good; else it fails when it has ended."""
    outcome = published(job, expected(draft, stage))
    if outcome is not None and not is_prepare(stage):
        succeed(draft, stage, job, outcome)
    elif found is not None or (job.pods and all(pod.over for pod in job.pods)):
        _fail_deadline(draft, stage, job, last_step(job, expected(draft, stage)))


def _fail_deadline(draft: Draft, stage: StageStatus, job: JobView | None, step: int | None) -> None:
    limit = draft.wishes.stage_seconds
    reached = f"step {step}, with a checkpoint there" if step is not None else "a step that it did not tell"
    after = f"{limit} s" if limit is not None else "its time"
    message = (
        f"stopped after {after} of running time (timeouts.stageSeconds) at {reached}; raise the limit and set the "
        "annotation boresight.dev/retry to go on"
    )
    stage = draft.close(stage, job, STOPPING, message, devices=devices_of(draft, stage))
    budgets.give_up(draft, stage, Verdict(STOPPING, message, step=step))


# -- words -----------------------------------------------------------------------------------------------------------


def _steps(stage: StageStatus, outcome: Outcome) -> int | None:
    return None if outcome.step is None else max(0, outcome.step - (stage.resumed_from_step or 0))


def _summary(stage: StageStatus) -> str:
    number = stage.history[-1].attempt if stage.history else stage.attempt
    tries = f"attempt {number}"
    metrics = ", ".join(f"{metric.name} {metric.value}" for metric in stage.metrics[:3])
    return f"succeeded ({tries}{'; ' + metrics if metrics else ''})"
