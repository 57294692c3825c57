"""Decoding ahead: worker processes keep the next batches ready while the current one is used.

Results come in the order of the plan, whoever was first. Memory is bounded: nothing new is begun while what waits fills
it, unless the caller waits for that very batch. A worker that dies or hangs is replaced, and what it worked on is
reported as a medium that cannot be decoded.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Generic, TypeVar

from .cache import Arrays
from .channel import READY, Bug, Closed, Late, receive, send
from .errors import MediaError

T = TypeVar("T")
_START_SECONDS = 120.0
_STDERR = 2


class WorkerError(RuntimeError):
    """The workers do not work, by no fault of any medium."""


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """Something to decode, and the name by which people know it: a row's place and the medium's."""

    name: str
    request: T


class Waiting:
    """How much of the time somebody waits: what passes within this context, of all since it was entered first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock``: in seconds."""
        self._clock = clock
        self._first: float | None = None
        self._since = 0.0
        self._waited = 0.0

    def __enter__(self) -> None:
        self._since = self._clock()
        if self._first is None:
            self._first = self._since

    def __exit__(self, *_: object) -> None:
        self._waited += self._clock() - self._since

    @property
    def share(self) -> float:
        """From 0 to 1; 0 as long as nobody has waited."""
        passed = 0.0 if self._first is None else self._clock() - self._first
        return self._waited / passed if passed else 0.0


@dataclass(slots=True)
class _Batch(Generic[T]):
    items: Sequence[Item[T]]
    results: list[Arrays | MediaError | None]
    missing: int
    size: int = 0


class Prefetcher(Generic[T], Iterator[tuple[Arrays | MediaError, ...]]):
    """Iterates over batches: what became of each of their items, in order. Use it as a context."""

    def __init__(
        self,
        plan: Iterable[Sequence[Item[T]]],
        work: Callable[[T], Arrays],
        *,
        processes: int,
        ahead_bytes: int,
        timeout_seconds: float,
    ) -> None:
        """``plan``: the batches, taken as they are needed. ``work`` and the requests must be importable and pickled.

        ``ahead_bytes``: of results that nobody has taken yet. ``timeout_seconds``: for one item.
        """
        if processes < 1:
            raise ValueError(f"found {processes} processes, expected at least one")
        self._plan = iter(plan)
        self._work = work
        self._ahead_bytes = ahead_bytes
        self._timeout = timeout_seconds
        self._changed = Condition()
        self._batches: deque[_Batch[T]] = deque()
        self._open: deque[tuple[_Batch[T], int]] = deque()
        self._planned_all = False
        self._failure: BaseException | None = None
        self._closed = False
        self._held = 0
        self._running = 0
        self._largest = 0
        self._waiting = Waiting(time.monotonic)
        self._workers: set[_Worker] = set()
        self._threads = [Thread(target=self._serve, daemon=True) for _ in range(processes)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Prefetcher[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __next__(self) -> tuple[Arrays | MediaError, ...]:
        """The results of the next batch. A :class:`MediaError` stands for an item that cannot be decoded.

        Raises :class:`WorkerError` if the workers do not work, OSError if a file cannot be read, and what the plan
        raises.
        """
        with self._changed:
            with self._waiting:
                self._changed.wait_for(lambda: self._failure or self._closed or self._front_is_done())
            if self._failure is not None:
                raise self._failure
            if self._closed or not self._batches:
                raise StopIteration
            batch = self._batches.popleft()
            self._held -= batch.size
            self._changed.notify_all()
            return tuple(result for result in batch.results if result is not None)

    @property
    def waiting_share(self) -> float:
        """Of the time since the first batch was asked for, the share that was spent waiting for one: 0 to 1."""
        return self._waiting.share

    def close(self) -> None:
        """End the workers, at whatever they are. Nothing is left of them when this returns."""
        with self._changed:
            self._closed = True
            for worker in self._workers:
                worker.kill()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # -- in the threads, one for each worker -------------------------------------------------------------------------

    def _serve(self) -> None:
        worker: _Worker | None = None
        try:
            while (taken := self._take()) is not None:
                batch, position = taken
                if worker is None:
                    worker = self._hired()
                result = worker.result(batch.items[position], self._timeout)
                if worker.ended:
                    self._dismiss(worker)
                    worker = None
                self._put(batch, position, result)
        except BaseException as error:
            self._fail(error)
        finally:
            if worker is not None:
                self._dismiss(worker)

    def _take(self) -> tuple[_Batch[T], int] | None:
        """The next item that may be begun; None when there is none left."""
        with self._changed:
            while not (self._closed or self._failure):
                self._plan_more()
                if self._open and (self._has_room() or self._open[0][0] is self._batches[0]):
                    self._running += 1
                    return self._open.popleft()
                if not self._open and self._planned_all:
                    return None
                self._changed.wait()
            return None

    def _plan_more(self) -> None:
        while not self._open and not self._planned_all:
            items = next(self._plan, None)
            if items is None:
                self._planned_all = True
            else:
                batch = _Batch(items, [None] * len(items), len(items))
                self._batches.append(batch)
                self._open.extend((batch, position) for position in range(len(items)))
            self._changed.notify_all()

    def _has_room(self) -> bool:
        """Whether what waits, and what is being made, leaves room for one more."""
        return self._held + (self._running + 1) * self._largest <= self._ahead_bytes

    def _put(self, batch: _Batch[T], position: int, result: Arrays | MediaError) -> None:
        size = 0 if isinstance(result, MediaError) else sum(array.nbytes for array in result.values())
        with self._changed:
            self._running -= 1
            self._largest = max(self._largest, size)
            self._held += size
            batch.size += size
            batch.results[position] = result
            batch.missing -= 1
            self._changed.notify_all()

    def _front_is_done(self) -> bool:
        return not self._batches[0].missing if self._batches else self._planned_all

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            if not self._closed:
                self._failure = self._failure or error
            self._changed.notify_all()

    def _hired(self) -> _Worker:
        with self._changed:
            if self._closed:
                raise WorkerError("the workers were dismissed")
            worker = _Worker()
            self._workers.add(worker)
        try:
            worker.begin(self._work)
        except WorkerError:
            self._dismiss(worker)
            raise
        return worker

    def _dismiss(self, worker: _Worker) -> None:
        with self._changed:
            self._workers.discard(worker)
        worker.kill()
        worker.wait()


class _Worker:
    """One process, seen from the thread that it works for."""

    def __init__(self) -> None:
        self.ended = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=_STDERR,
            env=_environment(),
            start_new_session=True,  # so that it can be killed together with its ffmpeg
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("the process has no pipes")
        self._requests, self._replies = self._process.stdin, self._process.stdout

    def begin(self, work: Callable[[Any], Arrays]) -> None:
        """Hand over the work. Raises :class:`WorkerError` if the process does not come up."""
        try:
            send(self._requests.fileno(), work)
            reply = receive(self._replies.fileno(), _START_SECONDS)
        except (Closed, Late) as error:
            raise WorkerError("a decoding process did not start; its messages are in the log") from error
        if reply != READY:
            raise WorkerError(f"a decoding process answered {reply!r}, expected {READY!r}")

    def result(self, item: Item[Any], timeout_seconds: float) -> Arrays | MediaError:
        """What became of ``item``. Raises :class:`WorkerError` and OSError for what is not its fault."""
        try:
            send(self._requests.fileno(), item.request)
            reply = receive(self._replies.fileno(), timeout_seconds)
        except Late:
            reply = MediaError(
                f"decoding not done after {timeout_seconds:g} s", "an end", "encode it anew, or leave it out"
            )
            self.ended = True
        except Closed:
            self.kill()
            reply = MediaError(f"a medium that ends its decoder ({self.wait()})", "one that decodes", "encode it anew")
            self.ended = True
        match reply:
            case MediaError():
                return reply.of(item.name)
            case Bug(text):
                raise WorkerError(f"{item.name}: decoding failed:\n{text}")
            case OSError():
                raise reply
            case Mapping():
                return reply
        raise WorkerError(f"{item.name}: found {type(reply).__name__}, expected arrays by name")

    def kill(self) -> None:
        """Kill the process and its children. It must still be waited for."""
        with suppress(ProcessLookupError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> str:
        """How the process ended."""
        code = self._process.wait()
        self._requests.close()
        self._replies.close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _environment() -> Mapping[str, str]:
    """Ours, with what is importable here importable there, and one thread for whoever asks."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
