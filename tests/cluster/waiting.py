"""Waiting for something, and saying what did not come."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import urllib3
from apiserver.client import ApiError
from cluster.ledger import Started


def until(
    ready: Callable[[], bool],
    what: str,
    *,
    seconds: float = 90,
    process: Started | None = None,
    log: Path | None = None,
) -> None:
    """Until ``ready`` says so; no answer from a server is a no.

    Raises TimeoutError, or RuntimeError as soon as the process that should become ready has ended; with the log's end.
    """
    end = time.monotonic() + seconds
    while True:
        if process is not None and not process.runs:
            raise RuntimeError(f"{what} has ended{_end_of(log)}")
        try:
            if ready():
                return
        except (OSError, urllib3.exceptions.HTTPError, ApiError):
            pass
        if time.monotonic() > end:
            raise TimeoutError(f"{what} is not ready after {seconds:g} s{_end_of(log)}")
        time.sleep(0.05)


def _end_of(log: Path | None) -> str:
    return "" if log is None else ":\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
