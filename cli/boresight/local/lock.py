"""Locks between processes of this machine: flock on a file, which the kernel lets go when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def hold(path: Path, holder: str) -> Iterator[bool]:
    """Try to hold the lock at ``path``; yields whether it was free. ``holder`` is written into it for people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        free = _try(handle, fcntl.LOCK_EX)
        if not free:
            time.sleep(0.05)  # perhaps only somebody's look at it, see is_held
            free = _try(handle, fcntl.LOCK_EX)
        if free:
            os.ftruncate(handle, 0)
            os.pwrite(handle, holder.encode(), 0)
        yield free
    finally:
        os.close(handle)


@contextmanager
def wait_for(
    path: Path,
    holder: str,
    *,
    on_wait: Callable[[str], None],
    poll: Callable[[], bool],
    interval: float = 0.5,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[bool]:
    """Hold the lock, waiting for it if need be; ``on_wait`` hears once who has it. Yields False if ``poll`` ends it."""
    told = False
    while True:
        with hold(path, holder) as free:
            if free:
                yield True
                return
        if not told:
            told = True
            on_wait(holder_of(path))
        if not poll():
            yield False
            return
        sleep(interval)


def holder_of(path: Path) -> str:
    """Who holds the lock, as they wrote it; empty if that cannot be read."""
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def _try(handle: int, operation: int) -> bool:
    try:
        fcntl.flock(handle, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
