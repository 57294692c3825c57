"""The API server as a :class:`Transport` sees it: a request's bytes in, an answer's bytes out.

``tests/apiserver/test_fake_is_faithful.py`` holds it to the real one. Watches are not here: :mod:`.watch` plays kopf.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

import orjson
from boresight_operator.api import Answer, Object, Resource

from .registry import RESOURCES, Failure, Registry, dumped, name_of, namespace_of

BY_PLACE = {(resource.group, resource.version, resource.plural): resource for resource in RESOURCES}
CONTINUE_SECONDS = 300.0
"""How long a page's token lives; etcd compacts every five minutes."""


@dataclass(frozen=True)
class Place:
    """What a URL names."""

    resource: Resource
    namespace: str | None
    name: str | None
    subresource: str | None


class FakeApi:
    """Serves a :class:`Registry`. ``server_now`` is the server's clock (for ``Date``), which may be wrong."""

    def __init__(self, registry: Registry, server_now: Callable[[], float]) -> None:
        self.registry = registry
        self.server_now = server_now
        self._pages: dict[str, tuple[float, str, list[Object]]] = {}

    def expire_pages(self) -> None:
        """As a compaction does: every token handed out so far answers 410."""
        self._pages.clear()

    def answer(
        self,
        actor: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> Answer:
        """One request, done at once."""
        try:
            code, document = self._dispatch(actor, method, path, query, headers, body)
        except Failure as failure:
            return self.failed(failure.code, failure.reason, failure.message, causes=failure.causes)
        return self._answer(code, document)

    def failed(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        causes: tuple[Mapping[str, str], ...] = (),
    ) -> Answer:
        """A Status."""
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
        status |= {"reason": reason, "code": code} | ({"details": {"causes": list(causes)}} if causes else {})  # type: ignore[dict-item]
        return self._answer(code, dumped(status), headers)

    def _answer(self, code: int, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        date = formatdate(self.server_now(), usegmt=True)
        return Answer(code, {"date": date, "content-type": "application/json", **(headers or {})}, body)

    def _dispatch(
        self,
        actor: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> tuple[int, bytes]:
        place = place_of(path)
        document = _parsed(body)
        manager = query.get("fieldManager") or _agent(headers)
        match method, place.name:
            case "GET", None:
                return 200, self._list(place, query)
            case "GET", str(name):
                return 200, dumped(self.registry.get(place.resource, place.namespace or "", name))
            case "POST", None:
                made = self.registry.create(place.resource, _one_namespace(place), document, actor, manager)
                return 201, dumped(made)
            case "PUT", str(name):
                return self._put(place, name, document, actor, manager)
            case "PATCH", str(name):
                return self._patch(place, name, document, actor, query, headers)
            case "DELETE", str(name):
                return self._delete(place, name, document, query, actor)
        raise Failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _put(self, place: Place, name: str, body: Object, actor: str, manager: str) -> tuple[int, bytes]:
        _refuse_other_name(body, name)
        namespace = _one_namespace(place)
        done = self.registry.update(
            place.resource, namespace, name, body, actor, manager=manager, subresource=place.subresource
        )
        return 200, dumped(done)

    def _patch(
        self, place: Place, name: str, body: Object, actor: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        kind = headers.get("content-type", "").partition(";")[0]
        namespace = _one_namespace(place)
        if kind == "application/merge-patch+json":
            manager = query.get("fieldManager") or _agent(headers)
            done = self.registry.merge(
                place.resource, namespace, name, body, actor, manager=manager, subresource=place.subresource
            )
            return 200, dumped(done)
        if kind not in {"application/apply-patch+yaml", "application/apply-patch+cbor"}:
            raise Failure(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {kind}")
        manager = query.get("fieldManager", "")
        if not manager:
            text = "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            raise Failure(422, "Invalid", text)
        if body.get("apiVersion") != place.resource.api_version or body.get("kind") != place.resource.kind:
            raise Failure(400, "BadRequest", "incorrect apiVersion or kind of an apply configuration")
        if body.get("metadata", {}).get("managedFields"):
            raise Failure(400, "BadRequest", "metadata.managedFields must be nil")
        _refuse_other_name(body, name)
        force = query.get("force") in {"true", "1"}
        done, created = self.registry.apply(
            place.resource, namespace, name, body, actor, manager=manager, force=force, subresource=place.subresource
        )
        return 201 if created else 200, dumped(done)

    def _delete(
        self, place: Place, name: str, options: Object, query: Mapping[str, str], actor: str
    ) -> tuple[int, bytes]:
        before = options.get("preconditions", {})
        grace = options.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        last = self.registry.delete(
            place.resource,
            place.namespace or "",
            name,
            actor,
            uid=before.get("uid"),
            version=before.get("resourceVersion"),
            propagation=options.get("propagationPolicy", query.get("propagationPolicy")),
            grace=None if grace is None else int(grace),
        )
        return 200, dumped(last)

    def _list(self, place: Place, query: Mapping[str, str]) -> bytes:
        limit = int(query.get("limit", 0))
        token = query.get("continue")
        if token:
            items, version = self._continued(token)
        else:
            labels, wanted = query.get("labelSelector", ""), query.get("fieldSelector", "")
            found = self.registry.all(place.resource, place.namespace)
            items = [obj for obj in found if matches(obj, labels) and has_fields(obj, wanted)]
            version = str(self.registry.version)
        metadata: dict[str, Any] = {"resourceVersion": version}
        if limit and len(items) > limit:
            metadata["continue"] = self._page(version, items[limit:])
            metadata["remainingItemCount"] = len(items) - limit
            items = items[:limit]
        document = {"kind": f"{place.resource.kind}List", "apiVersion": place.resource.api_version}
        return dumped({**document, "metadata": metadata, "items": items})

    def _page(self, version: str, items: list[Object]) -> str:
        token = f"{version}.{namespace_of(items[0])}.{name_of(items[0])}"
        self._pages[token] = (self.registry.now() + CONTINUE_SECONDS, version, items)
        return token

    def _continued(self, token: str) -> tuple[list[Object], str]:
        until, version, items = self._pages.get(token, (0.0, "", []))
        if until < self.registry.now():
            text = "The provided continue parameter is too old to display a consistent list result."
            raise Failure(410, "Expired", text)
        return items, version


def place_of(path: str) -> Place:
    """What a URL path names. Raises Failure 404."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    group, rest = ("", parts[1:]) if parts[0] == "api" else (parts[1], parts[2:]) if len(parts) > 2 else ("", [])
    version, rest = (rest[0], rest[1:]) if rest else ("", [])
    namespace = None
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource = BY_PLACE.get((group, version, rest[0] if rest else ""))
    if resource is None or len(rest) > 3:
        raise Failure(404, "NotFound", "the server could not find the requested resource")
    name, subresource = (*rest, None, None)[1:3]
    if subresource not in (None, "status"):
        raise Failure(404, "NotFound", "the server could not find the requested resource")
    return Place(resource, namespace, name, subresource)


def _one_namespace(place: Place) -> str:
    if place.resource.namespaced and place.namespace is None:
        raise Failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    return place.namespace or ""


def _refuse_other_name(body: Object, name: str) -> None:
    if body.get("metadata", {}).get("name", name) != name:
        found = body["metadata"]["name"]
        text = f"the name of the object ({found}) does not match the name on the URL ({name})"
        raise Failure(400, "BadRequest", text)


def _parsed(body: bytes | None) -> Any:
    if not body:
        return {}
    try:
        document = orjson.loads(body)
    except ValueError as error:
        raise Failure(400, "BadRequest", f"the object provided is unrecognized: {error}") from error
    if not isinstance(document, dict):
        raise Failure(400, "BadRequest", "the object provided is unrecognized")
    return document


def _agent(headers: Mapping[str, str]) -> str:
    return {name.lower(): value for name, value in headers.items()}.get("user-agent", "unknown").partition("/")[0]


_TERM = re.compile(
    r"\s*([^\s,!=()]+)\s*(?:(==|=|!=)\s*([^,\s]*)|\s(in|notin)\s*\(([^)]*)\))?\s*(?:,|$)|\s*!([^\s,!=()]+)\s*(?:,|$)"
)


def matches(obj: Object, selector: str) -> bool:
    """Whether an object's labels fit a label selector."""
    labels = obj["metadata"].get("labels") or {}
    return all(_holds(labels, term) for term in _terms(selector))


def _terms(selector: str) -> Iterator[re.Match[str]]:
    position = 0
    while position < len(selector):
        term = _TERM.match(selector, position)
        if term is None:
            raise Failure(400, "BadRequest", f"unable to parse requirement: {selector}")
        yield term
        position = term.end()


def _holds(labels: Mapping[str, str], term: re.Match[str]) -> bool:
    key, operator, value, word, values, absent = term.groups()
    if absent:
        return absent not in labels
    if operator in {"=", "=="}:
        return labels.get(key) == value
    if operator == "!=":
        return labels.get(key) != value
    if word:
        return (labels.get(key) in {item.strip() for item in values.split(",")}) == (word == "in")
    return key in labels


def has_fields(obj: Object, selector: str) -> bool:
    """Whether an object fits a field selector: ``a.b=c,d!=e``."""
    for term in filter(None, selector.split(",")):
        path, operator, wanted = re.split(r"(!=|==|=)", term, maxsplit=1)
        value: Any = obj
        for part in path.split("."):
            value = value.get(part, "") if isinstance(value, Mapping) else ""
        if (str(value) == wanted) == (operator == "!="):
            return False
    return True
