"""From the end of a stage's process to what follows: its outcome, and whether to try again."""

from __future__ import annotations

import json
import signal
from enum import StrEnum
from pathlib import Path

from boresight_api.outcome import ExitCode, FailureClass, Outcome, OutcomeStatus, message_text

from ..text import clean

SIGNAL_CLASSES = {
    signal.SIGKILL: (FailureClass.OUT_OF_MEMORY, "the system killed the process, most likely for memory"),
    signal.SIGTERM: (FailureClass.PREEMPTED, "the process was stopped before it could leave a checkpoint"),
}


class Next(StrEnum):
    """What follows from a failed attempt on this machine."""

    HALVE = "Halve"  # one more attempt with half the token budget: same steps, same key
    STOP = "Stop"  # fail; the message says what to do


def read_outcome(path: Path, stage: str, key: str | None, exit_code: int, log: Path) -> Outcome:
    """The outcome that the process left at ``path``, or the one that its exit code tells if it left none."""
    if path.exists():
        try:
            outcome = Outcome.parse(path.read_bytes())
        except ValueError as error:
            return _failure(stage, key, FailureClass.ERROR, f"{path}: found an outcome that cannot be read: {error}")
        if outcome.key == key:
            return outcome
        return _failure(stage, key, FailureClass.ERROR, f"{path}: found the outcome of {outcome.key}, expected {key}")
    failure, what = classify(exit_code)
    last = last_lines(log, 1)
    return _failure(stage, key, failure, f"{what}{': ' + last[0] if last else ''}")


def classify(exit_code: int) -> tuple[FailureClass, str]:
    """Failure class and words for a process that left no outcome. ``-N``: killed by signal N."""
    if exit_code < 0:
        number = signal.Signals(-exit_code)
        return SIGNAL_CLASSES.get(number, (FailureClass.ERROR, f"the process died of {number.name}"))
    try:
        failure = ExitCode(exit_code).failure_class
    except ValueError:
        failure = FailureClass.ERROR
    return failure or FailureClass.ERROR, f"the process ended with exit code {exit_code} and without an outcome"


def decide(failure: FailureClass, *, recipe: str, halvings: int) -> Next:
    """The local part of the failure table (docs/cli.md). ``halvings``: how often the token budget was halved already.

    Only training has a token budget. Every other class needs the user, or has no meaning on one machine.
    """
    trains = recipe in {"sft", "dpo"}
    return Next.HALVE if failure is FailureClass.OUT_OF_MEMORY and trains and halvings == 0 else Next.STOP


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log that are not empty, fit for a terminal; JSON records as text, with their tracebacks."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 65_536))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    shown = [clean(part) for line in lines for part in _readable(line)]
    return [line for line in shown if line.strip()][-count:]


def _readable(line: str) -> list[str]:
    """The lines of one log record."""
    try:
        record = json.loads(line)
    except ValueError:
        return [line]
    if not isinstance(record, dict) or "message" not in record:
        return [line]
    return [str(record["message"]), *str(record.get("traceback", "")).splitlines()]


def _failure(stage: str, key: str | None, failure: FailureClass, message: str) -> Outcome:
    return Outcome(
        status=OutcomeStatus.FAILED, stage=stage, key=key, failure_class=failure, message=message_text(message)
    )
