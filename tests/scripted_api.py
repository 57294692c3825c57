"""An API server that says what a test tells it to, and an answer's parts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from boresight_operator.api import Answer

DATE = "Sun, 22 Nov 2026 12:00:00 GMT"
NOON = 1_795_348_800.0


@dataclass(frozen=True)
class Sent:
    """A request as the transport got it."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    at: float


Reply = Answer | Exception | Callable[[Sent], Answer]


def ok(document: object, code: int = 200, **headers: str) -> Answer:
    """Success."""
    return Answer(code, {"date": DATE, **headers}, json.dumps(document).encode())


def failure(
    code: int, reason: str = "", message: str = "said so", causes: tuple[str, ...] = (), **headers: str
) -> Answer:
    """A Status document."""
    status = {
        "kind": "Status",
        "code": code,
        "reason": reason,
        "message": message,
        "details": {"causes": [{"reason": cause} for cause in causes]},
    }
    return Answer(
        code, {"date": DATE, **{k.replace("_", "-"): v for k, v in headers.items()}}, json.dumps(status).encode()
    )


class ScriptedApi:
    """A transport: answers in order, ``delay`` seconds each. One request more than the script has is a failure."""

    def __init__(self, *replies: Reply, delay: float = 0.0) -> None:
        self.replies = list(replies)
        self.delay = delay
        self.sent: list[Sent] = []

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
        sent = Sent(
            method,
            path,
            query,
            headers,
            json.loads(body) if body is not None else None,
            asyncio.get_running_loop().time(),
        )
        self.sent.append(sent)
        assert self.replies, f"unexpected {method} {path}"
        reply = self.replies.pop(0)
        await asyncio.sleep(self.delay)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, Answer) else reply(sent)

    @property
    def methods(self) -> list[str]:
        """What was sent, in order."""
        return [sent.method for sent in self.sent]
