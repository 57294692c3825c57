"""A pod's log outlives its pod: what the process writes to stdout and stderr is kept in the run's store, too.

What Python writes is kept (log records, tracebacks, warnings, prints); what a native library writes past it is in the
pod's own log alone, for a pipe in between would lose the last words of a process that is killed. The newest 16 MiB
stay. A thread carries them to the store every minute, so that a process that is killed leaves what it had said by then.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from boresight_api.execution import Execution, RunReference, StagePart
from boresight_api.outcome import StageFailure

from .layout import log_name
from .open import open_store

log = logging.getLogger(__name__)

LIMIT_BYTES = 16 * 2**20
KEEP_SECONDS = 60.0
CLOSE_SECONDS = 10.0
"""For the last words to reach the store. The outcome is written before; a store that is away delays the end no more."""
POD_VARIABLE = "BORESIGHT_POD_UID"


class Recent:
    """The newest bytes of what was written, whole lines. Safe to use from several threads."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._bytes = bytearray()
        self._dropped = 0

    def add(self, text: str) -> None:
        """Append; of what is too much the oldest quarter goes at once."""
        with self._lock:
            self._bytes += text.encode(errors="replace")
            if len(self._bytes) > self._limit:
                cut = len(self._bytes) - self._limit * 3 // 4
                cut = self._bytes.find(b"\n", cut - 1) + 1 or cut
                self._dropped += cut
                del self._bytes[:cut]

    @property
    def size(self) -> int:
        """Bytes that were ever written."""
        with self._lock:
            return self._dropped + len(self._bytes)

    def content(self) -> bytes:
        """As a log; its first line says if something is missing."""
        with self._lock:
            left_out = {"level": "info", "message": f"the first {self._dropped} bytes of this log were not kept"}
            head = json.dumps(left_out).encode() + b"\n" if self._dropped else b""
            return head + bytes(self._bytes)


class _Tee:
    """A text stream that also remembers. Everything but writing is the stream's own."""

    def __init__(self, stream: TextIO, recent: Recent) -> None:
        self._stream, self._recent = stream, recent

    def write(self, text: str) -> int:
        self._recent.add(text)
        return self._stream.write(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def keeping(
    execution: Execution, run: RunReference, stage: str, environment: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """Keep what this process writes, if it is a pod's; a local run has its logs beside its record."""
    if not environment.get(POD_VARIABLE):
        yield
        return
    name = log_name(run.uid, stage, execution.attempt, rank_of(execution, environment))
    with kept(lambda content: open_store(execution.storage, environment=environment).write(name, content)):
        yield


@contextmanager
def kept(
    write: Callable[[bytes], None],
    *,
    recent: Recent | None = None,
    every: float = KEEP_SECONDS,
    patience: float = CLOSE_SECONDS,
) -> Iterator[None]:
    """While the context lasts, and once more at its end, give ``write`` the log as it is then."""
    recent = recent or Recent()
    over = threading.Event()

    def carry() -> None:
        known = 0
        while True:
            last = over.wait(every)
            if (size := recent.size) != known:
                try:
                    write(recent.content())
                    known = size
                except (StageFailure, OSError) as error:  # the stage goes on; its pod has the log
                    log.warning("the log is not in the store yet: %s", error)
            if last:
                return

    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Tee(stdout, recent), _Tee(stderr, recent)
    thread = threading.Thread(target=carry, name="log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(patience)
        sys.stdout, sys.stderr = stdout, stderr


def rank_of(execution: Execution, environment: Mapping[str, str]) -> str:
    """Which of the attempt's processes this is."""
    if execution.part is StagePart.MERGE:
        return "merge"
    return environment.get("NODE_RANK") or environment.get("JOB_COMPLETION_INDEX") or "0"
