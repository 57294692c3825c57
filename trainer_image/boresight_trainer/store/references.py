"""Small documents beside artifacts: tags (a name for a key) and refs (which keys a run needs)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from boresight_api.outcome import FailureClass, StageFailure

from .base import Artifacts, Store
from .layout import REFS, TAGS, checked_name, is_key


def tag_name(name: str) -> str:
    """Where the tag ``name`` lies in a store."""
    return f"{TAGS}/{checked_name(name, 'tag')}.json"


def tags(store: Artifacts) -> dict[str, str | None]:
    """Every tag, and the key that it names; None for one that cannot be read."""
    names = [file.name.removeprefix(f"{TAGS}/").removesuffix(".json") for file in store.files(TAGS)]
    found = {name: store.read(tag_name(name)) for name in names if not name.startswith(".")}
    return {name: _key_in(content) for name, content in found.items() if content is not None}


def read_tag(store: Artifacts, name: str) -> str:
    """The key that ``artifact://tags/<name>`` names. Raises :class:`StageFailure` (MissingInput) if it names none."""
    content = store.read(tag_name(name))
    if content is None:
        known = ", ".join(sorted(tags(store))[:8]) or "none"
        raise StageFailure(
            FailureClass.MISSING_INPUT,
            f"artifact://tags/{name}: found no such tag in {store.uri} (tags there: {known}); set it with "
            "`boresight artifacts tag`",
        )
    key = _key_in(content)
    if key is None:
        raise StageFailure(
            FailureClass.MISSING_INPUT,
            f"{store.uri}/{tag_name(name)}: found {content[:80]!r}, expected an object with a key: set the tag anew",
        )
    return key


def write_tag(store: Store, name: str, key: str) -> None:
    """Let ``name`` mean the finished artifact ``key`` from now on."""
    if store.manifest(key) is None:
        raise StageFailure(FailureClass.MISSING_INPUT, f"tag {name}: artifact {key} is not in {store.uri}")
    store.write(tag_name(name), _document({"key": key, "time": _now()}))


def write_refs(store: Store, *, cluster: str, namespace: str, run: str, keys: Iterable[str]) -> None:
    """Say which keys a run needs, so that garbage collection keeps what they reach. The last writer is right."""
    folder = f"{REFS}/{checked_name(cluster, 'cluster')}/{checked_name(namespace, 'namespace')}"
    document = {"apiVersion": "boresight.dev/v1alpha1", "kind": "Refs", "keys": sorted(set(keys)), "time": _now()}
    store.write(f"{folder}/{checked_name(run, 'run UID')}.json", _document(document))


def _key_in(content: bytes) -> str | None:
    try:
        document = json.loads(content)
    except ValueError:
        return None
    key = document.get("key") if isinstance(document, dict) else None
    return key if isinstance(key, str) and is_key(key) else None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _document(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
