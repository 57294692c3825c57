"""Which run is looked at next: each at most once in the queue and with at most one worker, first come, first served.

Keys that are new to everybody go before those that come again, so that of a thousand runs the last one's first Job does
not wait for the second thoughts about all others. One turn in sixteen is for the others all the same.

A run that fails comes back after an exponential pause. Until it has succeeded, events cannot bring it back sooner than
``CALM_SECONDS`` either: a run that fails at once and wakes itself by its own writes then costs one try a second.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from random import Random

FIRST_BACK_OFF_SECONDS = 0.1
"""Upper end of the first pause; a pause is drawn from the upper half of its range."""
LONGEST_BACK_OFF_SECONDS = 60.0
CALM_SECONDS = 1.0
MAX_STALE = 64
"""Entries of the heap that an earlier time has replaced, beyond one for each key, before they are thrown out."""


OTHERS_TURN = 16
"""One key in so many is not a new one, if both wait."""


class WorkQueue:
    """Keys for workers on one event loop. All operations are O(log n) or better."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._ready: deque[tuple[str, float]] = deque()
        """Keys in order, with the loop time since which each is ready."""
        self._new: deque[tuple[str, float]] = deque()
        """The same, of keys that were added as new."""
        self._turn = 0
        self._due: dict[str, tuple[float, int]] = {}
        """When each queued key is due, and the order of its entry in the heap (0: it is ready)."""
        self._later: list[tuple[float, int, str]] = []
        """Heap of (due, order, key); an entry is stale unless ``_due`` has it."""
        self._order = 0
        self._at_work: set[str] = set()
        self._again: dict[str, float] = {}
        """When keys that are at work are due after it."""
        self._failures: dict[str, int] = {}
        self._calm_until: dict[str, float] = {}
        self._getters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def depth(self) -> int:
        """How many keys are ready and wait for a worker."""
        return len(self._ready) + len(self._new)

    @property
    def delayed(self) -> int:
        """How many keys wait for their time."""
        return len(self._due) - self.depth

    @property
    def oldest_age(self) -> float:
        """Seconds for which the first key in the queue has been ready."""
        since = [lane[0][1] for lane in (self._ready, self._new) if lane]
        return asyncio.get_running_loop().time() - min(since) if since else 0.0

    def add(self, key: str, after: float = 0.0, *, new: bool = False) -> None:
        """``key`` is to be looked at in ``after`` seconds at the latest, and after its present worker is done.

        ``new``: nobody has looked at it yet; it goes before those that come again.
        """
        due = asyncio.get_running_loop().time() + after
        due = max(due, self._calm_until.get(key, due))
        if key in self._at_work:
            self._again[key] = min(due, self._again.get(key, due))
        else:
            self._schedule(key, due, new=new)

    async def get(self) -> str:
        """The next key. Nobody else gets it before ``done(key)``."""
        while not self.depth:
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # this wake-up was for a key that somebody else must take now
                raise
        self._turn += 1
        others = self._ready and (not self._new or self._turn % OTHERS_TURN == 0)
        key, _ = (self._ready if others else self._new).popleft()
        del self._due[key]
        self._at_work.add(key)
        if self.depth:
            self._wake()
        return key

    def done(self, key: str) -> None:
        """The worker has ended with ``key``, in whatever way."""
        self._at_work.remove(key)
        if (due := self._again.pop(key, None)) is not None:
            self._schedule(key, due)

    def retry(self, key: str) -> None:
        """It failed: look again after a pause that grows with each failure in a row. Call it before ``done``."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        longest = min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2 ** min(failures - 1, 32))
        pause = self._random.uniform(longest / 2, longest)
        self._calm_until[key] = calm = asyncio.get_running_loop().time() + min(pause, CALM_SECONDS)
        if key in self._again:
            self._again[key] = max(self._again[key], calm)
        self.add(key, pause)

    def forget(self, key: str) -> None:
        """It succeeded, or is gone: the next failure is the first one again."""
        self._failures.pop(key, None)
        self._calm_until.pop(key, None)

    def hurry(self) -> None:
        """What they failed for is over: look at all that failed again, without their pauses."""
        for key in tuple(self._failures):
            self.add(key)

    def _schedule(self, key: str, due: float, *, new: bool = False) -> None:
        if key in self._due and self._due[key][0] <= due:
            return
        if due <= asyncio.get_running_loop().time():
            self._make_ready(key, due, new=new)
            return
        self._order += 1
        self._due[key] = due, self._order
        heapq.heappush(self._later, (due, self._order, key))
        if len(self._later) > 2 * len(self._due) + MAX_STALE:
            self._later = [entry for entry in self._later if self._is_valid(entry)]
            heapq.heapify(self._later)
        if self._later[0][2] == key:
            self._set_timer()

    def _make_ready(self, key: str, due: float, *, new: bool = False) -> None:
        self._due[key] = due, 0
        (self._new if new else self._ready).append((key, asyncio.get_running_loop().time()))
        self._wake()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._later[0][0], self._ripen) if self._later else None

    def _ripen(self) -> None:
        """What is due becomes ready."""
        now = asyncio.get_running_loop().time()
        while self._later and self._later[0][0] <= now:
            entry = heapq.heappop(self._later)
            if self._is_valid(entry):
                self._make_ready(entry[2], entry[0])
        self._set_timer()

    def _is_valid(self, entry: tuple[float, int, str]) -> bool:
        due, order, key = entry
        return self._due.get(key) == (due, order)

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return
