"""The pod that reads a run's store for ``kubectl boresight ... --in-cluster``, frozen. To accept a change:
``python tests/unit/golden_helper_pods.py``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from boresight.cluster.helper_pod import environment_of, helper_pod, newest_job

_spec = importlib.util.spec_from_file_location("golden_helper_pods", Path(__file__).with_name("golden_helper_pods.py"))
assert _spec is not None
assert _spec.loader is not None
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

PODS: dict[str, Any] = golden.pods()


def test_pods_are_as_they_were() -> None:
    assert golden.text() == golden.FILE.read_text()


@pytest.mark.parametrize("name", PODS)
def test_nothing_of_a_stage_is_left(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["spec"]["containers"]
    names = {variable["name"] for variable in container["env"]}
    assert not names & {"BORESIGHT_POD_UID", "HF_TOKEN", "BORESIGHT_JUDGE_API_KEY", "MASTER_ADDR", "NODE_RANK"}
    assert "AWS_ACCESS_KEY_ID" in names or name == "training-on-cpu-in-a-folder"
    limits = {amount for what in container["resources"].values() for amount in what}
    assert limits <= {"cpu", "memory", "ephemeral-storage"}
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["activeDeadlineSeconds"] == 900
    assert not any(label.startswith(("batch.", "controller-uid", "job-name")) for label in pod["metadata"]["labels"])
    assert pod["metadata"]["labels"]["app.kubernetes.io/managed-by"] != "boresight-operator"
    assert "controller" not in pod["metadata"]["ownerReferences"][0]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_a_jobs_own_labels_do_not_make_the_pod_one_of_it() -> None:
    job = golden.job("prepare-by-settings")
    given = {"controller-uid": "u", "batch.kubernetes.io/job-name": "j", "job-name": "j", "team": "vision"}
    job["spec"]["template"]["metadata"]["labels"].update(given)
    pod = helper_pod(job, golden.RUN, name="x", command=["true"], document=None)
    assert pod["metadata"]["labels"]["team"] == "vision"
    assert not {"controller-uid", "batch.kubernetes.io/job-name", "job-name"} & pod["metadata"]["labels"].keys()


def test_prepare_is_preferred_for_it_asks_for_no_device() -> None:
    def made(stage: str, time: str) -> dict[str, Any]:
        return {"metadata": {"name": f"{stage}-{time}", "labels": {"stage": stage}, "creationTimestamp": time}}

    jobs = [made("policy", "3"), made("prepare", "1"), made("prepare", "2")]
    chosen = newest_job(jobs, "stage")
    assert chosen is not None
    assert chosen["metadata"]["name"] == "prepare-2"
    assert newest_job(jobs[:1], "stage") == jobs[0]
    assert newest_job([], "stage") is None


def test_only_plain_values_are_known_outside() -> None:
    job = golden.job("evaluation-with-secrets")
    found = environment_of(job)
    assert found["AWS_ENDPOINT_URL_S3"] == "https://minio.example:9000"
    assert "AWS_SECRET_ACCESS_KEY" not in found
