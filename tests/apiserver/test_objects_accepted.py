"""What the operator renders, before a real API server under restricted Pod Security and a real Job controller."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from apiserver.client import NAMESPACES, Client, until
from apiserver.kubelet import End, Kubelet
from boresight_api.outcome import FailureClass, exit_code_of
from boresight_operator.api import JOBS, PODS
from boresight_operator.objects.failure_policy import RULES, class_of_rule
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


# -- what the Job controller makes of it -----------------------------------------------------------------------------


def _job(client: Client, namespace: str, name: str) -> dict[str, Any]:
    """The Job of a golden case, nobody's, so that the garbage collector leaves it alone."""
    body = next(dict(body) for resource, body in CASES[name].objects() if resource == JOBS)
    metadata = {k: v for k, v in body["metadata"].items() if k != "ownerReferences"}
    metadata |= {"namespace": namespace, "name": f"job-{uuid.uuid4().hex[:8]}"}
    return client.create(JOBS, namespace, {**body, "metadata": metadata})


def _pods(client: Client, job: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Its pods by index."""

    def look() -> list[dict[str, Any]] | None:
        labels = f"batch.kubernetes.io/job-name={job['metadata']['name']}"
        found = client.list(PODS, job["metadata"]["namespace"], labels=labels)
        found.sort(key=lambda pod: pod["metadata"]["name"])
        return found if len(found) == count else None

    return until(look, f"{count} pods of {job['metadata']['name']}", seconds=15)


def _failed(client: Client, job: dict[str, Any]) -> dict[str, Any] | None:
    now = client.get(JOBS, job["metadata"]["namespace"], job["metadata"]["name"])
    conditions = now.get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == "Failed"), None)


@pytest.mark.parametrize("index", range(len(RULES)))
def test_the_rule_that_ended_a_job_is_read_back(client: Client, kubelet: Kubelet, namespace: str, index: int) -> None:
    job = _job(client, namespace, "training")
    (pod,) = _pods(client, job, 1)
    kubelet.run(pod)
    failure = class_of_rule(index)
    assert failure is not None
    if index == 0:
        kubelet.disrupt(pod, "preempted")
    else:
        kubelet.end(pod, End(exit_code_of(failure)))
    condition = until(lambda: _failed(client, job), "the Job failed", seconds=15)
    assert condition["reason"] == "PodFailurePolicy"
    assert f"matching FailJob rule at index {index}" in condition["message"]


@pytest.mark.parametrize("code", [70, 72, 75, 137])
def test_an_independent_pod_that_fails_ends_no_other(
    client: Client, kubelet: Kubelet, namespace: str, code: int
) -> None:
    job = _job(client, namespace, "synthesis-shards")
    first, *others = _pods(client, job, 8)
    for pod in (first, *others):
        kubelet.run(pod)
    kubelet.end(first, End(code))
    for pod in others:
        now = client.get(PODS, namespace, pod["metadata"]["name"])
        assert now["status"]["phase"] == "Running"
        assert "deletionTimestamp" not in now["metadata"]
        assert _failed(client, job) is None
        kubelet.end(pod, End(0))
    condition = until(lambda: _failed(client, job), "the Job failed", seconds=15)
    assert condition["reason"] == "FailedIndexes"
    now = client.get(JOBS, namespace, job["metadata"]["name"])
    assert (now["status"]["failedIndexes"], now["status"]["completedIndexes"]) == ("0", "1-7")
    assert len(_pods(client, job, 8)) == 8, "nothing is tried again inside the Job"


def test_what_all_must_find_alike_ends_all_independent_pods(client: Client, kubelet: Kubelet, namespace: str) -> None:
    job = _job(client, namespace, "synthesis-shards")
    first, *others = _pods(client, job, 8)
    for pod in (first, *others):
        kubelet.run(pod)
    kubelet.end(first, End(exit_code_of(FailureClass.INVALID_DATA)))
    condition = until(lambda: _failed(client, job), "the Job failed", seconds=30)
    assert condition["reason"] == "PodFailurePolicy"
    assert "matching FailJob rule at index 2" in condition["message"]
    assert class_of_rule(2) is FailureClass.INVALID_DATA
