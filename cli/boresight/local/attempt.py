"""One attempt: a process at one stage (or at ``prepare``), watched until it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from .display import Display
from .interrupt import Interrupt

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class AttemptFolder:
    """The files of one attempt."""

    path: Path

    @property
    def document(self) -> Path:
        """What the process is to do: stage.json or prepare.json."""
        return self.path / "stage.json"

    @property
    def log(self) -> Path:
        """Its stdout and stderr."""
        return self.path / "log.txt"

    @property
    def outcome(self) -> Path:
        """What it leaves as its last act."""
        return self.path / "outcome.json"

    @property
    def progress(self) -> Path:
        """Replaced whenever its progress changes."""
        return self.path / "progress.json"

    def create(self, document: Mapping[str, Any]) -> None:
        """Make the folder with the document in it."""
        self.path.mkdir(parents=True)
        self.document.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def read_progress(self) -> dict[str, Any] | None:
        """The progress document, or None while there is none. It is replaced by rename, so never seen half."""
        try:
            document = json.loads(self.progress.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return document if isinstance(document, dict) else None


class Process(Protocol):
    """A running stage, whoever started it."""

    def wait(self, seconds: float) -> int | None:
        """Exit code, or None if it has not ended within ``seconds``."""

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        """Signal it."""


@dataclass(frozen=True)
class Ended:
    """How the process ended."""

    exit_code: int
    seconds: float
    stopped: bool
    """We asked it to stop."""


def watch(
    process: Process, folder: AttemptFolder, display: Display, interrupt: Interrupt, *, grace_seconds: float
) -> Ended:
    """Show progress until the process ends. Ctrl-C: ask it to stop; a second one, or no answer in time: kill it."""
    started = time.monotonic()
    asked_at: float | None = None
    killed = False
    while (code := process.wait(POLL_SECONDS)) is None:
        if (progress := folder.read_progress()) is not None:
            display.update(progress)
        if interrupt.requests and asked_at is None:
            asked_at = time.monotonic()
            display.note("stopping: waiting for the stage's checkpoint (Ctrl-C again: stop at once, without one)")
            process.signal("TERM")
        late = asked_at is not None and time.monotonic() - asked_at > grace_seconds
        if not killed and (interrupt.requests > 1 or late):
            killed = True
            process.signal("KILL")
    return Ended(code, time.monotonic() - started, asked_at is not None)
