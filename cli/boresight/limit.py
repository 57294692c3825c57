"""A limit on the time that something takes, whatever it waits for: a server, a program, sleep."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTimeError(BaseException):
    """The time is over. No ``Exception``: like Ctrl-C it is nobody's on the way to handle."""


@contextmanager
def at_most(seconds: float | None) -> Iterator[None]:
    """Raises :class:`OutOfTimeError` in the middle of what is done within, once ``seconds`` are over (None: never).

    In the main thread alone, and not one within another. A program that is waited for by :mod:`subprocess` is killed.
    The C library's look-up of a name cannot be interrupted: there the system's own limits (resolv.conf) come on top.
    """
    if seconds is None:
        yield
        return

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
