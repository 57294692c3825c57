"""The API server's clock, from its ``Date`` headers and our monotonic clock; this host's wall clock has no part in it.

A header says the second in which the answer was made, and the answer was made between our sending and our receiving. So
each answer bounds the difference of the two clocks from both sides, and the tightest bounds of many answers pin it down
much finer than a second.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime


class ServerClock:
    """Seconds since the epoch by the API server, as a function of the loop's time."""

    def __init__(self) -> None:
        self._header = ""
        self._second = 0.0
        self._low: float | None = None
        self._high = 0.0

    def observe(self, header: str, sent: float, received: float) -> None:
        """An answer had ``Date: header``; the request was sent and its answer received at these loop times.

        Bounds that contradict each other mean that a clock was set (or another server answered): the new ones hold.
        """
        if header != self._header:
            try:
                self._second = parsedate_to_datetime(header).timestamp()
            except ValueError:
                return
            self._header = header
        low, high = self._second - received, self._second + 1 - sent
        if self._low is not None and max(low, self._low) <= min(high, self._high):
            low, high = max(low, self._low), min(high, self._high)
        self._low, self._high = low, high

    def at(self, loop_time: float) -> float:
        """The server's time at ``loop_time``. Raises RuntimeError before the first answer."""
        if self._low is None:
            raise RuntimeError("the API server's time is not known: no answer has had a Date header yet")
        return loop_time + (self._low + self._high) / 2
