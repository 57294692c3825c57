"""What the controllers of the simulated cluster share: a keyed queue behind a lag."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from .registry import Change, Registry

Lag = Callable[[], float]


class Controller(ABC):
    """Looks at a key some time after something about it changed. Level-triggered, as the real ones are."""

    name: str

    def __init__(self, registry: Registry, lag: Lag) -> None:
        self.registry = registry
        self._lag = lag
        self._due: dict[str, float] = {}
        registry.subscribers.append(self._on_change)

    @abstractmethod
    def interested(self, change: Change) -> list[str]:
        """Keys to look at after this change."""

    @abstractmethod
    def sync(self, key: str) -> None:
        """Bring the key closer to what it should be."""

    def look(self, key: str, after: float | None = None) -> None:
        """Look at ``key`` in ``after`` seconds (default: the lag), unless that is planned earlier already."""
        loop = asyncio.get_running_loop()
        delay = self._lag() if after is None else after
        due = loop.time() + delay
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        loop.call_later(delay, self._look, key, due)

    def _on_change(self, change: Change) -> None:
        for key in self.interested(change):
            self.look(key)

    def _look(self, key: str, due: float) -> None:
        if self._due.get(key) == due:
            del self._due[key]
            self.sync(key)
