"""The API server for the rest of the operator. Every answer has its rule here, so that no caller needs one of its own.

- 429 was not done: wait as long as the server says (bounded) and send it again.
- 5xx or no answer may have been done: send again only what may be done twice. For the two requests that may not, look:
  a create succeeded if the object is there and is ours; an apply with a resourceVersion if the object holds what we
  applied.
- 409 AlreadyExists of a create is looked at in the same way; every other 409 is for the caller, who observes again.
  An Event is the exception: it may be sent twice, for its name is made of what it says.
- 410 in the middle of a list: begin again.

A write asks ``guard`` directly before each sending. A process that is stopped after that line and continued later still
sends, and no local check can prevent it. The server's can: resourceVersion, UID, names made of attempt numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

from .api import EVENTS, Listed, Object, Resource, Transport
from .applied import holds
from .errors import AlreadyExists, Conflict, Gone, NotFound, Unavailable
from .exchange import APPLY, Exchange, Metric, Request
from .names import SPEC_HASH_ANNOTATION
from .server_clock import ServerClock

TRIES = 5
"""Of one request, the first included."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
LONGEST_RETRY_AFTER_SECONDS = 10.0
REQUEST_SECONDS = 10.0
"""A slow admission webhook may take as long by itself."""
PAGE_SECONDS = 30.0
PAGE_ITEMS = 100
"""Objects in a page of a list: a page of the largest that etcd stores (1.5 MiB) still fits the transport's bound, and
decoding an ordinary page holds the loop for 20 ms."""
LIST_RESTARTS = 5


class Client:
    """:class:`.api.Api` over a transport."""

    def __init__(
        self, transport: Transport, random: Random, *, guard: Callable[[], None], metric: Metric, in_flight: int
    ) -> None:
        self._clock = ServerClock()
        self._exchange = Exchange(transport, metric, self._clock)
        self._random = random
        self._guard = guard
        self._slots = asyncio.Semaphore(in_flight)

    def server_now(self) -> float:
        """Seconds since the epoch by the API server's clock. Raises RuntimeError before the first answer."""
        return self._clock.at(asyncio.get_running_loop().time())

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """Raises NotFound."""
        return await self._send(Request("get", "GET", resource, resource.path(namespace, name), REQUEST_SECONDS))

    async def list(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> Listed:
        """All objects at one moment. Raises Gone if the list expires again and again before its last page."""
        for _ in range(LIST_RESTARTS):
            try:
                pages = [page async for page in self.pages(resource, namespace, labels=labels, fields=fields)]
            except Gone as error:
                expired = error
                continue
            return Listed(tuple(item for page in pages for item in page.items), pages[0].resource_version)
        raise expired

    async def pages(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[Listed]:
        """The pages of one list, all of one moment (and resourceVersion). Raises Gone: what came so far is no list."""
        asked = {"limit": str(PAGE_ITEMS), "labelSelector": labels, "fieldSelector": fields, "continue": ""}
        path = resource.path(namespace)
        while True:
            query = {name: value for name, value in asked.items() if value}
            answer = await self._send(Request("list", "GET", resource, path, PAGE_SECONDS, query))
            metadata = answer["metadata"]
            yield Listed(tuple(answer.get("items") or ()), metadata["resourceVersion"])
            asked["continue"] = metadata.get("continue") or ""
            if not asked["continue"]:
                return

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """POST. Raises AlreadyExists if the name is taken by an object that is not this one.

        The name of an Event is made of what it says (:mod:`.events`): the one that has it already says the same, and is
        not looked at, for which there is no right.
        """
        telling = resource == EVENTS
        request = Request(
            "create", "POST", resource, resource.path(namespace), REQUEST_SECONDS, body=body, repeatable=telling
        )
        for _ in range(2):
            try:
                return await self._send(request)
            except AlreadyExists as error:
                if telling:
                    return body
                failure: AlreadyExists | Unavailable = error
            except Unavailable as error:
                if error.code == 429 or telling:
                    raise
                failure = error
            stored = await self._find(resource, namespace, body["metadata"]["name"])
            if stored is not None:
                _check_ours(resource, stored, body)
                return stored
        if isinstance(failure, Unavailable):
            raise failure
        raise Conflict(409, "Conflict", f"{failure.message} (but it was gone when looked at, twice)")

    async def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object,
        *,
        manager: str,
        subresource: str | None = None,
    ) -> Object:
        """Server-side apply with force. With ``metadata.resourceVersion`` in ``body``: Conflict if it is not the stored
        one."""
        version = body.get("metadata", {}).get("resourceVersion")
        request = Request(
            "apply",
            "PATCH",
            resource,
            resource.path(namespace, name, subresource),
            REQUEST_SECONDS,
            {"fieldManager": manager, "force": "true"},
            body,
            APPLY,
            repeatable=version is None,
        )
        lost: Unavailable | None = None
        for attempt in range(TRIES):
            try:
                return await self._send(request)
            except Conflict:
                if lost is None:
                    raise
            except Unavailable as error:
                if error.code == 429 or request.repeatable:
                    raise
                lost = error
            stored = await self.get(resource, namespace, name)
            if holds(stored, body, manager, subresource):
                return stored
            if stored["metadata"]["resourceVersion"] != version:
                raise Conflict(409, "Conflict", f"{request.path} has changed since resourceVersion {version}") from lost
            await self._pause(attempt, lost)
        assert lost is not None
        raise lost

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str, *, propagation: str = "Background"
    ) -> None:
        """With a UID precondition; an object that is gone (or another one) is success."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": propagation,
        }
        path = resource.path(namespace, name)
        try:
            await self._send(Request("delete", "DELETE", resource, path, REQUEST_SECONDS, body=body))
        except NotFound:
            return
        except Conflict:
            stored = await self._find(resource, namespace, name)
            if stored is not None and stored["metadata"]["uid"] == uid:
                raise

    async def _find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        try:
            return await self.get(resource, namespace, name)
        except NotFound:
            return None

    async def _send(self, request: Request) -> dict[str, Any]:
        """Sends until there is an answer to act on. Raises Unavailable when the tries are used up, or at once if its
        result is unknown and it is not repeatable."""
        for attempt in range(TRIES):
            try:
                return await self._send_once(request)
            except Unavailable as error:
                if error.code != 429 and not request.repeatable:
                    raise
                last = error
            if attempt < TRIES - 1:
                await self._pause(attempt, last)
        raise last

    async def _send_once(self, request: Request) -> dict[str, Any]:
        async with self._slots:  # first come, first served; nobody holds a slot while pausing
            if request.mutates:
                self._guard()
            return await self._exchange.send(request)

    async def _pause(self, attempt: int, error: Unavailable | None) -> None:
        if error is not None and error.retry_after is not None:
            seconds = min(error.retry_after, LONGEST_RETRY_AFTER_SECONDS)
            await asyncio.sleep(seconds * self._random.uniform(1.0, 1.2))
        else:
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt)
            await asyncio.sleep(self._random.uniform(longest / 2, longest))


def _identity(document: Object) -> tuple[str | None, str | None]:
    """(UID of the controller, hash of what was rendered): whose object it is, and which."""
    metadata = document.get("metadata", {})
    controllers = [owner["uid"] for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    return next(iter(controllers), None), (metadata.get("annotations") or {}).get(SPEC_HASH_ANNOTATION)


def _check_ours(resource: Resource, stored: Object, body: Object) -> None:
    (controller, spec_hash), (our_controller, our_hash) = _identity(stored), _identity(body)
    if (controller, spec_hash) != (our_controller, our_hash):
        name = body["metadata"]["name"]
        raise AlreadyExists(
            409,
            "AlreadyExists",
            f"{resource.kind} {name} exists and is not ours: found controller UID {controller} and spec hash "
            f"{spec_hash}, expected {our_controller} and {our_hash}; rename or delete it",
        )
