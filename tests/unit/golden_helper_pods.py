"""Writes ``golden_helper_pods.yaml`` anew: ``python tests/unit/golden_helper_pods.py``; then read the diff."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from boresight.cluster.helper_pod import DOCUMENT_FILE, helper_pod
from builders_objects import UID, cases

FILE = Path(__file__).with_name("golden_helper_pods.yaml")
JOBS = (
    "prepare-by-settings",
    "training-pod-template",
    "training-on-cpu-in-a-folder",
    "training-ranks",
    "evaluation-with-secrets",
)
"""Golden cases of the operator's Jobs, which the pods are made from."""
RUN = {
    "apiVersion": "boresight.dev/v1alpha1",
    "kind": "AlignmentRun",
    "metadata": {"name": "first", "namespace": "team", "uid": UID},
}


def job(name: str) -> dict[str, Any]:
    """The operator's Job of a golden case."""
    return next(json.loads(json.dumps(body)) for resource, body in cases()[name].objects() if resource.kind == "Job")


def pods() -> dict[str, Any]:
    """By case."""
    found = {}
    for name in JOBS:
        reading = ["boresight", "artifacts", "ls", "--store", "s3://alignment/team"]
        found[name] = helper_pod(job(name), RUN, name="first-cli-0a1b2c3d", command=reading, document=None)
    report = ["boresight", "report", "--output", "-", "--object", DOCUMENT_FILE, "--store", "s3://alignment/team"]
    first = job(JOBS[0])
    found["report"] = helper_pod(
        first, RUN, name="first-cli-0a1b2c3d", command=report, document='{"kind":"AlignmentRun"}'
    )
    return found


class Plain(yaml.SafeDumper):
    """Without references, for people to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def text() -> str:
    """The file."""
    return yaml.dump(pods(), Dumper=Plain, sort_keys=False, width=120)


if __name__ == "__main__":
    FILE.write_text(text())
