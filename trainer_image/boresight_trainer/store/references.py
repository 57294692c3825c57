"""Small documents beside artifacts: tags (a name for a key) and refs (which keys a run needs)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from boresight_api.base import API_VERSION
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
    return {name: parsed_tag(content) for name, content in found.items() if content is not None}


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
    key = parsed_tag(content)
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


@dataclass(frozen=True)
class Ref:
    """What a run needs."""

    name: str
    """Of the document in its store: ``refs/<cluster>/<namespace>/<run UID>.json``."""
    run: str
    """UID."""
    label: str
    """``<namespace>/<name>`` for people."""
    stages: Mapping[str, str]
    """Name of a stage -> key."""
    keys: frozenset[str]
    time: float
    """When it was written or renewed last, in seconds since the epoch, by its writer's clock."""

    @property
    def namespace(self) -> str:
        """Of the run."""
        return self.name.split("/")[2]


def refs_name(cluster: str, namespace: str, run: str) -> str:
    """Where the ref of a run lies in a store."""
    folder = f"{REFS}/{checked_name(cluster, 'cluster')}/{checked_name(namespace, 'namespace')}"
    return f"{folder}/{checked_name(run, 'run UID')}.json"


def write_refs(
    store: Store, *, cluster: str, namespace: str, run: str, stages: Mapping[str, str], label: str = ""
) -> None:
    """Say which keys a run needs, so that garbage collection keeps what they reach. The last writer is right.

    ``stages``: name -> key. ``label``: the run's name.
    """
    document = {
        "apiVersion": API_VERSION,
        "kind": "Refs",
        "name": label,
        "stages": dict(stages),
        "keys": sorted(set(stages.values())),
        "time": _now(),
    }
    store.write(refs_name(cluster, namespace, run), _document(document))


def renew_refs(store: Store, *, cluster: str, namespace: str, run: str) -> None:
    """The run still works: its ref counts from now. Nothing if ``prepare`` has written none."""
    name = refs_name(cluster, namespace, run)
    content = store.read(name)
    if content is not None and parsed_ref(name, content) is not None:
        store.write(name, _document({**json.loads(content), "time": _now()}))


def parsed_ref(name: str, content: bytes | None) -> Ref | None:
    """The ref in a document; None for one that cannot be read."""
    try:
        document = json.loads(content or b"")
        keys = frozenset(document["keys"])
        time = datetime.fromisoformat(document["time"]).timestamp()
        stages = {str(stage): str(key) for stage, key in dict(document.get("stages", {})).items()}
    except (ValueError, KeyError, TypeError):
        return None
    _, _, namespace, file = name.split("/", 3)
    run = file.removesuffix(".json")
    return Ref(name, run, f"{namespace}/{document.get('name') or run}", stages, keys, time)


def parsed_tag(content: bytes | None) -> str | None:
    """The key in a tag's document; None for one that cannot be read."""
    try:
        document = json.loads(content or b"")
    except ValueError:
        return None
    key = document.get("key") if isinstance(document, dict) else None
    return key if isinstance(key, str) and is_key(key) else None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _document(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
