"""Everything that the operator renders is taken by a real API server, strictly read, under restricted Pod Security."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from apiserver.client import NAMESPACES, Client
from boresight_operator.api import JOBS, PODS
from builders_objects import cases

CASES = cases()
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}


@pytest.fixture(scope="module")
def restricted(client: Client, namespaces: Callable[[], str]) -> str:
    """A namespace that takes no pod beside the restricted ones."""
    name = namespaces()
    client.merge(NAMESPACES, None, name, {"metadata": {"labels": RESTRICTED}})
    return name


@pytest.mark.parametrize("name", CASES)
def test_objects_are_taken_as_they_are(client: Client, restricted: str, name: str) -> None:
    for resource, body in CASES[name].objects():
        placed = {**body, "metadata": {**body["metadata"], "namespace": restricted}}
        stored = client.create(resource, restricted, placed, dryRun="All", fieldValidation="Strict")
        assert _contains(stored, placed) == []
        if resource == JOBS:
            client.create(PODS, restricted, _pod(placed), dryRun="All", fieldValidation="Strict")


def _pod(job: dict[str, Any]) -> dict[str, Any]:
    """The pod that the Job controller would make, but for what a cluster must have to take it."""
    template = job["spec"]["template"]
    spec = {
        k: v
        for k, v in template["spec"].items()
        if k not in {"priorityClassName", "runtimeClassName", "serviceAccountName"}
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **template["metadata"]}, "spec": spec}


def _contains(stored: Any, sent: Any, path: str = "") -> list[str]:
    """Where the server has dropped or changed something that was sent."""
    if isinstance(sent, dict):
        return [found for key, value in sent.items() for found in _contains(stored.get(key), value, f"{path}.{key}")]
    if isinstance(sent, list):
        if len(stored or ()) != len(sent):
            return [f"{path}: {len(stored or ())} items"]
        return [found for i, value in enumerate(sent) for found in _contains(stored[i], value, f"{path}[{i}]")]
    return [] if stored == sent else [f"{path}: sent {sent!r}, stored {stored!r}"]
