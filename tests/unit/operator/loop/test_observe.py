"""Plain objects become views: by UID and verified name, and whatever is missing or odd is absent."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from boresight_operator import names
from boresight_operator.observe import job_view, pod_view, read_status, run_view
from boresight_operator.plain import epoch
from boresight_operator.views import Part
from builders_manifests import an_alignment_run

KEY = "ab" * 32
NAME = names.attempt_name("first", "uid-1", "policy", KEY, 2, Part.WORK)


def a_job(**changes: Any) -> dict[str, Any]:
    metadata = {
        "name": NAME,
        "uid": "job-1",
        "creationTimestamp": "2027-01-15T08:16:40Z",
        "labels": {"boresight.dev/stage": "policy", "boresight.dev/attempt": "2", "boresight.dev/part": "work"},
        "annotations": {"boresight.dev/key": KEY, "boresight.dev/devices": "16"},
    }
    return {"metadata": {**metadata, **changes.pop("metadata", {})}, "spec": {"completions": 2}, **changes}


def a_pod(name: str = "p", index: str = "0", created: str = "2027-01-15T08:16:40Z", **status: Any) -> dict[str, Any]:
    annotations = {"batch.kubernetes.io/job-completion-index": index}
    metadata = {"name": name, "uid": name, "creationTimestamp": created, "annotations": annotations}
    return {"metadata": metadata, "spec": {}, "status": {"phase": "Running", **status}}


def view(job: dict[str, Any], *pods: dict[str, Any], **more: Any) -> Any:
    return job_view(job, pods, run_name="first", run_uid="uid-1", **more)


def test_a_job_is_read_by_its_labels_and_annotations() -> None:
    found = view(a_job())
    assert (found.stage, found.key, found.attempt, found.part, found.devices) == ("policy", KEY, 2, Part.WORK, 16)
    assert (found.completions, found.created, found.complete, found.failed) == (
        2,
        epoch("2027-01-15T08:16:40Z"),
        False,
        None,
    )


@pytest.mark.parametrize(
    "labels",
    [
        {"boresight.dev/stage": "policy", "boresight.dev/attempt": "3", "boresight.dev/part": "work"},
        {"boresight.dev/stage": "synthesis", "boresight.dev/attempt": "2", "boresight.dev/part": "work"},
        {"boresight.dev/stage": "policy", "boresight.dev/attempt": "2", "boresight.dev/part": "merge"},
        {"boresight.dev/stage": "policy", "boresight.dev/attempt": "2", "boresight.dev/part": "other"},
        {},
        None,
    ],
)
def test_a_job_whose_labels_would_have_given_it_another_name_is_not_ours(labels: Any) -> None:
    assert view(a_job(metadata={"labels": labels})) is None


def test_a_job_of_another_run_of_the_same_name_is_not_ours() -> None:
    assert job_view(a_job(), (), run_name="first", run_uid="uid-2") is None


def test_the_newest_pod_of_an_index_is_first() -> None:
    pods = [
        a_pod("old", "0", "2027-01-15T08:16:40Z"),
        a_pod("rank1", "1", "2027-01-15T08:16:40Z"),
        a_pod("new", "0", "2027-01-15T09:00:00Z"),
    ]
    assert [pod.name for pod in view(a_job(), *pods).pods] == ["new", "old", "rank1"]


@pytest.mark.parametrize("condition", ["Failed", "FailureTarget"])
def test_a_failed_job_says_why(condition: str) -> None:
    conditions = [{"type": condition, "status": "True", "reason": "PodFailurePolicy", "message": "rule at index 3"}]
    assert view(a_job(status={"conditions": conditions})).failed == ("PodFailurePolicy", "rule at index 3")


def test_a_job_that_we_have_deleted_is_deleting_before_the_watch_says_so() -> None:
    assert not view(a_job()).deleting
    assert view(a_job(), deleted={"job-1"}).deleting


def test_only_the_stages_own_container_speaks() -> None:
    terminated = {
        "exitCode": 72,
        "reason": "OOMKilled",
        "message": "{}",
        "startedAt": "2027-01-15T08:16:40Z",
        "finishedAt": "2027-01-15T08:17:40Z",
    }
    injected = {"name": "istio-proxy", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    pod = pod_view(a_pod(containerStatuses=[injected, {"name": "stage", "state": {"terminated": terminated}}]))
    assert pod.end is not None
    assert (pod.end.exit_code, pod.end.reason, pod.end.ran_seconds) == (72, "OOMKilled", 60)
    assert pod_view(a_pod(containerStatuses=[injected])).has_container_status is False


def test_why_a_pod_does_not_run() -> None:
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    pod = pod_view(a_pod(conditions=conditions, containerStatuses=[{"name": "stage", "state": {"waiting": waiting}}]))
    assert (pod.unschedulable, pod.waiting_reason, pod.running) == ("0/3 nodes", "ImagePullBackOff", False)
    disrupted = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
    assert pod_view(a_pod(conditions=disrupted)).disruption == "EvictionByEvictionAPI"


ODD = [None, 7, "x", [], {}, {"a": None}, [None], [[]], True]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("field", ["metadata", "spec", "status"])
def test_no_object_is_too_odd_to_be_looked_at(field: str, odd: Any) -> None:
    pod_view({**a_pod(), field: odd})
    view({**a_job(), field: odd})
    run_view({**an_alignment_run(), field: odd})


@pytest.mark.parametrize("odd", ODD)
def test_no_part_of_a_pods_status_is_too_odd(odd: Any) -> None:
    for path in (("conditions",), ("containerStatuses",), ("phase",), ("podIP",)):
        pod = copy.deepcopy(a_pod())
        pod["status"][path[0]] = odd
        pod_view(pod)
    for state in (odd, {"terminated": odd}, {"running": odd}, {"waiting": odd}):
        pod_view(a_pod(containerStatuses=[{"name": "stage", "state": state}]))


def test_a_status_with_fields_or_words_of_a_newer_release_is_known_as_such() -> None:
    accepted = {
        "type": "Accepted",
        "status": "Unknown",
        "reason": "NewerVersion",
        "lastTransitionTime": "2027-01-15T08:16:40Z",
    }
    status, problem = read_status({"plan": "x", "newField": 1, "conditions": [accepted]})
    assert problem == "status.newField"
    assert [condition.type for condition in status.conditions] == ["Accepted"]
    assert read_status({"stages": [{"name": "policy", "state": "Hibernating"}]})[1] == "status.stages.0.state"


@pytest.mark.parametrize("status", [None, {}, "lost", {"plan": "no key"}, {"stages": [{"name": "policy"}]}])
def test_a_status_that_cannot_be_read_is_a_lost_one(status: Any) -> None:
    found, problem = read_status(status)
    assert (found.stages, found.plan, problem) == ((), None, None)


def test_a_run_keeps_what_the_contract_reads() -> None:
    document = an_alignment_run()
    document["metadata"] |= {
        "namespace": "team",
        "uid": "u",
        "generation": 3,
        "labels": {"a": "b"},
        "finalizers": ["x"],
    }
    run = run_view(document)
    assert (run.namespace, run.name, run.uid, run.generation) == ("team", "first", "u", 3)
    assert run.document["metadata"] == {"name": "first", "namespace": "team", "labels": {"a": "b"}}
    assert run.document["spec"] == document["spec"]
