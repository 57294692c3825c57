"""Small documents beside artifacts: tags (a name for a key) and refs (which keys a run needs)."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from boresight_api.outcome import FailureClass, StageFailure

from .errors import storage_errors
from .file import FileStore
from .layout import REFS, TAGS, checked_name, is_key


def read_tag(store: FileStore, name: str) -> str:
    """The key that ``artifact://tags/<name>`` names. Raises :class:`StageFailure` (MissingInput) if it names none."""
    path = _tag_path(store, name)
    with storage_errors("read a tag", path):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            known = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))[:8]) or "none"
            raise StageFailure(
                FailureClass.MISSING_INPUT,
                f"artifact://tags/{name}: found no such tag in {store.uri} (tags there: {known}); set it with "
                "`boresight artifacts tag`",
            ) from None
    key = _key_in(content)
    if key is None:
        raise StageFailure(
            FailureClass.MISSING_INPUT,
            f"{path}: found {content[:80]!r}, expected an object with a key: set the tag anew",
        )
    return key


def write_tag(store: FileStore, name: str, key: str) -> None:
    """Let ``name`` mean the finished artifact ``key`` from now on."""
    if store.manifest(key) is None:
        raise StageFailure(FailureClass.MISSING_INPUT, f"tag {name}: artifact {key} is not in {store.uri}")
    _replace(_tag_path(store, name), {"key": key, "time": _now()})


def write_refs(store: FileStore, *, cluster: str, namespace: str, run: str, keys: Iterable[str]) -> None:
    """Say which keys a run needs, so that garbage collection keeps what they reach. The last writer is right."""
    folder = store.root / REFS / checked_name(cluster, "cluster") / checked_name(namespace, "namespace")
    document = {"apiVersion": "boresight.dev/v1alpha1", "kind": "Refs", "keys": sorted(set(keys)), "time": _now()}
    _replace(folder / f"{checked_name(run, 'run UID')}.json", document)


def _tag_path(store: FileStore, name: str) -> Path:
    return store.root / TAGS / f"{checked_name(name, 'tag')}.json"


def _key_in(content: bytes) -> str | None:
    try:
        document = json.loads(content)
    except ValueError:
        return None
    key = document.get("key") if isinstance(document, dict) else None
    return key if isinstance(key, str) and is_key(key) else None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _replace(path: Path, document: Mapping[str, object]) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with storage_errors("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8") as stream:
            json.dump(document, stream, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
