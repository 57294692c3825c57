"""Which stage comes next, whether it may start now, and the attempt that it starts. One keyed stage at a time."""

from __future__ import annotations

from boresight_api.outcome import FailureClass
from boresight_api.problems import Problem
from boresight_api.status import StageStatus

from ..decision import DeleteJob, LookAtNode, SavePlan, StartAttempt
from ..names import attempt_name, plan_name
from ..views import PREPARE, JobView, Part, PodView, Refusal
from . import claims, events
from .attempts import STOPPING, current_job, devices_of, part_of
from .budgets import (
    LONGEST_BACK_OFF_SECONDS,
    LOST,
    avoided_nodes,
    back_off_seconds,
    failed,
    halvings,
    next_attempt,
    numbers_are_used_up,
)
from .classify import Verdict
from .draft import DONE, REFUSED, Draft, State, clock, finished, has_ended, is_prepare, seconds, under_way
from .prepare import MISSING
from .waiting import out_of_time
from .wishes import compute_digest

HELD = "NotStarted"
"""Reason of a stage whose attempt had a number and no Job when the spec turned out to be none that may start."""
FIRST_TRY_AGAIN_SECONDS = 5
LAST_TRY_AGAIN_SECONDS = 300
"""Bounds of how soon objects are offered again that the API server did not take."""
SAVE_WITHIN_SECONDS = 60
"""How long after its end the plan of a run that was cached whole is still saved."""


def advance(draft: Draft, problems: tuple[Problem, ...]) -> None:
    """Move the first stage that is not done; those behind it are Pending. Nothing starts with ``problems``."""
    held = bool(problems) or draft.wishes.suspend or finished(draft)
    if held:
        _keep_unborn(draft)
    if draft.plan is None:
        return
    stage = draft.stages[PREPARE]
    if not held and _is_idle(stage):
        _start(draft, stage)
    ready = stage.state is State.SUCCEEDED and not held
    stopped = PREPARE if draft.plan.stop_after == PREPARE else None
    for planned, stage in list(draft.planned()):
        if planned.key == stage.key and stage.state in DONE:
            pass
        elif not ready or planned.key is None or any_under_way(draft, stage):
            ready = False
            _behind(draft, stage)
        elif stopped is not None:
            ready = False
            _hold(draft, stage, stopped)
        else:
            ready = _next(draft, stage)
        if planned.name == draft.plan.stop_after:
            stopped = planned.name


def any_under_way(draft: Draft, besides: StageStatus) -> bool:
    """Whether another keyed stage has an attempt: after an edit a later one may go on while this one waits."""
    others = (s for s in draft.stages.values() if s.name not in {PREPARE, besides.name})
    return any(under_way(stage) for stage in others)


def effects(draft: Draft) -> None:
    """What the status now asks for: Jobs that no stage wants are deleted, attempts without Job get theirs."""
    wanted = {stage.name: stage for stage in draft.stages.values() if under_way(stage)}
    for job in draft.seen.jobs:
        if not (has_ended(job) or job.deleting or _is_of(job, wanted.get(job.stage))):
            draft.effects.append(DeleteJob(job.name, job.uid))
    starts = [start for stage in wanted.values() if (start := _attempt(draft, stage)) is not None]
    if _plan_is_unsaved(draft) and (_has_just_finished(draft) or any(start.key is not None for start in starts)):
        assert draft.plan is not None
        draft.effects.append(SavePlan(draft.plan))
    draft.effects.extend(starts)


# -- one stage -------------------------------------------------------------------------------------------------------


def _next(draft: Draft, stage: StageStatus) -> bool:
    """The stage whose turn it is; says whether the one after it may follow at once."""
    if stage.state in {State.FAILED, State.UNKNOWN, State.SUSPENDED}:
        return False
    unborn = stage.state is State.STARTING and current_job(draft, stage) is None and not _merging(stage)
    if _is_idle(stage) or unborn or stage.reason in REFUSED:
        has_job = stage.job_uid is not None and not _is_idle(stage)  # an idle stage may still name its last one
        rival = None if has_job or stage.reason == MISSING else claims.artifact_of_another(draft, stage)
        if rival is not None:
            claims.take(draft, stage, rival)
            return True
        rival = None if has_job else claims.in_the_way(draft, stage)
        if rival is not None:
            claims.wait_for(draft, stage, rival)
            return False
    if _is_idle(stage):
        _start(draft, stage)
    return False


def _keep_unborn(draft: Draft) -> None:
    """An attempt without Job gets none: it would be made of a spec that makes no plan, or that is not allowed."""
    for stage in tuple(draft.stages.values()):
        if under_way(stage) and stage.job_uid is None and current_job(draft, stage) is None:
            draft.move(stage, State.PENDING, HELD)  # under its number, which is not given again


def _start(draft: Draft, stage: StageStatus) -> None:
    """A new attempt, unless something is in its way."""
    if numbers_are_used_up(draft, stage):
        draft.move(stage, State.FAILED, "AttemptsUsedUp", "the status can count no further attempt; make a new run")
        return
    if _backs_off(draft, stage) or _waits_for_pods(draft, stage) or _waits_for_limit(draft, stage):
        return
    planned = draft.planned_stage(stage.name)
    part = part_of(draft, stage)
    stage = draft.move(
        stage,
        State.STARTING,
        "Merging" if part is Part.MERGE else None,
        attempt=next_attempt(draft, stage),
        job_uid=None,
        compute=compute_digest(planned.compute) if planned is not None else None,
    )
    events.starting(draft, stage)


def _backs_off(draft: Draft, stage: StageStatus) -> bool:
    """Whether its back-off is not over."""
    last = stage.history[-1] if stage.history else None
    if last is None or not (stage.reason == "BackOff" or (last.reason in LOST and stage.reason != "Retry")):
        return False
    until = (seconds(last.end_time) or 0) + back_off_seconds(draft, stage)
    if draft.now >= until or until > draft.now + 2 * LONGEST_BACK_OFF_SECONDS:
        return False
    if stage.reason != "BackOff":  # prepare has looked meanwhile what the attempts left that nobody knows the end of
        draft.move(
            stage, State.WAITING, "BackOff", f"attempt {last.attempt} was lost ({last.reason}), not the first in a row"
        )
    draft.wake_at(until)
    return True


def _waits_for_pods(draft: Draft, stage: StageStatus) -> bool:
    """Whether an earlier attempt still ends: of ``prepare`` for ``prepare``, of any keyed stage for a keyed one."""
    for job in draft.seen.jobs:
        if is_prepare(stage) is not (job.stage == PREPARE):
            continue
        alive = [pod for pod in job.pods if not pod.over and not _node_is_gone(draft, pod)]
        stuck = job.deleting and bool(job.pods) and not alive
        if alive or not (job.complete or job.failed or stuck):
            pods = ", ".join(f"{pod.name} on {pod.node or 'no node'}" for pod in alive[:3])
            message = f"attempt {job.attempt} of {job.stage} still ends" + (f": {pods}" if pods else "")
            known = next_attempt(draft, stage) - 1  # once the Job is gone nothing else may know its number
            draft.move(stage, State.WAITING, "PreviousAttemptEnding", message, attempt=known or None, job_uid=None)
            return True
    return False


def _node_is_gone(draft: Draft, pod: PodView) -> bool:
    """Whether the pod can run no more because its node does not exist, for long enough. Asks to look, in time."""
    if pod.deleting_since is None or pod.node is None:
        return False
    until = clock(pod.deleting_since) + draft.seen.settings.node_lost_seconds
    if draft.now <= until:
        draft.wake_at(until)
        return False
    if pod.node in draft.seen.nodes_gone:
        return True
    if LookAtNode(pod.node) not in draft.effects:
        draft.effects.append(LookAtNode(pod.node))
    draft.wake_at(draft.now + draft.seen.settings.node_lost_seconds)
    return False


def _waits_for_limit(draft: Draft, stage: StageStatus) -> bool:
    """Whether the namespace has all that its settings allow it."""
    limits, usage = draft.seen.settings.limits, draft.seen.usage
    devices = devices_of(draft, stage)
    message = None
    if limits.max_runs is not None and usage.runs >= limits.max_runs and not any(map(under_way, draft.stages.values())):
        message = f"{usage.runs} runs work in this namespace, limits.maxRuns is {limits.max_runs}"
    elif limits.max_devices is not None and devices and usage.devices + devices > limits.max_devices:
        message = (
            f"{usage.devices} devices are in use, {devices} more would pass limits.maxDevices {limits.max_devices}"
        )
    if message is None:
        return False
    draft.move(stage, State.WAITING, "NamespaceLimit", message, job_uid=None)  # a number that it had is not given again
    return True


def _is_idle(stage: StageStatus) -> bool:
    """Whether it has no attempt and may get one."""
    return stage.state is State.PENDING or (stage.state is State.WAITING and not under_way(stage))


def _behind(draft: Draft, stage: StageStatus) -> None:
    """A stage whose turn it is not."""
    if stage.state is State.WAITING and not under_way(stage) and stage.reason != "BackOff":
        draft.move(stage, State.PENDING)


def _hold(draft: Draft, stage: StageStatus, last: str) -> None:
    """``spec.stopAfter``: the stage after ``last`` waits for the user. An attempt under way is not stopped."""
    if _is_idle(stage):
        draft.move(stage, State.WAITING, "StoppedAfter", f"spec.stopAfter holds the run after {last}", job_uid=None)


# -- what exists, and what must --------------------------------------------------------------------------------------


def _attempt(draft: Draft, stage: StageStatus) -> StartAttempt | None:
    """The objects to make, if the stage's attempt has no Job. A key that only this decision knows waits a round."""
    if stage.job_uid is not None or current_job(draft, stage) is not None:
        return None
    if not (is_prepare(stage) or _planned_now(draft, stage)):
        return None
    if not (stage.state is State.STARTING or stage.reason in REFUSED) or stage.attempt is None:
        return None
    start = StartAttempt(
        stage=stage.name,
        key=None if is_prepare(stage) else stage.key,
        attempt=stage.attempt,
        part=part_of(draft, stage),
        halvings=halvings(stage),
        avoid_nodes=avoided_nodes(stage),
    )
    refusal = _refusal(draft, start)
    if refusal is not None:
        wait = min(max((draft.now - clock(refusal.since)) / 2, FIRST_TRY_AGAIN_SECONDS), LAST_TRY_AGAIN_SECONDS)
        draft.wake_at(draft.now + wait)
    return start


def refused(draft: Draft) -> None:
    """An attempt whose objects are not taken waits, and says for what.

    One of its own that the API server will never take fails it: waiting would hold its key for ever. One that no edit
    of the run can mend is offered again until somebody has mended what makes it so; the run is Stalled until then.
    """
    for stage in tuple(draft.stages.values()):
        if not under_way(stage) or stage.job_uid is not None or stage.attempt is None:
            continue
        if current_job(draft, stage) is not None:
            continue
        key = None if is_prepare(stage) else stage.key
        refusal = _refusal(draft, StartAttempt(stage.name, key, stage.attempt, part_of(draft, stage)))
        if refusal is None:
            if stage.reason in REFUSED:
                draft.move(stage, State.STARTING)
            continue
        reason = _REASONS.get(refusal.reason, "ObjectInvalid")
        message = f"{refusal.kind} {refusal.name}: {refusal.message}"
        if reason == "ObjectInvalid" and refusal.kind in _ITS_OWN:
            failed(draft, stage, None, Verdict(reason, message, FailureClass.INVALID_CONFIG))
            continue
        stage = draft.move(stage, State.WAITING, reason, message)
        if out_of_time(draft, stage):
            message = f"its objects were not taken for {draft.wishes.start_seconds} s: {stage.message}"
            failed(draft, stage, None, Verdict("StartTimeout", message, FailureClass.INFRASTRUCTURE))


_REASONS = {
    "NameConflict": "NameConflict",
    "NamespaceTerminating": "NamespaceTerminating",
    "Forbidden": "PodsForbidden",
}
"""The API server's reason -> ours."""
_ITS_OWN = frozenset({"Job", "Service"})
"""Kinds that the run's compute shapes and each attempt makes anew; the others follow from the settings or the plan."""


def _refusal(draft: Draft, start: StartAttempt) -> Refusal | None:
    """About an object of this attempt, or about one that all attempts of the run share."""
    run, digest = draft.seen.run, draft.plan.digest if draft.plan is not None else None
    ours = {attempt_name(run.name, run.uid, start.stage, start.key, start.attempt, start.part)}
    ours |= {plan_name(run.name, run.uid, digest)} if digest is not None else set()
    return next((r for r in draft.seen.refusals if r.name in ours or r.kind == "NetworkPolicy"), None)


def _planned_now(draft: Draft, stage: StageStatus) -> bool:
    """Whether the plan that was observed (from which objects are made) has the stage under its key."""
    plan = draft.seen.plan
    return plan is not None and any(p.name == stage.name and p.key == stage.key for p in plan.stages)


def _is_of(job: JobView, stage: StageStatus | None) -> bool:
    """Whether a Job is that of the stage's attempt, and is to go on."""
    if stage is None or stage.reason == STOPPING:
        return False
    if stage.job_uid is not None:
        return job.uid == stage.job_uid
    return job.attempt == stage.attempt and job.key == stage.key


def _merging(stage: StageStatus) -> bool:
    return stage.reason == "Merging"


def _has_just_finished(draft: Draft) -> bool:
    """Whether the run is done without any attempt of its own, so that no other moment saves its plan."""
    ends = [seconds(stage.completion_time) or 0 for _, stage in draft.planned()]
    return finished(draft) and draft.now - max(ends) < SAVE_WITHIN_SECONDS


def _plan_is_unsaved(draft: Draft) -> bool:
    """Whether no Job shows that the plan was saved."""
    plan = draft.plan
    if plan is None or plan.digest is None or draft.seen.plan is None or draft.seen.plan.digest != plan.digest:
        return False
    return not any(job.key is not None and job.plan == plan.digest for job in draft.seen.jobs)
