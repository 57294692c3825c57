"""A request to stop, from SIGTERM or Ctrl-C, and how much time is left to honour it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

from boresight_api.outcome import FailureClass, StageFailure


class StopFlag:
    """Set once; a second signal changes nothing. Long work looks at it between micro-batches and generation batches."""

    def __init__(self, grace_period_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace = grace_period_seconds
        self._clock = clock
        self._requested_at: float | None = None

    def request(self) -> None:
        """Ask for a stop. Only the first request starts the grace period."""
        if self._requested_at is None:
            self._requested_at = self._clock()

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._requested_at is not None

    def seconds_left(self) -> float:
        """Rest of the grace period; infinite while no stop was asked for."""
        if self._requested_at is None:
            return float("inf")
        return self._requested_at + self._grace - self._clock()

    def check(self, step: int | None = None) -> None:
        """Raise :class:`StageFailure` (Preempted) if a stop was asked for."""
        if self.requested:
            raise StageFailure(
                FailureClass.PREEMPTED, "stopped on request; the next attempt goes on from here", step=step
            )

    def listen(self) -> None:
        """Let SIGTERM and SIGINT request the stop (main thread only)."""

        def on_signal(_signal: int, _frame: FrameType | None) -> None:
            self.request()

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
