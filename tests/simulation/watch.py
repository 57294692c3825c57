"""Plays kopf: what one operator process hears of changes, how late, how often, and what it never hears.

kopf's habits that matter: events of one kind come in order; after a disconnection the watch goes on where it was and
misses nothing; after a 410 it lists again, shows what exists with type None, and never says what was deleted meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

import orjson
from boresight_operator import api, names
from boresight_operator.api import Object, Resource

from .fake_api import matches
from .registry import Change, Registry, dumped

OnEvent = Callable[[Resource, str | None, Object], None]
SELECTORS = {api.JOBS: names.SELECTOR, api.PODS: names.SELECTOR}


class Stream:
    """The watch of one kind by one process."""

    def __init__(
        self,
        registry: Registry,
        resource: Resource,
        on_event: OnEvent,
        lag: Callable[[], float],
        context: Context,
    ) -> None:
        self.registry = registry
        self.resource = resource
        self.connected = True
        self._on_event = on_event
        self._lag = lag
        self._context = context
        self._last_due = 0.0
        self._history: list[Change] = []
        self._sent = 0
        """How many of the history were put on the wire."""
        registry.subscribers.append(self._on_change)
        self._list()

    def close(self) -> None:
        """The process is gone."""
        self.registry.subscribers.remove(self._on_change)

    def cut(self) -> None:
        """Connection lost: what is said from now on is heard late, or never."""
        self.connected = False

    def resume(self) -> None:
        """Connected again, where it was."""
        self.connected = True
        self._send_rest()

    def relist(self) -> None:
        """Connected again after a 410: what exists now, and nothing of what does not."""
        self.connected = True
        self._sent = len(self._history)
        self._list()

    def replay(self, count: int) -> None:
        """The last events once more."""
        for change in self._history[max(0, self._sent - count) : self._sent]:
            self._deliver(change.type, change.new)

    def _list(self) -> None:
        for obj in self.registry.all(self.resource):
            if matches(obj, SELECTORS.get(self.resource, "")):
                self._deliver(None, obj)

    def _on_change(self, change: Change) -> None:
        if change.resource == self.resource and matches(change.new, SELECTORS.get(self.resource, "")):
            self._history.append(change)
            if self.connected:
                self._send_rest()

    def _send_rest(self) -> None:
        for change in self._history[self._sent :]:
            self._deliver(change.type, change.new)
        self._sent = len(self._history)

    def _deliver(self, type: str | None, obj: Object) -> None:  # noqa: A002 as the event has it
        loop = asyncio.get_running_loop()
        due = self._last_due = max(self._last_due, loop.time() + self._lag())
        loop.call_at(due, self._arrive, type, dumped(obj), context=self._context)

    def _arrive(self, type: str | None, body: bytes) -> None:  # noqa: A002
        obj: dict[str, Any] = orjson.loads(body)
        self._on_event(self.resource, type, obj)
