"""The local run's side of the fork server (``boresight-trainer serve``): start stages, signal them, hear their end."""

from __future__ import annotations

import json
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError

START_SECONDS = 30.0
"""From the start of the server's process to its socket; imports come after that."""


class ServerLostError(UserError):
    """The server ended by itself: it could not import, or was killed (most often for memory)."""


class StageServer:
    """One server for one run, started when the first stage needs it and ended by :meth:`close`."""

    def __init__(self, log: Path, command: tuple[str, ...] = (sys.executable, "-m", "boresight_trainer.main")) -> None:
        self._log = log
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._buffer = b""
        self._ready = False

    def start(self) -> None:
        """Start the process and connect; returns while it still imports. Does nothing the second time."""
        if self._process is not None:
            return
        folder = Path(tempfile.mkdtemp(prefix="boresight-"))  # short: a Unix socket's path has at most 107 bytes
        try:
            path = folder / "socket"
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [*self._command, "serve", "--socket", str(path)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is ours to pass on
                )
            self._connection = self._connect(path)
        finally:
            shutil.rmtree(folder)

    def run(self, stage: Path, log: Path) -> None:
        """Ask for the stage of ``stage`` (a stage.json), with stdout and stderr in ``log``. See :meth:`wait`."""
        self.start()
        self._send({"stage": str(stage), "log": str(log)})

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        """Signal the running stage."""
        self._send({"signal": name})

    def wait(self, seconds: float) -> int | None:
        """The running stage's exit code (``-N``: killed by signal N), or None if it has not ended within ``seconds``.

        Raises :class:`ServerLostError`.
        """
        deadline = time.monotonic() + seconds
        while True:
            for reply in self._receive(max(0.0, deadline - time.monotonic())):
                match reply:
                    case {"exit": int(code)}:
                        return code
                    case {"ready": _}:
                        self._ready = True
                        return None
                    case {"error": str(message)}:
                        raise ServerLostError(f"the stage could not be started: {message}")
            if time.monotonic() >= deadline:
                return None

    def wait_ready(self, seconds: float) -> bool:
        """Whether the imports are done; waits at most ``seconds`` for that. Raises :class:`ServerLostError`."""
        self.start()
        if not self._ready:
            self.wait(seconds)
        return self._ready

    def close(self) -> None:
        """Hang up; the server stops its stage, if one runs, and ends. One that still imports is ended at once."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            if not self._ready:
                self._process.terminate()
            self._process.wait()
        self._process = self._connection = None

    def _connect(self, path: Path) -> socket.socket:
        deadline = time.monotonic() + START_SECONDS
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        while True:
            try:
                connection.connect(str(path))
                return connection
            except (FileNotFoundError, ConnectionRefusedError):
                if self._process is not None and self._process.poll() is not None:
                    raise self._lost() from None
                if time.monotonic() > deadline:
                    raise ServerLostError(
                        f"the stage server did not start within {START_SECONDS:.0f} s; see {self._log}"
                    ) from None
                time.sleep(0.02)

    def _send(self, request: dict[str, Any]) -> None:
        assert self._connection is not None
        try:
            self._connection.sendall(json.dumps(request).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            raise self._lost() from None

    def _receive(self, seconds: float) -> list[dict[str, Any]]:
        assert self._connection is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            if not selector.select(seconds):
                return []
        try:
            data = self._connection.recv(65_536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise self._lost()
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def _lost(self) -> ServerLostError:
        code = self._process.wait() if self._process is not None else None
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return ServerLostError(f"the stage server {how}; its last lines are in {self._log}{_last_line(self._log)}")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""
