"""Runs, wherever they are: on this machine or in a cluster. What the commands need of either."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .errors import UserError
from .records import RunRecord, StageRecord

if TYPE_CHECKING:
    from boresight_api.pins import Pin
    from boresight_trainer.store.base import Store

    from .manifests import Manifest
    from .report.write import Report


@dataclass(frozen=True)
class LogWanted:
    """Which log of a run. What is not said is chosen: the stage at work (or that failed), its last attempt, rank 0."""

    stage: str | None = None
    attempt: int | None = None
    rank: str | None = None
    """A number, or ``merge``."""
    follow: bool = False
    previous: bool = False
    """Of the attempt before."""


@dataclass(frozen=True)
class Known:
    """What is known of a manifest's run before it is planned."""

    pins: Mapping[str, Pin]
    """By source id."""
    recipe: str | None
    """Of the run's first plan."""
    finished: Callable[[Iterable[str]], frozenset[str]]
    """Which of these keys have artifacts."""
    present: RunRecord | None
    """The run that is there."""
    place: str
    """Where the keys were looked for."""


@dataclass(frozen=True)
class Listing:
    """Runs, newest first, and those that could not be read."""

    runs: list[RunRecord]
    unreadable: list[UserError] = field(default_factory=list)


class RunsToRead(Protocol):
    """Where a run can be looked at. Every method raises :class:`UserError` for what a user can do something about."""

    def find(self, name: str | None) -> RunRecord:
        """The run called ``name``, or the newest one. Raises :class:`UserError` naming those there are."""

    def store(self, run: RunRecord) -> Store:
        """Where its artifacts lie."""

    def report(self, run: RunRecord) -> Report:
        """All about it."""

    def report_path(self, run: RunRecord) -> Path:
        """Where its report is written if nobody says."""

    def log(self, run: RunRecord, wanted: LogWanted) -> Iterator[bytes]:
        """The log, in parts."""


class Runs(RunsToRead, Protocol):
    """Where runs are started, followed and changed, too."""

    def all(self) -> Listing:
        """Every run, newest first."""

    def follow(self, run: RunRecord) -> Iterator[RunRecord | None]:
        """The run as it is, again and again, every second or two; None once it is gone. The caller ends it."""

    def start(self, file: Path) -> int:
        """Run the manifest in ``file`` and tell how it goes, to its end. The exit code."""

    def suspend(self, run: RunRecord) -> None:
        """Stop it, with a checkpoint, and say so."""

    def resume(self, run: RunRecord) -> int:
        """Let it go on, and say so. The exit code."""

    def retry(self, run: RunRecord) -> int:
        """Begin again where it failed, with fresh budgets, and say so. The exit code."""

    def read(self, file: Path, text: str | None = None) -> Manifest:
        """The manifest in ``file``, as it would be run here. ``text``: its content, if that is of another time."""

    def known(self, manifest: Manifest) -> Known:
        """What is known of the manifest's run."""


def chosen_attempt(run: RunRecord, stage: StageRecord, wanted: LogWanted) -> int:
    """The number of the attempt that is meant. Raises :class:`UserError` if there was none."""
    newest = stage.attempt_count
    number = wanted.attempt or (newest - 1 if wanted.previous else newest)
    if not 1 <= number <= newest:
        have = f"1 to {newest}" if newest > 1 else str(newest or "none")
        raise UserError(
            f"run {run.namespace}/{run.name}: stage {stage.name} has no attempt {number} (attempts: {have})"
        )
    return number


def rank_at_fault(stage: StageRecord, attempt: int) -> str:
    """Of an attempt that failed; 0 if nobody says."""
    return str(next((a.rank for a in stage.attempts if a.number == attempt and a.rank is not None), 0))


def chosen_stage(run: RunRecord, name: str | None) -> StageRecord:
    """The stage called ``name``; by default the one at work, or else the last that had an attempt."""
    if name is None:
        tried = [stage for stage in run.stages if stage.attempt_count]
        if not tried:
            raise UserError(
                f"run {run.namespace}/{run.name} is {run.status}: no stage has begun, so there is no log yet"
            )
        busy = [stage for stage in tried if not stage.state.done]
        return busy[0] if busy else tried[-1]
    stage = run.stage(name)
    if stage is None:
        have = ", ".join(stage.name for stage in run.stages) or "none yet"
        raise UserError(f'run {run.namespace}/{run.name} has no stage "{name}"; it has {have}')
    return stage
