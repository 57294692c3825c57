"""What the spec says beside the plan: budgets, limits, store. Read leniently, for it also counts while it is invalid.

A spec that no longer parses still says whether the run is suspended, and its last valid stage still has its budgets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boresight_api.base import canonical_json, sha256_hex
from boresight_api.plan import Plan

from .. import names
from ..settings import NamespaceSettings
from ..views import RunView

INFRASTRUCTURE_RETRIES = 5
ERROR_RETRIES = 1
RETAIN_PODS_SECONDS = 604_800
MAX_RETRY_TEXT = 256
"""Of the annotation, in the status; a longer value is remembered by its digest."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Defaults are filled in, from the settings where they say something."""

    suspend: bool
    infrastructure_retries: int
    error_retries: int
    start_seconds: int
    stage_seconds: int | None
    retain_seconds: int
    stores: tuple[str, ...]
    """URIs of the run's store and of those that it reads from."""
    store: str
    """Digest of place and endpoint of the store: what a stage's state speaks of."""
    access: str
    """Digest of everything about stores and hub that ``prepare`` looks at, Secrets' names too."""
    names_a_store: bool
    """Whether the spec itself does, not the settings."""
    retry: str | None
    """Value of the annotation ``boresight.dev/retry``."""


def wishes_of(run: RunView, settings: NamespaceSettings) -> Wishes:
    """Of a run, over the settings of its namespace."""
    spec = _map(run.document.get("spec"))
    retry, timeouts = _map(spec.get("retry")), _map(spec.get("timeouts"))
    budget, bound = _number(retry.get("infrastructure")), settings.limits.max_infrastructure_retries
    infrastructure = INFRASTRUCTURE_RETRIES if budget is None else budget
    storage = _map(spec.get("storage")) or _dumped(settings.storage)
    hub = _map(spec.get("hub")) or _dumped(settings.hub)
    stores = [_place(storage), *map(_place, map(_map, _items(storage.get("readFrom"))))]
    return Wishes(
        suspend=spec.get("suspend") is True,
        infrastructure_retries=infrastructure if bound is None else min(infrastructure, bound),
        error_retries=_or(_number(retry.get("error")), ERROR_RETRIES),
        start_seconds=_number(timeouts.get("startSeconds")) or settings.start_seconds,
        stage_seconds=_number(timeouts.get("stageSeconds")) or None,
        retain_seconds=_or(_number(spec.get("retainPodsSeconds")), RETAIN_PODS_SECONDS),
        stores=tuple(uri for uri, *_ in stores if uri),
        store=_digest(stores[0][:2]),
        access=_digest([stores, _place(hub)]),
        names_a_store=bool(spec.get("storage")),
        retry=_retry(run.annotations),
    )


def asked(plan: Plan, wishes: Wishes, retry: str | None) -> str:
    """Digest of what ``prepare`` is asked: the plan (before its keys are known: what it is made of), stores, retry."""
    sources = [source.id for source in plan.sources]
    return _digest([plan.digest or plan.unpinned_digest, sources, wishes.access, retry])


def compute_digest(compute: Any) -> str:
    """Of a stage's compute."""
    return _digest(_dumped(compute))


def _retry(annotations: Mapping[str, str]) -> str | None:
    value = _text(annotations.get(names.RETRY_ANNOTATION)) or None
    return value if value is None or len(value) <= MAX_RETRY_TEXT else _digest(value)


def _place(storage: Mapping[str, Any]) -> tuple[str, str, str]:
    """URI, endpoint and Secret's name."""
    uri, endpoint, secret = (_text(storage.get(name)) for name in ("uri", "endpoint", "secretName"))
    return uri.rstrip("/"), endpoint, secret


def _digest(value: Any) -> str:
    return sha256_hex(canonical_json(value))


def _dumped(model: Any) -> Mapping[str, Any]:
    return {} if model is None else model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _text(value: object) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
