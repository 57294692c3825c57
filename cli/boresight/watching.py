"""Following a run to its end, and waiting for something about it: the same for every source."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import click

from .errors import TIMED_OUT, UserError
from .limit import OutOfTimeError, at_most
from .records import RunRecord, State
from .source import Runs
from .status_lines import headline, progress_text, status_lines, why
from .text import clean

OVER = {State.SUCCEEDED, State.FAILED, State.INTERRUPTED, State.HELD}
"""States of a run that it does not leave by itself."""
LOOK_SECONDS = 1.0
"""For one look at the run, if less is asked for."""
PROGRESS_SECONDS = 30.0
"""How often plain lines tell of progress."""


class Verdict(StrEnum):
    """Of something that is waited for."""

    REACHED = "Reached"
    POSSIBLE = "Possible"
    IMPOSSIBLE = "Impossible"
    """Unless somebody does something."""


@dataclass(frozen=True)
class Goal:
    """What is waited for: ``Succeeded``, ``Prepared`` or ``stage=NAME``."""

    text: str

    @property
    def stage(self) -> str | None:
        """The stage whose artifact is waited for; of ``Prepared``: prepare."""
        if self.text == "Prepared":
            return "prepare"
        return self.text.removeprefix("stage=") if self.text.startswith("stage=") else None

    def verdict(self, run: RunRecord) -> Verdict:
        """Where the run stands. Raises :class:`UserError` for a stage that the plan does not have."""
        if run.unseen:
            return Verdict.POSSIBLE
        if self.stage is None:
            reached = run.state is State.SUCCEEDED
        else:
            stage = run.stage(self.stage)
            if stage is None and any(s.key for s in run.stages):
                have = ", ".join(s.name for s in run.stages)
                raise UserError(f"--for: run {run.name} has no stage {self.stage}; it has {have}")
            reached = run.state is State.SUCCEEDED or (stage is not None and stage.state.done)
        if reached:
            return Verdict.REACHED
        return Verdict.IMPOSSIBLE if ends(run) else Verdict.POSSIBLE


def parse_goal(text: str) -> Goal:
    """Raises :class:`UserError` for a text that names nothing to wait for."""
    if text in {"Succeeded", "Prepared"} or (text.startswith("stage=") and text != "stage="):
        return Goal(text)
    raise UserError(f'--for: found "{text}", expected Succeeded, Prepared or stage=NAME')


def ends(run: RunRecord) -> bool:
    """Whether nothing will happen to the run unless somebody does something."""
    return not run.unseen and (run.state in OVER or run.stalled is not None)


def wait(runs: Runs, name: str | None, goal: Goal, timeout: float | None) -> int:
    """Until the run has reached ``goal`` (0), or ``timeout`` seconds are over (124), whatever hangs meanwhile.

    Raises :class:`UserError` if the goal cannot be reached any more.
    """
    last: list[RunRecord] = []
    try:
        with at_most(timeout if timeout is None else max(timeout, LOOK_SECONDS)):
            for now in _until(runs, runs.find(name), goal):
                last = [now]
    except OutOfTimeError:
        news = "\n".join(map(_told, last)) or "the run could not be read in that time"
        click.echo(f"not within {timeout:g} s: {goal.text}: {news}", err=True)
        return TIMED_OUT
    click.echo(f"{last[0].namespace}/{last[0].name}: {goal.text}")
    return 0


def _until(runs: Runs, run: RunRecord, goal: Goal) -> Iterator[RunRecord]:
    """The run as it is, until it has reached ``goal``. What it does meanwhile is told on stderr."""
    told = ""
    for now in runs.follow(run):
        if now is None:
            raise UserError(f"run {run.namespace}/{run.name} is gone: it was deleted")
        yield now
        verdict = goal.verdict(now)
        if verdict is Verdict.REACHED:
            return
        if verdict is Verdict.IMPOSSIBLE:
            raise UserError(f"{goal.text} is out of reach: {_told(now)}")
        if _told(now) != told:
            told = _told(now)
            click.echo(told, err=True)


def _told(run: RunRecord) -> str:
    return "\n".join([headline(run), *map(clean, why(run))])


def watch(runs: Runs, run: RunRecord) -> int:
    """Show the run until its end: live on a terminal, else as plain lines. 0 if it succeeded, else 1."""
    if sys.stdout.isatty():
        return _live(runs, run)
    return _plain(runs, run)


def _live(runs: Runs, run: RunRecord) -> int:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for now in _until_it_ends(runs, run):
            live.update(Text("\n".join(status_lines(now)), no_wrap=False), refresh=True)
            last = now
    return _code(last)


def _plain(runs: Runs, run: RunRecord, clock: Callable[[], float] = time.monotonic) -> int:
    """A line for every change, and now and then one for progress."""
    told: set[str] = set()
    progress_at = clock()
    for now in _until_it_ends(runs, run):
        news = list(_news(now))
        for line in news:
            if line not in told:
                click.echo(line)
        told = set(news)
        stage = now.at_work
        if stage is not None and stage.progress is not None and clock() - progress_at >= PROGRESS_SECONDS:
            progress_at = clock()
            click.echo(f"{stage.name}: {progress_text(stage)}")
        last = now
    return _code(last)


def _news(run: RunRecord) -> Iterator[str]:
    yield headline(run)
    for stage in run.stages:
        attempt = f" (attempt {stage.attempt_count})" if stage.attempt_count > 1 else ""
        if stage.state not in {State.PENDING, State.UNKNOWN}:
            yield f"{stage.name}: {stage.state.value}{attempt}"
    yield from map(clean, why(run))


def _until_it_ends(runs: Runs, run: RunRecord) -> Iterator[RunRecord]:
    for now in runs.follow(run):
        if now is None:
            raise UserError(f"run {run.namespace}/{run.name} is gone: it was deleted")
        yield now
        if ends(now):
            return


def _code(run: RunRecord) -> int:
    return 0 if run.state in {State.SUCCEEDED, State.HELD} else 1
