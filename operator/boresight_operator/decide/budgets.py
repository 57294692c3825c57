"""The failure table: what follows from a failed attempt, and what it costs. Budgets are per stage and key.

| class | what follows |
|---|---|
| Preempted | the next attempt, without charge |
| Infrastructure, Hung | the next attempt after a back-off, from a budget of its own |
| OutOfMemory | one attempt with half the token budget |
| MissingInput | ``prepare`` again, at most twice |
| Error | one more attempt |
| InvalidConfig, InvalidData, Diverged | none |
"""

from __future__ import annotations

import hashlib

from boresight_api.outcome import FailureClass
from boresight_api.status import StageStatus

from ..views import JobView
from .classify import Verdict
from .draft import MAX_ATTEMPT, MAX_COUNT, Draft, State, is_prepare, seconds

OUT_OF_MEMORY_RETRIES = 1
MISSING_INPUT_RETRIES = 2
FIRST_BACK_OFF_SECONDS = 10
LONGEST_BACK_OFF_SECONDS = 600
UNPRODUCTIVE_SECONDS = 60
"""An attempt that was stopped sooner than this got nowhere; after two such in a row the next one waits."""
FAILURES_ON_A_NODE = 2
_CHARGED = frozenset({FailureClass.INFRASTRUCTURE, FailureClass.HUNG, FailureClass.ERROR})
_OF_THE_NODE = frozenset({FailureClass.INFRASTRUCTURE, FailureClass.HUNG})

LOST = frozenset({"JobGone", "OutcomeLost"})
"""Reasons of attempts of which nobody knows how they ended."""

COUNTERS = ("infrastructure_retries", "error_retries", "out_of_memory_retries", "missing_input_retries")
NO_CHARGES: dict[str, None] = dict.fromkeys(COUNTERS)
"""An update that gives a stage its whole budgets again."""


def failed(draft: Draft, stage: StageStatus, job: JobView | None, verdict: Verdict) -> None:
    """The stage's attempt ended with a failure class: close it and say what follows."""
    failure = verdict.failure
    assert failure is not None
    stage = draft.close(
        stage,
        job,
        verdict.reason,
        verdict.message,
        failure=failure,
        rank=verdict.rank,
        node=verdict.node,
        gained=_gained(stage, verdict),
    )
    match failure:
        case FailureClass.PREEMPTED:
            preempted(draft, stage, verdict)
        case FailureClass.INFRASTRUCTURE | FailureClass.HUNG | FailureClass.PEER_LOST:
            _charge(draft, stage, verdict, "infrastructure_retries", draft.wishes.infrastructure_retries)
        case FailureClass.ERROR:
            _charge(draft, stage, verdict, "error_retries", draft.wishes.error_retries)
        case FailureClass.OUT_OF_MEMORY:
            _charge(draft, stage, verdict, "out_of_memory_retries", 0 if is_prepare(stage) else OUT_OF_MEMORY_RETRIES)
        case FailureClass.MISSING_INPUT:
            _charge(draft, stage, verdict, "missing_input_retries", MISSING_INPUT_RETRIES)
        case FailureClass.INVALID_CONFIG | FailureClass.INVALID_DATA | FailureClass.DIVERGED:
            give_up(draft, stage, verdict)


def preempted(draft: Draft, stage: StageStatus, verdict: Verdict) -> None:
    """Somebody else needed the place: the next attempt goes on from the checkpoint, and nothing is charged."""
    count = min(MAX_COUNT, (stage.preemptions or 0) + 1)
    step = verdict.step if verdict.step is not None else stage.resumed_from_step
    stage = draft.put(stage.model_copy(update={"preemptions": count, "resumed_from_step": step}))
    draft.event("Preempted", f"{stage.name} attempt {stage.attempt} lost its place: {verdict.message}")
    again(draft, stage, "Preempted", verdict.message)


def again(draft: Draft, stage: StageStatus, reason: str, message: str) -> None:
    """The next attempt, at once or after the back-off."""
    if back_off_seconds(draft, stage) > 0:
        draft.move(stage, State.WAITING, "BackOff", message)
    else:
        draft.move(stage, State.PENDING, reason, message)


def give_up(draft: Draft, stage: StageStatus, verdict: Verdict) -> None:
    """No further attempt: only the user can help."""
    message = verdict.message
    if verdict.failure is FailureClass.DIVERGED:
        message = f"{message}; {_last_good(stage, verdict)}"
    stage = draft.move(stage, State.FAILED, verdict.reason, message, completion_time=None)
    draft.event("StageFailed", f"{stage.name} failed ({verdict.reason}): {message}", warning=True)


def back_off_seconds(draft: Draft, stage: StageStatus) -> int:
    """How long the next attempt waits after the last one ended: twice as long each time, with jitter, at most 10 min.

    Deterministic in run and attempt: whoever decides, decides the same.
    """
    number = _unproductive(stage)
    if number == 0:
        return 0
    base = min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2 ** min(number - 1, 10))
    digest = hashlib.sha256(f"{draft.seen.run.uid}/{stage.name}/{stage.attempt}".encode("utf-8", "replace")).digest()
    return int(base * (0.75 + 0.5 * digest[0] / 255))


def halvings(stage: StageStatus) -> int:
    """How often the next attempt's token budget is halved."""
    return min(stage.out_of_memory_retries or 0, OUT_OF_MEMORY_RETRIES)


def avoided_nodes(stage: StageStatus) -> tuple[str, ...]:
    """Nodes on which the stage met a fault of the infrastructure twice."""
    nodes = [entry.node for entry in stage.history if entry.failure_class in _OF_THE_NODE and entry.node]
    return tuple(sorted({node for node in nodes if nodes.count(node) >= FAILURES_ON_A_NODE}))


def next_attempt(draft: Draft, stage: StageStatus) -> int:
    """One more than any number that was ever given: by status, history or a Job."""
    numbers = [entry.attempt for entry in stage.history]
    numbers += [job.attempt for job in draft.seen.jobs if job.stage == stage.name and job.attempt <= MAX_ATTEMPT]
    return max([stage.attempt or 0, *numbers], default=0) + 1


def numbers_are_used_up(draft: Draft, stage: StageStatus) -> bool:
    """Whether no number is left that the status can hold."""
    return next_attempt(draft, stage) > MAX_ATTEMPT


def _charge(draft: Draft, stage: StageStatus, verdict: Verdict, counter: str, limit: int) -> None:
    spent = getattr(stage, counter) or 0
    if spent >= limit:
        give_up(draft, stage, verdict)
        return
    stage = draft.put(stage.model_copy(update={counter: spent + 1}))
    left = limit - spent - 1
    message = f"{verdict.message} ({verdict.reason}, {left} further {'try' if left == 1 else 'tries'} left)"
    draft.event("AttemptFailed", f"{stage.name} attempt {stage.attempt}: {message}", warning=True)
    if verdict.failure is FailureClass.MISSING_INPUT and not is_prepare(stage):
        draft.move(stage, State.UNKNOWN, "MissingInput", verdict.message)
    else:
        again(draft, stage, verdict.reason, message)


def _gained(stage: StageStatus, verdict: Verdict) -> int | None:
    """Steps that the next attempt does not repeat: known where the trainer took a checkpoint at its end."""
    if verdict.failure is not FailureClass.PREEMPTED or verdict.step is None:
        return None
    return max(0, verdict.step - (stage.resumed_from_step or 0))


def _unproductive(stage: StageStatus) -> int:
    """Which back-off in a row the stage is at; 0: none."""
    last = stage.history[-1] if stage.history else None
    if last is None or last.failure_class is FailureClass.OUT_OF_MEMORY:
        return 0
    if last.failure_class in _CHARGED or last.failure_class is FailureClass.MISSING_INPUT:
        return (stage.infrastructure_retries or 0) + (stage.error_retries or 0) + (stage.missing_input_retries or 0)
    row = 0
    for entry in reversed(stage.history):
        began, ended = seconds(entry.start_time), seconds(entry.end_time)
        ran = ended - began if began is not None and ended is not None else 0
        stopped = entry.failure_class is FailureClass.PREEMPTED or entry.reason in LOST
        if not stopped or entry.steps_gained or ran >= UNPRODUCTIVE_SECONDS:
            break
        row += 1
    return max(0, row - 1)


def _last_good(stage: StageStatus, verdict: Verdict) -> str:
    at = "" if verdict.step is None else f"it diverged at step {verdict.step}; "
    good = stage.resumed_from_step
    return f"{at}last good checkpoint: {'none is known' if good is None else f'step {good}'}"
