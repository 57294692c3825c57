"""Reading plain Kubernetes objects (decoded JSON): what is missing or of another type is absent, and nothing raises."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MAX_TEXT = 4096
"""Characters of a foreign message that are looked at."""


def mapping(holder: object, *path: str) -> Mapping[str, Any]:
    """The mapping at ``path``; empty if there is none."""
    for name in path:
        holder = holder.get(name) if isinstance(holder, dict) else None
    return holder if isinstance(holder, dict) else {}


def mappings(holder: object, *path: str) -> list[Mapping[str, Any]]:
    """The mappings in the list at ``path``."""
    found = mapping(holder, *path[:-1]).get(path[-1])
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def text(holder: object, *path: str) -> str:
    """The text at ``path``, cut; empty if there is none."""
    value = mapping(holder, *path[:-1]).get(path[-1])
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def texts(holder: object, *path: str) -> dict[str, str]:
    """The mapping of texts at ``path``: labels, annotations."""
    return {str(key): value for key, value in mapping(holder, *path).items() if isinstance(value, str)}


def number(value: object, default: int = 0) -> int:
    """A whole number, or text of at most nine digits that is one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) <= 9 else default


def epoch(time: object) -> float | None:
    """Seconds since the epoch of an RFC 3339 time; None if it is none."""
    if not isinstance(time, str):
        return None
    try:
        parsed = datetime.fromisoformat(time)
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def rfc3339(seconds: float) -> str:
    """A time as Kubernetes writes it, in whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(found: object, name: str, status: str = "True") -> Mapping[str, Any] | None:
    """The object's condition of that type, if it has that status."""
    conditions = mappings(found, "status", "conditions")
    return next((item for item in conditions if item.get("type") == name and item.get("status") == status), None)


def controller(found: object) -> str:
    """UID of the object's controller; empty if it has none."""
    owners = mappings(found, "metadata", "ownerReferences")
    return next((text(owner, "uid") for owner in owners if owner.get("controller") is True), "")
