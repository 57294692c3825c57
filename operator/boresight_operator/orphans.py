"""A Job that is gone while its pods still end: what is left of the attempt, told by its pods.

The garbage collector removes a run's Jobs in the background and their pods after that, each with its grace period; so
does whoever deletes a Job without waiting. Until the last pod has ended, the attempt is live: it may hold devices and
write checkpoints. Such pods say whose they were in what the Job gave them, and are shown as a Job in deletion.
"""

from __future__ import annotations

from typing import Any

from .api import JOBS, Object
from .names import KEY_ANNOTATION, RUN_UID_LABEL
from .plain import mappings, text, texts

OVER = frozenset({"Succeeded", "Failed"})


def run_of(pod: Object) -> str | None:
    """UID of the run that a pod of ours says it is of."""
    return texts(pod, "metadata", "labels").get(RUN_UID_LABEL)


def key_of(pod: Object) -> str | None:
    """The key that it works on; None for ``prepare``, and when it has ended."""
    return None if is_over(pod) else texts(pod, "metadata", "annotations").get(KEY_ANNOTATION)


def is_over(pod: Object) -> bool:
    """Nothing of it runs any more."""
    return text(pod, "status", "phase") in OVER


def ending(job: dict[str, Any]) -> dict[str, Any]:
    """A Job that is gone, of whose pods nothing is known yet, as one in deletion."""
    metadata = job["metadata"]
    deleted = metadata.get("deletionTimestamp") or metadata.get("creationTimestamp", "")
    return {**job, "metadata": {**metadata, "deletionTimestamp": deleted}}


def job_of(pod: Object) -> dict[str, Any]:
    """The Job that made it, as far as the pod tells; its name is checked as that of every Job is."""
    owner = next((owner for owner in mappings(pod, "metadata", "ownerReferences") if owner.get("controller")), {})
    created = text(pod, "metadata", "creationTimestamp")
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {
            "name": text(owner, "name"),
            "namespace": text(pod, "metadata", "namespace"),
            "uid": text(owner, "uid"),
            "creationTimestamp": created,
            "deletionTimestamp": text(pod, "metadata", "deletionTimestamp") or created,
            "labels": texts(pod, "metadata", "labels"),
            "annotations": texts(pod, "metadata", "annotations"),
            "ownerReferences": [{"uid": run_of(pod), "controller": True}],
        },
        "spec": {},
        "status": {"conditions": []},
    }
