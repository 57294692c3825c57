"""The CronJob that cleans stores calls the command that exists, with the store's own Secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders_chart import STORAGE
from kits.chart import Helm, Object

TWO = [
    {"name": "vision", "uri": "s3://alignment/vision", "secretName": "vision-storage"},
    {"name": "audio", "uri": "s3://alignment/audio", "secretName": "audio-storage", "endpoint": "http://minio:9000"},
]


def containers(helm: Helm, **gc: Any) -> dict[str, Object]:
    """The container of each CronJob, by the job's name."""
    jobs = helm.render({"gc": {"enabled": True, **gc}, "settings": {"defaults": {"storage": STORAGE}}}).all("CronJob")
    return {
        job["metadata"]["name"]: job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0] for job in jobs
    }


def test_nothing_is_cleaned_unless_somebody_says_so(helm: Helm) -> None:
    assert not helm.render({"settings": {"defaults": {"storage": STORAGE}}}).all("CronJob")


def test_the_default_store_is_cleaned_with_its_secret(helm: Helm) -> None:
    (container,) = containers(helm).values()
    assert STORAGE["uri"] in container["command"]
    variables = {item["name"]: item for item in container["env"]}
    assert variables["AWS_ENDPOINT_URL_S3"]["value"] == STORAGE["endpoint"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        reference = variables[name]["valueFrom"]["secretKeyRef"]
        assert (reference["name"], reference["key"]) == (STORAGE["secretName"], name)


def test_named_stores_are_cleaned_each_by_a_job_of_its_own(helm: Helm) -> None:
    found = containers(helm, stores=TWO)
    assert list(found) == ["boresight-operator-gc-vision", "boresight-operator-gc-audio"]
    assert [STORAGE["uri"] in container["command"] for container in found.values()] == [False, False]


@pytest.mark.parametrize(("delete", "said"), [(True, "removed"), (False, "nothing was removed")])
def test_the_command_is_one_that_the_trainer_s_image_has(helm: Helm, tmp_path: Path, delete: bool, said: str) -> None:
    (container,) = containers(helm, delete=delete, keepDays=3).values()
    program, *arguments = container["command"]
    assert program == "boresight"
    here = [str(tmp_path) if argument == STORAGE["uri"] else argument for argument in arguments]
    done = subprocess.run([Path(sys.executable).parent / program, *here], capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stderr) == (0, True), done.stderr
