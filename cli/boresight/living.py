"""Which runs live, and what they name: their artifacts are no garbage, however old. Pure but for the reading."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boresight_trainer.store.garbage import Living

from .errors import UserError
from .records import RunRecords

if TYPE_CHECKING:
    from boresight_trainer.store.base import Store

LIVING_OPTION = "--living"
_KEYS = re.compile(r"(?<![0-9a-f:])[0-9a-f]{64}(?![0-9a-f])").findall
"""Keys wherever they stand in an object's JSON: in its plan, its sources, the URIs of its spec. Digests have a colon
before them."""


def living_of(runs: Iterable[Mapping[str, Any]], namespaces: frozenset[str] | None) -> Living:
    """By the objects of the runs, which are all that there are in ``namespaces`` (None: in the cluster)."""
    found = list(runs)
    return Living(
        runs=frozenset(str(run["metadata"]["uid"]) for run in found),
        keys=frozenset(key for run in found for key in _KEYS(json.dumps(run))),
        namespaces=namespaces,
    )


def living_here(store: Store) -> Living:
    """By the records in a store on this machine. Raises :class:`UserError` if one cannot be read."""
    from boresight_trainer.store.file import FileStore

    if not isinstance(store, FileStore):
        return Living()
    records = [record for _, record in RunRecords(store.root).all(_refuse)]
    keys = {stage.key for record in records for stage in record.stages if stage.key is not None}
    return Living(frozenset(record.uid for record in records), frozenset(keys))


def living_document(living: Living) -> dict[str, Any]:
    """For a pod, which cannot ask who lives."""
    namespaces = None if living.namespaces is None else sorted(living.namespaces)
    return {"runs": sorted(living.runs), "keys": sorted(living.keys), "namespaces": namespaces}


def read_living(file: str) -> Living:
    """The same, in the pod. Raises :class:`UserError` for a file that is none."""
    try:
        document = json.loads(Path(file).read_text(encoding="utf-8"))
        runs, keys, namespaces = (document[name] for name in ("runs", "keys", "namespaces"))
        return Living(frozenset(runs), frozenset(keys), None if namespaces is None else frozenset(namespaces))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{LIVING_OPTION}: {file}: found no list of living runs ({error!r})") from error


def _refuse(error: UserError) -> None:
    """Which artifacts that run needs is not known, so nothing is removed."""
    raise error
