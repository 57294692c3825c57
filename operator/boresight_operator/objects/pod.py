"""The pod template of an attempt: restricted Pod Security, whatever a run says."""

from __future__ import annotations

from typing import Any

from boresight_api.base import Contract

from .. import names
from .environment import environment
from .failure_policy import CONTAINER
from .labels import attempt_annotations, attempt_labels
from .placement import affinity
from .stage_document import PREPARE_FILE, STAGE_FILE
from .volumes import DOCUMENT_FOLDER, volumes_and_mounts
from .work import Work


def pod_template(work: Work) -> dict[str, Any]:
    """``spec.template`` of the Job. Labels, annotations, environment and security context of ours win."""
    template = work.template
    metadata = {
        "labels": {**template.labels, **attempt_labels(work)},
        "annotations": {**template.annotations, **attempt_annotations(work)},
    }
    volumes, mounts = volumes_and_mounts(work)
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": work.settings.grace_period_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _pod_security(work.settings.run_as_user),
        "containers": [_container(work, mounts)],
        "volumes": volumes,
        **_placed(work),
    }
    if work.settings.service_account_name:
        spec["serviceAccountName"] = work.settings.service_account_name
    if work.coupled:
        spec["subdomain"] = work.name
    return {"metadata": metadata, "spec": spec}


def _container(work: Work, mounts: list[dict[str, Any]]) -> dict[str, Any]:
    if work.stage is None:
        command = ["boresight-trainer", "prepare", f"{DOCUMENT_FOLDER}/{PREPARE_FILE}"]
        ports = []
    else:
        command = ["boresight-trainer", "run", f"{DOCUMENT_FOLDER}/{STAGE_FILE}"]
        ports = [{"name": "metrics", "containerPort": names.PROGRESS_PORT, "protocol": "TCP"}]
    pull = work.settings.image_pull_policy
    return {
        "name": CONTAINER,
        "image": work.image,
        **({"imagePullPolicy": pull} if pull else {}),
        "command": command,
        "env": environment(work),
        "resources": _resources(work),
        **({"ports": ports} if ports else {}),
        "volumeMounts": mounts,
        "securityContext": _CONTAINER_SECURITY,
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }


def _resources(work: Work) -> dict[str, Any]:
    """Devices are an extended resource: request and limit are the same number."""
    found = work.resources.model_dump(exclude_defaults=True)
    if work.devices:
        for quantities in ("requests", "limits"):
            found.setdefault(quantities, {})[work.settings.device_resource] = str(work.devices)
    return found


def _placed(work: Work) -> dict[str, Any]:
    """Where the pods may run, in the words of the pod template."""
    template = work.template
    found = {
        "nodeSelector": dict(template.node_selector),
        "affinity": affinity(template.affinity, work.start.avoid_nodes),
        "topologySpreadConstraints": [_plain(item) for item in template.topology_spread_constraints],
        "tolerations": [_plain(item) for item in template.tolerations],
        "priorityClassName": template.priority_class_name,
        "runtimeClassName": template.runtime_class_name,
        "imagePullSecrets": [_plain(item) for item in template.image_pull_secrets],
    }
    return {name: value for name, value in found.items() if value}


def _plain(value: Contract) -> dict[str, Any]:
    return value.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


def _pod_security(user: int) -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


_CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
}
