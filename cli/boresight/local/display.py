"""What a local run shows: bars on a terminal, a plain line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from ..text import clean, duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


class Display(Protocol):
    """Where a run's news go. One stage is open at a time, between :meth:`begin` and :meth:`end`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def note(self, text: str) -> None:
        """One line that stays."""

    def begin(self, stage: str) -> None:
        """A stage has started."""

    def update(self, progress: Mapping[str, Any]) -> None:
        """The open stage's /progress document."""

    def end(self, mark: str, text: str) -> None:
        """The open stage is over; ``mark`` is one character."""


def make_display(width: int) -> Display:
    """Bars if stderr is a terminal, lines otherwise. ``width`` is that of the longest stage name."""
    return BarDisplay(width) if sys.stderr.isatty() else LineDisplay(width)


def figures(progress: Mapping[str, Any]) -> str:
    """The numbers of a progress document that people watch: ``420 tokens/s  loss 1.234``."""
    parts = []
    if isinstance(speed := progress.get("tokensPerSecond"), int | float):
        parts.append(f"{speed:,.0f} tokens/s")
    if isinstance(loss := progress.get("loss"), int | float):
        parts.append(f"loss {loss:.3f}")
    return "  ".join(parts)


class LineDisplay:
    """For logs and pipes: each stage's start, phases and end, and in between a line every half minute."""

    def __init__(
        self,
        width: int,
        *,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        interval: float = 30.0,
    ) -> None:
        self._width = width
        self._write = write or (lambda line: print(line, file=sys.stderr, flush=True))
        self._clock = clock
        self._interval = interval
        self._stage = ""
        self._phase: object = None
        self._told = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def note(self, text: str) -> None:
        self._write(clean(text))

    def begin(self, stage: str) -> None:
        self._stage, self._phase, self._told = stage, None, self._clock()
        self._write(f"  {stage:{self._width}}  started")

    def update(self, progress: Mapping[str, Any]) -> None:
        phase, now = progress.get("phase"), self._clock()
        if phase == self._phase and now - self._told < self._interval:
            return
        self._phase, self._told = phase, now
        total = progress.get("totalSteps")
        steps = f" {progress.get('step')}/{total}" if total else ""
        left = progress.get("remainingSeconds")
        remaining = f"  {duration(left)} left" if isinstance(left, int | float) else ""
        numbers = figures(progress)
        self._write(
            clean(f"  {self._stage:{self._width}}  {phase}{steps}{'  ' + numbers if numbers else ''}{remaining}")
        )

    def end(self, mark: str, text: str) -> None:
        self._write(clean(f"{mark} {self._stage:{self._width}}  {text}"))


MARK_STYLES = {"✓": "green", "=": "cyan", "✗": "bold red", "!": "yellow"}
"""Done, cached, failed, interrupted."""


class BarDisplay:
    """For terminals: one line for the open stage, with a bar; lines of finished stages stay above it."""

    def __init__(self, width: int, console: Console | None = None) -> None:
        import rich.console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._width = width
        self._console = console or rich.console.Console(stderr=True, highlight=False)
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn(f"{{task.description:{width}}}"),
            TextColumn("{task.fields[phase]:12}", style="dim"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", style="dim"),
            console=self._console,
            transient=True,
            refresh_per_second=5,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        self._console.print(clean(text), markup=False, soft_wrap=True)

    def begin(self, stage: str) -> None:
        self._task = self._progress.add_task(stage, total=None, phase="starting", figures="", left="")

    def update(self, progress: Mapping[str, Any]) -> None:
        if self._task is None:
            return
        left = progress.get("remainingSeconds")
        self._progress.update(
            self._task,
            completed=float(progress.get("step") or 0),
            total=float(progress["totalSteps"]) if progress.get("totalSteps") else None,
            phase=clean(str(progress.get("phase", ""))),
            figures=figures(progress),
            left=f"{duration(left)} left" if isinstance(left, int | float) else "",
        )

    def end(self, mark: str, text: str) -> None:
        from rich.text import Text

        if self._task is not None:
            name = self._progress.tasks[self._progress.task_ids.index(self._task)].description
            line = Text.assemble((mark, MARK_STYLES.get(mark, "")), f" {name:{self._width}}  {clean(text)}")
            self._progress.remove_task(self._task)
            self._task = None
            self._console.print(line, soft_wrap=True)
