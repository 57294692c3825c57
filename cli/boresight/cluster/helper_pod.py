"""A short-lived pod that reads a run's store where the run's own pods read it. Pure: from a Job of the run to the pod.

It is as a stage's pod is, for that one was allowed: image, Secret by reference, user, volumes, placement. It has no
token, no device, and of the environment what the store needs and users have set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .api import Object

CONTAINER = "boresight"
DEADLINE_SECONDS = 900
GRACE_SECONDS = 5
DOCUMENT_ANNOTATION = "boresight.dev/document"
DOCUMENT_FOLDER = "/etc/boresight/document"
DOCUMENT_FILE = f"{DOCUMENT_FOLDER}/document.json"
"""What the command in the pod is given to read, such as the run."""
LABELS = {"app.kubernetes.io/managed-by": "kubectl-boresight", "app.kubernetes.io/part-of": "boresight"}
"""Not the operator's: it must not take this pod for a stage's."""
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_OURS = ("BORESIGHT_", "HF_", "MASTER_", "NODE_RANK", "RANK", "WORLD_SIZE", "LOCAL_RANK")
"""Beginnings of names that mean a stage's work, or a Secret that reading a store does not need."""
_KEPT = "BORESIGHT_CA_BUNDLE"
_NOT_THEIRS = re.compile(
    r"([a-z0-9.-]*\.)?(boresight\.dev|batch\.kubernetes\.io|app\.kubernetes\.io|kueue\.x-k8s\.io)/|"
    r"(job-name|controller-uid)$"
).match
"""Labels and annotations of ours and of the Job controller, which would take the pod for one of the Job's. Users' own
stay: a policy, or what keeps a sidecar away, asks for them."""
_PLACEMENT = (
    "nodeSelector",
    "tolerations",
    "priorityClassName",
    "runtimeClassName",
    "imagePullSecrets",
    "serviceAccountName",
)


def helper_pod(
    job: Mapping[str, Any], run: Mapping[str, Any], *, name: str, command: Sequence[str], document: str | None
) -> Object:
    """The pod that runs ``command`` and reads the store as ``job`` does. ``document``: for :data:`DOCUMENT_FILE`."""
    template = job["spec"]["template"]["spec"]
    stage = template["containers"][0]
    dropped = {v["name"] for v in template.get("volumes", ()) if _is_the_stages(v)}
    volumes = [volume for volume in template.get("volumes", ()) if volume["name"] not in dropped]
    mounts = [mount for mount in stage.get("volumeMounts", ()) if mount["name"] not in dropped]
    theirs = job["spec"]["template"].get("metadata") or {}
    annotations = {name: text for name, text in (theirs.get("annotations") or {}).items() if not _NOT_THEIRS(name)}
    labels = {name: text for name, text in (theirs.get("labels") or {}).items() if not _NOT_THEIRS(name)}
    if document is not None:
        annotations[DOCUMENT_ANNOTATION] = document
        item = {"path": "document.json", "fieldRef": {"fieldPath": f"metadata.annotations['{DOCUMENT_ANNOTATION}']"}}
        volumes.append({"name": "boresight-document", "downwardAPI": {"items": [item]}})
        mounts.append({"name": "boresight-document", "mountPath": DOCUMENT_FOLDER, "readOnly": True})
    container = {
        "name": CONTAINER,
        "image": stage["image"],
        **({"imagePullPolicy": stage["imagePullPolicy"]} if stage.get("imagePullPolicy") else {}),
        "command": list(command),
        "env": [variable for variable in stage.get("env", ()) if _is_wanted(variable["name"])],
        "resources": _resources(stage.get("resources") or {}),
        "volumeMounts": mounts,
        "securityContext": stage["securityContext"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": run["metadata"]["namespace"],
            "labels": {**labels, **LABELS, "boresight.dev/reads-store-of": run["metadata"]["name"]},
            "annotations": annotations,
            "ownerReferences": [_owner(run)],
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": template["securityContext"],
            "containers": [container],
            "volumes": volumes,
            **{field: template[field] for field in _PLACEMENT if template.get(field)},
        },
    }


def newest_job(jobs: Sequence[Mapping[str, Any]], stage_label: str) -> Mapping[str, Any] | None:
    """The newest Job of ``prepare``, which asks for no device; else the newest of any stage."""
    prepare = [job for job in jobs if job["metadata"].get("labels", {}).get(stage_label) == "prepare"]
    return max(prepare or jobs, key=lambda job: str(job["metadata"]["creationTimestamp"]), default=None)


def environment_of(job: Mapping[str, Any]) -> dict[str, str]:
    """Plain values of its container's environment; what Secrets give is not among them."""
    variables = job["spec"]["template"]["spec"]["containers"][0].get("env", ())
    return {str(variable["name"]): str(variable["value"]) for variable in variables if "value" in variable}


def _is_the_stages(volume: Mapping[str, Any]) -> bool:
    """Its document, its shared memory, and credentials of other stores."""
    name = str(volume["name"])
    return name in {"boresight-stage", "boresight-shm"} or name.startswith("boresight-store-")


def _is_wanted(variable: str) -> bool:
    return variable == _KEPT or not variable.startswith(_OURS)


def _resources(resources: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        what: {name: amount for name, amount in (resources.get(what) or {}).items() if name in _RESOURCES}
        for what in ("requests", "limits")
    }
    return {what: amounts for what, amounts in kept.items() if amounts}


def _owner(run: Mapping[str, Any]) -> dict[str, Any]:
    """So that the pod goes with its run, whatever happens here. Not its controller: no operator acts on it."""
    meta = run["metadata"]
    return {"apiVersion": run["apiVersion"], "kind": run["kind"], "name": meta["name"], "uid": meta["uid"]}
