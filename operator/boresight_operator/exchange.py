"""One request to the API server and its answer: encoding, errors, time-out, clock and metrics. It retries nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from .api import Answer, Object, Resource, Transport
from .errors import AlreadyExists, ApiError, Conflict, Forbidden, Gone, Invalid, NotFound, Unavailable
from .server_clock import ServerClock

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
"""Server-side apply; JSON is YAML."""
NO_ANSWER = 0
"""Code of a request that got no answer, in errors and metrics: whether the server did it is unknown."""
MAX_MESSAGE = 1024

Metric = Callable[[str, str, int, float], None]
"""Called once a request with (verb, plural, code, seconds)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    verb: str
    """For metrics: get, list, create, apply, update, delete."""
    method: str
    resource: Resource
    path: str
    seconds: float
    """Until it counts as lost."""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Object | None = None
    content_type: str = JSON
    repeatable: bool = True
    """Doing it twice is the same as doing it once, so it may be sent again when its result is unknown."""

    @property
    def mutates(self) -> bool:
        """It changes something if it succeeds."""
        return self.method != "GET"


class Exchange:
    """Sends requests over a transport."""

    def __init__(self, transport: Transport, metric: Metric, clock: ServerClock) -> None:
        self._transport = transport
        self._metric = metric
        self._clock = clock

    async def send(self, request: Request) -> dict[str, Any]:
        """The answer's JSON object. Raises the errors of :mod:`.errors`; no answer is Unavailable with code 0."""
        loop = asyncio.get_running_loop()
        sent = loop.time()
        code = NO_ANSWER
        try:
            async with asyncio.timeout(request.seconds):
                answer = await self._answer(request)
            code = answer.code
        except TimeoutError as error:
            raise _lost(request, f"no answer within {request.seconds:g} s") from error
        except OSError as error:
            raise _lost(request, str(error) or type(error).__name__) from error
        finally:
            received = loop.time()
            self._metric(request.verb, request.resource.plural, code, received - sent)
        if date := answer.headers.get("date"):
            self._clock.observe(date, sent, received)
        return _document(request, answer)

    async def _answer(self, request: Request) -> Answer:
        headers = {"accept": JSON}
        body = None
        if request.body is not None:
            headers["content-type"] = request.content_type
            body = orjson.dumps(request.body)
        return await self._transport.request(
            request.method,
            request.path,
            query=request.query,
            headers=headers,
            body=body,
            timeout_seconds=request.seconds,
        )


def _lost(request: Request, why: str) -> Unavailable:
    return Unavailable(NO_ANSWER, "NoAnswer", f"{request.method} {request.path}: {why}")


def _document(request: Request, answer: Answer) -> dict[str, Any]:
    try:
        document = orjson.loads(answer.body) if answer.body else {}
    except ValueError:
        document = None
    if 200 <= answer.code < 300:
        if not isinstance(document, dict):
            raise _lost(request, f"the answer with code {answer.code} is not a JSON object")
        return document
    status = document if isinstance(document, dict) else {"message": answer.body[:MAX_MESSAGE].decode(errors="replace")}
    raise error_of(answer, status)


def error_of(answer: Answer, status: Mapping[str, Any]) -> ApiError:
    """The error that an answer with an error code means. ``status`` is its Status document, or what there is of one."""
    code = answer.code
    reason = str(status.get("reason") or "")
    message = str(status.get("message") or f"answer with code {code} and no message")[:MAX_MESSAGE]
    if code in {408, 429} or code >= 500:
        if "failed to create typed patch object" in message:
            # Server-side apply of a field that the CRD's schema lacks is answered with 500, but no retry can help.
            return Invalid(code, "SchemaTooOld", message)
        return Unavailable(code, reason or "ServerError", message, _retry_after(answer, status))
    if code == 403:
        causes = (status.get("details") or {}).get("causes") or ()
        ends = any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
        return Forbidden(code, "NamespaceTerminating" if ends else reason or "Forbidden", message)
    if code == 409:
        return (AlreadyExists if reason == "AlreadyExists" else Conflict)(code, reason or "Conflict", message)
    kinds: Mapping[int, type[ApiError]] = {404: NotFound, 410: Gone}
    invalid = {400, 405, 406, 413, 415, 422}
    kind = kinds.get(code, Invalid if code in invalid else ApiError)
    return kind(code, reason or "Unexpected", message)


def _retry_after(answer: Answer, status: Mapping[str, Any]) -> float | None:
    """Seconds; the header may also be a date, which the API server does not send."""
    for value in (answer.headers.get("retry-after"), (status.get("details") or {}).get("retryAfterSeconds")):
        with contextlib.suppress(TypeError, ValueError):
            return max(0.0, float(value))  # type: ignore[arg-type]
    return None
