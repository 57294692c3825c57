"""Stage processes forked from one server that has imported torch and transformers already.

Importing them costs 6-17 s a process; a fork costs milliseconds. ``boresight-trainer serve --socket PATH`` binds the
socket, imports, and then serves exactly one client (the local run), whose connection is the server's life line: when it
closes, a running stage is asked to stop (SIGTERM, so it leaves a checkpoint) and the server ends with it.

Protocol, one JSON object a line. Requests: ``{"stage": PATH, "log": PATH}`` and ``{"signal": "TERM" | "KILL"}``.
Replies: ``{"ready": SECONDS}`` once, after the imports; ``{"pid": N}`` after a fork; ``{"exit": CODE}`` when that stage
ended (``-N``: killed by signal N); ``{"error": MESSAGE}`` for a request that could not be served. One stage at a time.

Forking is safe only from a process without threads that hold locks and without a CUDA context. So the server imports
and nothing else: no tensor operation (OpenMP would start its pool), no CUDA query except through NVML.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RunStage = Callable[[Path], int]
"""Runs the stage that a ``stage.json`` describes and returns the exit code of its process."""

PRELOADED = ("torch", "transformers", "peft", "safetensors.torch", "tokenizers")
MAX_REQUEST_BYTES = 65_536
CONNECT_SECONDS = 60.0
"""A client connects as soon as the socket is there, long before the imports are done; one that died never does."""


@dataclass(frozen=True)
class ForkRequest:
    """One stage to run: its ``stage.json`` and the file that takes stdout and stderr."""

    stage: Path
    log: Path


class ProtocolError(ValueError):
    """A request that this server does not understand."""


def parse_request(line: bytes) -> ForkRequest | signal.Signals:
    """A stage to run, or a signal for the one that runs. Raises :class:`ProtocolError`."""
    try:
        document = json.loads(line)
    except ValueError as error:
        raise ProtocolError(f"expected one JSON object a line, found {line[:200]!r}") from error
    match document:
        case {"signal": "TERM"}:
            return signal.SIGTERM
        case {"signal": "KILL"}:
            return signal.SIGKILL
        case {"stage": str(stage), "log": str(log)}:
            return ForkRequest(Path(stage), Path(log))
        case _:
            raise ProtocolError(f'expected {{"stage", "log"}} or {{"signal": "TERM" | "KILL"}}, found {line[:200]!r}')


def preload(modules: tuple[str, ...] = PRELOADED) -> float:
    """Import what every stage needs, without threads and without CUDA. Returns the seconds it took."""
    import importlib

    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # torch.cuda.is_available() must not call cuInit here
    started = time.monotonic()
    for name in modules:
        importlib.import_module(name)
    return time.monotonic() - started


def serve(socket_path: Path, run_stage: RunStage, *, modules: tuple[str, ...] = PRELOADED) -> int:
    """Serve one client on the Unix socket at ``socket_path`` until it hangs up. Returns the process's exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the client, which asks us to terminate the stage
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(socket_path))
        listener.listen(1)
        seconds = preload(modules)
        listener.settimeout(CONNECT_SECONDS)
        client, _ = listener.accept()
    client.setblocking(True)
    socket_path.unlink(missing_ok=True)
    with client:
        _Server(client, run_stage).loop(seconds)
    return 0


class _Server:
    """The event loop: requests from the client, and the end of the child (SIGCHLD through a wake-up descriptor)."""

    def __init__(self, client: socket.socket, run_stage: RunStage) -> None:
        self._client = client
        self._run_stage = run_stage
        self._child: int | None = None
        self._buffer = b""

    def loop(self, import_seconds: float) -> None:
        wakeup, trigger = socket.socketpair()
        wakeup.setblocking(False)
        trigger.setblocking(False)
        signal.set_wakeup_fd(trigger.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with wakeup, trigger, selectors.DefaultSelector() as selector:
            selector.register(self._client, selectors.EVENT_READ)
            selector.register(wakeup, selectors.EVENT_READ)
            self._reply({"ready": round(import_seconds, 3)})
            connected = True
            while connected or self._child is not None:
                ready = {key.fileobj for key, _ in selector.select()}
                if wakeup in ready:
                    wakeup.recv(4096)
                    self._reap()
                if connected and self._client in ready:
                    connected = self._receive()
                    if not connected:
                        selector.unregister(self._client)
                        self._signal(signal.SIGTERM)

    def _receive(self) -> bool:
        """Serve what arrived; False when the client has gone."""
        try:
            data = self._client.recv(MAX_REQUEST_BYTES)
        except ConnectionError:
            return False
        if not data:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > MAX_REQUEST_BYTES:
            self._reply({"error": f"a request is longer than {MAX_REQUEST_BYTES} bytes"})
            return False
        for line in lines:
            self._serve(line)
        return True

    def _serve(self, line: bytes) -> None:
        try:
            request = parse_request(line)
            if isinstance(request, signal.Signals):
                self._signal(request)
            elif self._child is not None:
                raise ProtocolError(f"a stage is running already (process {self._child})")
            else:
                self._child = self._fork(request)
                self._reply({"pid": self._child})
        except (ProtocolError, OSError) as error:
            self._reply({"error": str(error)})

    def _fork(self, request: ForkRequest) -> int:
        log = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            child = os.fork()
            if child == 0:
                self._become_stage(request, log)
            return child
        finally:
            os.close(log)

    def _become_stage(self, request: ForkRequest, log: int) -> None:
        """In the child. Never returns: whatever happens, the process ends with an exit code."""
        code = 70  # ExitCode.ERROR, should even the set-up fail
        try:
            os.setsid()  # its own session: the terminal's Ctrl-C does not reach it, its client's SIGTERM does
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            self._client.close()
            os.dup2(log, 1)
            os.dup2(log, 2)
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            code = self._run_stage(request.stage)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 70
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)  # not sys.exit: the server's own clean-up must not run twice

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            os.kill(self._child, number)  # a child that is not reaped yet keeps its process id: no other is hit

    def _reap(self) -> None:
        if self._child is None:
            return
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if pid:
            self._child = None
            self._reply({"exit": os.waitstatus_to_exitcode(status)})

    def _reply(self, document: dict[str, Any]) -> None:
        try:
            self._client.sendall(json.dumps(document).encode() + b"\n")
        except ConnectionError:
            return  # the client has gone; the loop sees that as the end of its connection
