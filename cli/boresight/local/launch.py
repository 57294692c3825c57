"""How processes are started on this machine: ``prepare`` by itself, stages from the fork server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from .attempt import AttemptFolder, Process
from .server import StageServer


class Launcher(Protocol):
    """Starts what a run needs; ends whatever still runs when the context ends."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def warm_up(self) -> None:
        """Begin what takes long before the first stage can start; returns at once."""

    def is_warm(self, seconds: float) -> bool:
        """Whether stages can start; waits at most ``seconds`` for it."""

    def prepare(self, folder: AttemptFolder) -> Process:
        """Start ``prepare`` on the folder's document."""

    def stage(self, folder: AttemptFolder) -> Process:
        """Start the stage of the folder's document."""


class PrepareProcess:
    """``boresight-trainer prepare``: a process of its own, for it needs no torch."""

    def __init__(self, folder: AttemptFolder) -> None:
        with folder.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "boresight_trainer.main", "prepare", str(folder.document)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, seconds: float) -> int | None:
        """See :class:`Process`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        """See :class:`Process`."""
        if name == "TERM":
            self._process.terminate()
        else:
            self._process.kill()


class ProcessLauncher:
    """The real one."""

    def __init__(self, server_log: Path) -> None:
        self._server = StageServer(server_log)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    def warm_up(self) -> None:
        """Start the server, which imports torch: 6-17 s."""
        self._server.start()

    def is_warm(self, seconds: float) -> bool:
        """Whether it has imported."""
        return self._server.wait_ready(seconds)

    def prepare(self, folder: AttemptFolder) -> Process:
        """A process of its own, for it needs no torch."""
        return PrepareProcess(folder)

    def stage(self, folder: AttemptFolder) -> Process:
        """A fork of the server."""
        self._server.run(folder.document, folder.log)
        return self._server
