"""The status of a run as lines: its stages as a tree, with times, attempts and why something waits or failed. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from .records import Attempt, RunRecord, StageRecord, State
from .tables import aligned
from .text import clean, duration, short

HEADERS = ("STAGE", "STATE", "KEY", "QUEUED", "TIME", "ATTEMPTS", "METRICS")
_PLAIN = {State.PENDING, State.SUCCEEDED, State.CACHED, State.RUNNING, State.STARTING, State.UNKNOWN, State.HELD}
"""States that need no explanation, unless an attempt failed."""


def status_lines(run: RunRecord) -> list[str]:
    """Everything, for a terminal."""
    lines = [headline(run)]
    if run.stages:
        rows = [row for stage in run.stages for row in _rows(stage)]
        lines += aligned(HEADERS, rows).splitlines()
    lines += [clean(line) for line in why(run)]
    return lines


def headline(run: RunRecord) -> str:
    """What it is and what it does, in a line."""
    devices = f", {device_hours(run.device_seconds)} used" if run.device_seconds else ""
    origin = f"  ({run.manifest_path})" if run.manifest_path else ""
    stage = run.at_work
    doing = f" ({stage.name})" if stage is not None and run.verdict is None and run.reason else ""
    return clean(f"{run.kind} {run.namespace}/{run.name}: {run.status}{doing}{devices}{origin}")


def why(run: RunRecord) -> Iterator[str]:
    """Why the run waits, failed or cannot go on: of each stage, then of the whole."""
    said = set()
    for stage in run.stages:
        for line in _reasons(stage):
            said.add(line)
            yield f"{stage.name}: {line}"
    if run.stalled and not any(run.stalled.startswith(f"{stage.name}: {stage.message}") for stage in run.stages):
        yield f"stalled: {run.stalled}"
    elif run.stalled and "\n" in run.stalled:
        yield run.stalled.partition("\n")[2]  # the command that shows the log
    elif run.message and not run.stages:
        yield run.message
    if run.unseen and run.stages:
        yield "no operator has acted on the newest change of the run yet"


def progress_text(stage: StageRecord) -> str:
    """``train 310/500, 14 min left``; ``starting`` before there is anything to count."""
    found = stage.progress
    if found is None:
        return ""
    if not found.total_steps:
        return "starting"
    phase = f"{found.phase} " if found.phase else ""
    left = f", {duration(found.remaining_seconds)} left" if found.remaining_seconds is not None else ""
    return f"{phase}{found.step}/{found.total_steps}{left}"


def device_hours(seconds: int) -> str:
    """``25.3 device-hours``; below one hour in minutes."""
    if seconds < 3600:
        return f"{seconds / 60:.0f} device-minutes"
    return f"{seconds / 3600:,.1f} device-hours"


def _rows(stage: StageRecord) -> Iterator[list[str]]:
    """The stage, and below it the attempts that did not bring it to its end."""
    yield [
        stage.name,
        stage.state.value,
        short(stage.key),
        duration(stage.queued_seconds) if stage.queued_seconds else "",
        duration(stage.seconds) if stage.seconds or stage.attempts else "",
        str(stage.attempt_count or ""),
        progress_text(stage) or "  ".join(f"{name} {value}" for name, value in stage.metrics[:3]),
    ]
    over = [attempt for attempt in stage.attempts if attempt.ended_at is not None or attempt.failure_class is not None]
    futile = over[:-1] if stage.state.done else over
    for attempt in futile:
        name = f"{'└' if attempt is futile[-1] else '├'} attempt {attempt.number}"
        end = attempt.failure_class or attempt.reason or ""
        yield [name, end, "", "", duration(attempt.seconds), "", _gained(attempt)]


def _gained(attempt: Attempt) -> str:
    facts = [f"on {attempt.node}"] if attempt.node else []
    facts += [f"rank {attempt.rank}"] if attempt.rank else []
    facts += [f"{attempt.steps_gained} steps kept"] if attempt.steps_gained else []
    return ", ".join(facts)


def _reasons(stage: StageRecord) -> Iterator[str]:
    for attempt in stage.attempts:
        if attempt.failure_class is not None:
            log = f" (log: {attempt.log})" if attempt.log else ""
            yield f"attempt {attempt.number}: {attempt.failure_class}: {attempt.message or ''}{log}"
    if stage.reason and (stage.state not in _PLAIN or (stage.message and stage.state is State.RUNNING)):
        yield f"{stage.reason}: {stage.message}" if stage.message else stage.reason
