"""The status as a document to apply, and whether it says anything that is not stored yet."""

from __future__ import annotations

from typing import Any

from boresight_api.base import API_VERSION
from boresight_api.status import RunStatus

from .views import RunView

PROGRESS_CONDITION = "ProgressAvailable"
PROGRESS_FIELDS = frozenset({"percent", "remainingSeconds", "progress"})
_KEYS = {
    "conditions": ("type",),
    "sources": ("id",),
    "stages": ("name",),
    "results": ("suite", "name", "candidate", "baseline"),
}
"""What names an item of each list: the API server keeps their order as it likes."""


def document(status: RunStatus) -> dict[str, Any]:
    """What manager ``boresight`` owns of a status. Nothing that is empty, so that nothing is owned for nothing."""
    whole = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    whole["conditions"] = [item for item in whole.get("conditions", ()) if item["type"] != PROGRESS_CONDITION]
    return {name: value for name, value in whole.items() if name not in PROGRESS_FIELDS and value not in ([], {})}


def same(status: RunStatus, stored: RunStatus) -> bool:
    """Whether two statuses say the same, apart from progress and the order of named lists."""
    return _comparable(document(status)) == _comparable(document(stored))


def body(run: RunView, content: dict[str, Any], *, pinned: bool) -> dict[str, Any]:
    """Of a server-side apply to /status; ``pinned`` to the resourceVersion that was observed."""
    metadata = {"name": run.name, "namespace": run.namespace}
    if pinned:
        metadata["resourceVersion"] = run.resource_version
    return {"apiVersion": API_VERSION, "kind": run.kind, "metadata": metadata, "status": content}


def _comparable(whole: dict[str, Any]) -> dict[str, Any]:
    named = {
        field: {tuple(item.get(key) for key in keys): item for item in whole.get(field, ())}
        for field, keys in _KEYS.items()
    }
    return {**whole, **named}
