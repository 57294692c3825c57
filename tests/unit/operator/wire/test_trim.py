"""The cache keeps what is looked at and drops the rest."""

from __future__ import annotations

import copy
from typing import Any

from boresight_operator.api import ALIGNMENT_RUNS, JOBS, PODS
from boresight_operator.names import attempt_name
from boresight_operator.observe import job_view, pod_view, run_view
from boresight_operator.trim import trim
from boresight_operator.views import Part


def metadata(**rest: Any) -> dict[str, Any]:
    return {
        "name": "n",
        "namespace": "ns",
        "uid": "u",
        "resourceVersion": "5",
        "creationTimestamp": "2026-11-22T12:00:00Z",
        "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}],
        "labels": {"boresight.dev/stage": "policy", "boresight.dev/attempt": "2", "team": "x"},
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{...}",
            "boresight.dev/key": "k",
            "boresight.dev/devices": "8",
            "batch.kubernetes.io/job-completion-index": "3",
        },
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "other"},
            {"apiVersion": "x", "kind": "AlignmentRun", "name": "r", "uid": "run", "controller": True},
        ],
        **rest,
    }


RUN: dict[str, Any] = {
    "metadata": metadata(generation=3, deletionTimestamp="2026-11-22T13:00:00Z"),
    "spec": {"method": {"beta": "0.1"}},
    "status": {"stage": "policy", "percent": 5, "stages": [{"name": "policy", "state": "Running"}]},
}
JOB: dict[str, Any] = {
    "metadata": metadata(name=attempt_name("r", "run", "policy", "k", 2, Part.WORK)),
    "spec": {"suspend": True, "completions": 4, "template": {"spec": {"containers": ["long"]}}},
    "status": {
        "active": 2,
        "startTime": "2026-11-22T12:00:00Z",
        "completionTime": "2026-11-22T12:30:00Z",
        "conditions": [
            {
                "type": "Failed",
                "status": "True",
                "reason": "PodFailurePolicy",
                "message": "rule at index 2",
                "lastProbeTime": "2026-11-22T12:00:00Z",
            }
        ],
    },
}
POD: dict[str, Any] = {
    "metadata": metadata(deletionTimestamp="2026-11-22T13:00:00Z"),
    "spec": {"nodeName": "node-1", "hostNetwork": True, "containers": [{"name": "stage", "env": ["long"]}]},
    "status": {
        "phase": "Failed",
        "podIP": "10.0.0.1",
        "conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"},
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"},
            {"type": "Ready", "status": "False"},
        ],
        "containerStatuses": [
            {
                "name": "stage",
                "image": "long",
                "state": {
                    "terminated": {
                        "exitCode": 76,
                        "reason": "Error",
                        "message": "{}",
                        "startedAt": "2026-11-22T12:00:00Z",
                        "finishedAt": "2026-11-22T12:00:09Z",
                    }
                },
            }
        ],
    },
}


def test_nothing_that_a_view_shows_is_lost() -> None:
    assert pod_view(trim(PODS, POD)) == pod_view(POD)
    whole, trimmed = (job_view(job, (), run_name="r", run_uid="run") for job in (JOB, trim(JOBS, JOB)))
    assert whole == trimmed
    assert whole is not None
    assert whole.completed is not None
    full = {**RUN, "apiVersion": ALIGNMENT_RUNS.api_version, "kind": ALIGNMENT_RUNS.kind}
    seen, kept = run_view(full), run_view(trim(ALIGNMENT_RUNS, RUN))
    assert kept.document == seen.document
    assert (kept.status, kept.labels, kept.deleting, kept.generation) == (
        seen.status,
        seen.labels,
        seen.deleting,
        seen.generation,
    )
    assert kept.annotations.items() <= seen.annotations.items()


def test_what_no_view_shows_is_dropped() -> None:
    text = str([trim(PODS, POD), trim(JOBS, JOB), trim(ALIGNMENT_RUNS, RUN)])
    for dropped in ("managedFields", "last-applied", "long", "lastProbeTime", "'active'", "Ready'", "'other'"):
        assert dropped not in text, dropped


def test_the_object_itself_stays_as_it_is() -> None:
    for resource, obj in ((ALIGNMENT_RUNS, RUN), (JOBS, JOB), (PODS, POD)):
        before = copy.deepcopy(obj)
        trim(resource, obj)
        assert obj == before


def test_an_object_with_nothing_in_it_can_be_trimmed() -> None:
    bare = {"metadata": {"name": "n", "namespace": "ns", "uid": "u", "resourceVersion": "1"}}
    assert trim(PODS, bare)["status"] == {"conditions": []}
    assert trim(JOBS, {**bare, "status": None, "spec": None})["status"] == {"conditions": []}
    assert trim(ALIGNMENT_RUNS, bare)["kind"] == "AlignmentRun"
