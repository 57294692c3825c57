"""What the cache keeps of an object: only what :mod:`.views` shows to ``decide``. The rest would cost memory, and its
changes would wake runs for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .api import JOBS, PODS, Object, Resource
from .names import GROUP

COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
_IDENTITY = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
PROGRESS_FIELDS = ("progress", "percent", "remainingSeconds")
"""Of a run's status: written every few seconds, and no decision depends on them."""


def trim(resource: Resource, obj: Object) -> dict[str, Any]:
    """A new document: ``apiVersion``, ``kind``, ``metadata`` and what is needed of the rest. ``obj`` stays as it is."""
    parts = {JOBS.plural: _job, PODS.plural: _pod}.get(resource.plural, _run)(obj)
    metadata = _metadata(obj["metadata"], is_run=resource not in {JOBS, PODS})
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **parts}


def _metadata(metadata: Mapping[str, Any], *, is_run: bool) -> dict[str, Any]:
    kept = _pick(metadata, _IDENTITY)
    labels = metadata.get("labels") or {}
    if labels := dict(labels) if is_run else _ours(labels):
        kept["labels"] = labels
    if annotations := _ours(metadata.get("annotations") or {}):
        kept["annotations"] = annotations
    if owners := [owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")]:
        kept["ownerReferences"] = [_pick(owner, ("kind", "name", "uid", "controller")) for owner in owners]
    return kept


def _run(obj: Object) -> dict[str, Any]:
    return _pick(obj, ("spec", "status"))


def _job(obj: Object) -> dict[str, Any]:
    return {
        "spec": _pick(obj.get("spec") or {}, ("suspend", "completions")),
        "status": {**_pick(obj.get("status") or {}, ("completionTime",)), "conditions": _conditions(obj)},
    }


def _pod(obj: Object) -> dict[str, Any]:
    status = obj.get("status") or {}
    kept = _pick(status, ("phase", "podIP"))
    kept["conditions"] = _conditions(obj, {"DisruptionTarget", "PodScheduled"})
    if containers := status.get("containerStatuses"):
        kept["containerStatuses"] = [_pick(container, ("name", "state")) for container in containers]
    return {"spec": _pick(obj.get("spec") or {}, ("nodeName", "hostNetwork")), "status": kept}


def _conditions(obj: Object, types: Iterable[str] = ()) -> list[dict[str, Any]]:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return [
        _pick(condition, ("type", "status", "reason", "message"))
        for condition in conditions
        if not types or condition.get("type") in types
    ]


def _ours(named: Mapping[str, str]) -> dict[str, str]:
    """Labels or annotations that are ours, and the Job controller's number of a pod."""
    return {name: value for name, value in named.items() if name.startswith(f"{GROUP}/") or name == COMPLETION_INDEX}


def _pick(document: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: document[name] for name in names if name in document}
