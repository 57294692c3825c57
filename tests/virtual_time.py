"""An asyncio loop whose clock jumps: hours of back-off pass in milliseconds, and the order of all callbacks is fixed.

``loop.time()`` stands still while anything is ready and then jumps to the next timer. No I/O is ever awaited, so a
coroutine that needs a socket, a thread or a child process does not belong here. Nothing in here reads a real clock.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

MAX_ROUNDS_AT_ONE_TIME = 1_000_000
"""So many rounds of the loop without the clock moving are a live-lock."""


class Deadlock(Exception):
    """Every task waits for something that nothing will ever do."""


class LiveLock(Exception):
    """Tasks keep each other busy and time never goes on."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` begins at ``start`` seconds and only moves when every task waits."""

    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start
        super().__init__(_Jumps(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Let time pass with no task running, as it does for a process that is stopped (SIGSTOP) and continued."""
        self._now += seconds


class _Jumps(selectors.SelectSelector):
    """Where a real loop would sleep for its next timer, this one moves the clock there."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop
        self._rounds = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock(f"no timer is set and nobody can go on:\n{_waiting(self._loop)}")
        if timeout > 0:
            self._loop.jump(timeout)
            self._rounds = 0
        self._rounds += 1
        if self._rounds > MAX_ROUNDS_AT_ONE_TIME:
            raise LiveLock(f"{self._rounds} rounds at {self._loop.time():.3f} s:\n{_waiting(self._loop)}")
        return []


def _waiting(loop: asyncio.AbstractEventLoop) -> str:
    return "\n".join(f"  {task.get_name()}: {task.get_coro()}" for task in asyncio.all_tasks(loop))


def run(coroutine: Coroutine[Any, Any, Result], *, start: float = 1_000.0) -> Result:
    """Run ``coroutine`` to its end on a loop of its own and cancel what it leaves behind.

    Raises Deadlock if every task waits for ever, LiveLock if time cannot go on.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(start)) as runner:
        return runner.run(coroutine)
