"""Metadata of what an attempt consists of. Labels are for people and selectors; UIDs identify."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boresight_api.base import API_VERSION, canonical_json, sha256_hex

from .. import names
from ..api import Object, Resource
from ..views import RunView
from .work import Work


def attempt_labels(work: Work) -> dict[str, str]:
    """On an attempt's Job, pods, ConfigMap and Service."""
    key = {names.KEY_LABEL: work.start.key[:16]} if work.start.key else {}
    return {
        **names.run_labels(work.run.name, work.run.uid),
        "app.kubernetes.io/component": work.start.stage,
        names.STAGE_LABEL: work.start.stage,
        names.ATTEMPT_LABEL: str(work.start.attempt),
        names.PART_LABEL: work.start.part.value,
        **key,
    }


def attempt_annotations(work: Work) -> dict[str, str]:
    """On an attempt's Job and ConfigMap."""
    found = {names.KEY_ANNOTATION: work.start.key, names.PLAN_ANNOTATION: work.plan}
    return {
        **{name: value for name, value in found.items() if value},
        names.DEVICES_ANNOTATION: str(work.nodes * work.devices),
        names.STORE_ANNOTATION: names.store_digest(work.storage.uri, work.storage.endpoint),
    }


def owned(
    resource: Resource,
    run: RunView,
    name: str,
    content: Mapping[str, Any],
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """An object that the run owns, with the hash of all that we say in it."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": run.namespace,
        "labels": dict(labels or names.run_labels(run.name, run.uid)),
        "annotations": dict(annotations or {}),
        "ownerReferences": [owner(run)],
    }
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **content}
    metadata["annotations"][names.SPEC_HASH_ANNOTATION] = sha256_hex(canonical_json(body))
    return body


def owner(run: RunView) -> dict[str, Any]:
    """The reference that makes the garbage collector delete an object with its run, and makes it ours."""
    return {
        "apiVersion": API_VERSION,
        "kind": run.kind,
        "name": run.name,
        "uid": run.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
