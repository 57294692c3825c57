"""One operator process: the shipped ``Operator`` on the world's loop, which can crash, be stopped and be continued.

Everything that it does runs in a context of its own. A stopped (or killed) process is one whose callbacks the loop
holds back; its requests that are on the wire are served none the less, for the server is not in that context.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from boresight_operator.api import Answer
from virtual_time import VirtualTimeLoop

PROCESS: contextvars.ContextVar[str] = contextvars.ContextVar("process")


class SimulationLoop(VirtualTimeLoop):
    """Virtual time, and processes whose callbacks can be held back."""

    def __init__(self, start: float = 1_000.0) -> None:
        super().__init__(start)
        self.held: dict[str, list[asyncio.Handle]] = {}
        """Process -> callbacks that would have run."""
        self.tasks: dict[str, list[asyncio.Task[Any]]] = {}
        self._ready = _Ready(self)
        self.set_task_factory(self._make_task)

    def stop_process(self, name: str) -> None:
        """SIGSTOP. The loop has counted this round's callbacks, so what is held back leaves a cancelled one."""
        held = self.held.setdefault(name, [])
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle._context.get(PROCESS) == name:  # type: ignore[attr-defined]
                held.append(handle)
                handle = asyncio.Handle(lambda: None, (), self, context=contextvars.Context())
                handle.cancel()
            self._ready.append(handle)

    def continue_process(self, name: str) -> None:
        """SIGCONT."""
        for handle in self.held.pop(name, ()):
            self._ready.append(handle)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **more: Any
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **more)
        context = more.get("context")
        name = context.get(PROCESS) if context is not None else PROCESS.get(None)
        if name is not None:
            known = self.tasks.setdefault(name, [])
            known[:] = [other for other in known if not other.done()]
            known.append(task)
        return task


class _Ready(collections.deque[asyncio.Handle]):
    """The loop's queue of what to run next; the part of stopped processes goes elsewhere."""

    def __init__(self, loop: SimulationLoop) -> None:
        super().__init__()
        self._loop = loop

    def append(self, handle: asyncio.Handle) -> None:
        held = self._loop.held
        if held:
            name = handle._context.get(PROCESS)  # type: ignore[attr-defined]
            if name in held:
                held[name].append(handle)
                return
        super().append(handle)


Serve = Callable[[str, str, str, Mapping[str, str], Mapping[str, str], bytes | None], Answer]


class Wire:
    """Transport of one process. ``send`` (the world's) decides what becomes of a request."""

    def __init__(self, name: str, send: Callable[[Wire, Call], None]) -> None:
        self.name = name
        self.dead = False
        self._send = send

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_seconds: float,
    ) -> Answer:
        """One request; raises OSError or TimeoutError if there is no answer."""
        if self.dead:
            raise ConnectionRefusedError("the process is dead")
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._send(self, Call(method, path, dict(query), dict(headers), body, answered))
        async with asyncio.timeout(timeout_seconds):
            return await answered


class Call:
    """A request on the wire."""

    def __init__(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None,
        answered: asyncio.Future[Answer],
    ) -> None:
        self.method, self.path, self.query, self.headers, self.body = method, path, query, headers, body
        self.struck: object = None
        """What the world does to the process at this request."""
        self.lose_answer = False
        """The server does it, and nobody hears of it."""
        self.sent = answered.get_loop().time()
        self._answered = answered

    @property
    def mutates(self) -> bool:
        """Whether it can change anything."""
        return self.method != "GET"

    @property
    def target(self) -> str:
        """Method, path and (of a POST) name: the same for every sending of one request."""
        name = json.loads(self.body)["metadata"].get("name", "") if self.method == "POST" and self.body else ""
        return f"{self.method} {self.path} {name}"

    @property
    def about_lease(self) -> bool:
        """Whether it is the elector's."""
        return "/leases" in self.path

    def answer(self, answer: Answer) -> None:
        """The answer arrives, if anybody still waits."""
        if not self._answered.done():
            self._answered.set_result(answer)

    def fail(self, error: OSError) -> None:
        """No answer."""
        if not self._answered.done():
            self._answered.set_exception(error)
