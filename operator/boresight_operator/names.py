"""Names, labels and annotations of the objects that the operator makes. One place, so that all agree."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from boresight_api.base import canonical_json, sha256_hex

from .views import Part

GROUP = "boresight.dev"
VERSION = "v1alpha1"
MANAGER = "boresight"
"""Field manager of the status, and of all that is server-side applied."""
PROGRESS_MANAGER = "boresight-progress"
MANAGED_BY = {"app.kubernetes.io/managed-by": "boresight-operator"}
SELECTOR = "app.kubernetes.io/managed-by=boresight-operator"
"""What watches and lists of Jobs and Pods ask for."""

RUN_LABEL = f"{GROUP}/run"
RUN_UID_LABEL = f"{GROUP}/run-uid"
STAGE_LABEL = f"{GROUP}/stage"
ATTEMPT_LABEL = f"{GROUP}/attempt"
KEY_LABEL = f"{GROUP}/key"
"""First 16 digits of the key."""
PART_LABEL = f"{GROUP}/part"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

KEY_ANNOTATION = f"{GROUP}/key"
"""The whole key."""
PLAN_ANNOTATION = f"{GROUP}/plan"
"""Digest of the plan."""
STORE_ANNOTATION = f"{GROUP}/store"
""":func:`store_digest` of the store that an attempt publishes to, whatever its run's spec says by now."""
SPEC_HASH_ANNOTATION = f"{GROUP}/spec-hash"
"""Of the object as we rendered it, so that AlreadyExists can be told from a foreign object."""
DEVICES_ANNOTATION = f"{GROUP}/devices"
RETRY_ANNOTATION = f"{GROUP}/retry"

PROGRESS_PORT = 8080
MAX_OBJECT_NAME = 52
"""An Indexed Job's pods and their host names add to the name; 63 characters are refused (measured on 1.34.4)."""


def object_name(kind: str, run_name: str, run_uid: str, stage: str, what: str) -> str:
    """``<run, cut>-<stage>-<8 hex>``: at most 52 characters; another one for any other argument.

    Of a run whose name begins with a digit it begins with ``r``: a Service's name is one of RFC 1035.
    """
    digest = sha256_hex(canonical_json([kind, run_uid, stage, what]))[:8]
    tail = f"-{stage}-{digest}"
    stem = f"r{run_name}" if run_name[:1].isdigit() else run_name
    head = stem[: MAX_OBJECT_NAME - len(tail)].rstrip("-")
    return head + tail


def attempt_name(run_name: str, run_uid: str, stage: str, key: str | None, attempt: int, part: Part) -> str:
    """Of an attempt's Job, its ConfigMap and its headless Service."""
    return object_name("Job", run_name, run_uid, stage, f"{key or stage}/{attempt}/{part.value}")


@lru_cache(maxsize=4096)
def store_digest(uri: str, endpoint: str | None) -> str:
    """Names a store in 16 digits."""
    return sha256_hex(canonical_json([uri.rstrip("/"), endpoint or ""]))[:16]


def plan_name(run_name: str, run_uid: str, digest: str) -> str:
    """Of the ConfigMap that holds a plan."""
    return object_name("ConfigMap", run_name, run_uid, "plan", digest)


def network_policy_name(run_name: str, run_uid: str) -> str:
    """Of the run's NetworkPolicy."""
    return object_name("NetworkPolicy", run_name, run_uid, "network", run_uid)


def run_labels(run_name: str, run_uid: str) -> Mapping[str, str]:
    """On everything a run owns."""
    return {
        **MANAGED_BY,
        "app.kubernetes.io/name": "boresight",
        "app.kubernetes.io/part-of": "boresight",
        "app.kubernetes.io/instance": run_name,
        RUN_LABEL: run_name,
        RUN_UID_LABEL: run_uid,
    }
