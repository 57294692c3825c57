"""One object as the cache keeps it: trimmed and encoded, with what is looked up by at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from .api import JOBS, PODS, RUNS, Object, Resource
from .claims import LIVE, Claims, job_claims, run_claims
from .names import STORE_ANNOTATION
from .orphans import key_of, run_of
from .plain import texts
from .trim import PROGRESS_FIELDS, trim

StoreOf = Callable[[Object], str]


@dataclass(slots=True)
class Entry:
    """One object."""

    uid: str
    namespace: str
    name: str
    version: str
    owner: str | None
    """UID of its controller."""
    run: str | None
    """Of a pod: UID of the run that it says it is of."""
    claims: Claims
    store: str
    """Where the artifacts of its keys are or will be (:func:`.names.store_digest`); empty if nobody knows, so any."""
    body: bytes
    """Without resourceVersion, and without a run's progress: while it stays the same there is nothing to decide."""
    progress: bytes

    def decode(self) -> dict[str, Any]:
        """The object, as far as anything depends on it."""
        document: dict[str, Any] = orjson.loads(self.body)
        document["metadata"]["resourceVersion"] = self.version
        if self.progress:
            document["status"].update(orjson.loads(self.progress))
        return document


def entry_of(resource: Resource, obj: Object, store_of: StoreOf) -> Entry:
    """``obj`` as it is kept. ``store_of``: the store of a run."""
    document = trim(resource, obj)
    metadata = document["metadata"]
    version = metadata.pop("resourceVersion")
    progress, claims = b"", job_claims(document) if resource == JOBS else Claims()
    if resource in RUNS:
        claims = run_claims(document)
        progress = _take_progress(document)
    if resource == PODS and (key := key_of(document)) is not None:
        claims = Claims({key: LIVE})
    return Entry(
        metadata["uid"],
        metadata["namespace"],
        metadata["name"],
        version,
        next((owner["uid"] for owner in metadata.get("ownerReferences", ())), None),
        run_of(document) if resource == PODS else None,
        claims,
        store_of(document)
        if resource in RUNS
        else texts(document, "metadata", "annotations").get(STORE_ANNOTATION, ""),
        _encode(document),
        progress,
    )


def _take_progress(document: dict[str, Any]) -> bytes:
    status = document.get("status") or {}
    progress = {name: status[name] for name in PROGRESS_FIELDS if name in status}
    if not progress:
        return b""
    document["status"] = {name: value for name, value in status.items() if name not in progress}
    return _encode(progress)


def _encode(document: object) -> bytes:
    return orjson.dumps(document)
