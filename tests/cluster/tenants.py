"""A namespace whose runs run in real pods, and what a test does to these."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import urllib3
from apiserver.client import NAMESPACES, SERVICE_ACCOUNTS, Object, until
from apiserver.runs import condition_of, summary
from apiserver.tenant import Tenant
from boresight_api.resolve import merged
from boresight_operator.api import CONFIG_MAPS, EVENTS, PODS, Resource
from boresight_operator.names import ATTEMPT_LABEL, PROGRESS_PORT, RUN_UID_LABEL, STAGE_LABEL
from cluster.cluster import MANIFESTS
from cluster.python_images import REPOSITORY
from cluster.stack import BUCKET, DATA, ENDPOINT, Stack

CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
ROWS = 60
PATIENCE = 240
"""Seconds that a stage may take: its pod imports torch, on a machine that may do other things too."""
TINY: Mapping[str, Any] = {
    "task": "TextToText",
    "model": {"uri": "embedded://tiny"},
    "data": {
        "feedback": [
            {
                "uri": f"file://{DATA}/feedback.jsonl",
                "format": "Jsonl",
                "columns": {"prompt": "prompt", "response": "response", "critique": "critique"},
            }
        ]
    },
    "feedbackModel": {"training": {"epochs": 6, "globalBatch": 4, "maxLength": 1024}},
    "synthesis": {
        "sampling": {"maxTokens": 12},
        "critiqueSampling": {"maxTokens": 12},
        "refinementSampling": {"maxTokens": 12},
        # Random weights write no critiques.
        "filters": {"unparsable": "Keep", "keepIt": "Keep", "truncated": "Keep", "leaked": "Keep"},
    },
    "policy": {"training": {"epochs": 8, "globalBatch": 4}},
    "evaluation": {"sampling": {"maxTokens": 12}},
}
"""A whole run of a model with random weights, whose stages take seconds."""
LONG: Mapping[str, Any] = {"training": {"epochs": 15, "globalBatch": 4}}
"""A policy that trains long enough for something to happen to it."""


@dataclass
class RealTenant(Tenant):
    """A restricted namespace with a Secret, a part of the bucket and some data."""

    stack: Stack
    environment: Mapping[str, str]
    """With which a client of its own reads its part of the bucket from here."""

    @classmethod
    def make(cls, stack: Stack, what: str) -> Self:
        """A new one; its name begins with what it is for."""
        namespace = f"{what}-{uuid.uuid4().hex[:5]}"
        access_key, secret_key = stack.new_key(namespace)
        stack.cluster.apply(
            MANIFESTS / "tenant.yaml",
            namespace=namespace,
            access_key=access_key,
            secret_key=secret_key,
            environment=str(REPOSITORY),
        )
        rows = ({"prompt": f"Name {i + 2} rivers.", "response": "The Nile.", "critique": "One."} for i in range(ROWS))
        data = {"feedback.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}
        client = stack.cluster.client
        client.create(CONFIG_MAPS, namespace, {"metadata": {"name": "data"}, "data": data})
        claim, account = CLAIMS.path(namespace, "trainer"), SERVICE_ACCOUNTS.path(namespace)
        until(lambda: client.call("GET", claim)["status"]["phase"] == "Bound", "the volume of the trainer")
        until(lambda: client.call("GET", account)["items"], "a ServiceAccount")
        environment = {
            "AWS_ENDPOINT_URL_S3": stack.minio_url,
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "BORESIGHT_STORE": f"s3://{BUCKET}/{namespace}",
        }
        return cls(client, namespace, stack, environment)

    def remove(self) -> None:
        """The namespace and all in it, some time after this returns; what is in the bucket stays."""
        self.client.delete(NAMESPACES, None, self.namespace)
        self.client.delete(VOLUMES, None, f"{self.namespace}-trainer")

    def explanation(self) -> str:
        """What the namespace's pods and its last events say."""
        pods = [f"{pod['metadata']['name']}: {_state(pod)}" for pod in self.client.list(PODS, self.namespace)]
        events = sorted(self.client.list(EVENTS, self.namespace), key=lambda event: event["lastTimestamp"] or "")
        told = [f"{event['reason']}: {event['message'][:200]}" for event in events[-8:]]
        return "\n  ".join(["pods:", *pods]) + "\n  ".join(["\nevents:", *told])

    # -- runs --------------------------------------------------------------------------------------------------------

    def start_run(self, name: str, **spec: Any) -> Object:
        """Create a run of the tiny model, with ``spec`` merged over it."""
        own = {
            "storage": {
                "uri": f"s3://{BUCKET}/{self.namespace}",
                "endpoint": ENDPOINT,
                "secretName": "boresight-storage",
            },
        }
        return self.alignment(name, **merged(merged(dict(TINY), own), spec))

    def await_success(self, run: Object, *, stages: int = 5) -> Object:
        """Its end, which is a good one. Raises AssertionError as soon as it is another."""

        def look(run: Object) -> bool:
            succeeded = condition_of(run, "Succeeded")
            assert succeeded.get("status") != "False", f"{summary(run)}\n{self.explanation()}"
            return succeeded.get("status") == "True"

        return self.await_run(run, look, "Succeeded", seconds=PATIENCE * stages)

    # -- pods --------------------------------------------------------------------------------------------------------

    def pods(self, run: Object, stage: str | None = None, *, attempt: int | None = None) -> list[Object]:
        """Pods of a run, the oldest first."""
        wanted = {RUN_UID_LABEL: run["metadata"]["uid"], STAGE_LABEL: stage, ATTEMPT_LABEL: attempt}
        labels = ",".join(f"{label}={value}" for label, value in wanted.items() if value is not None)
        found = self.client.list(PODS, self.namespace, labels=labels)
        return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def await_pod(self, run: Object, stage: str, *, attempt: int | None = None) -> Object:
        """A pod of the stage, once it runs."""

        def running() -> Object | None:
            found = self.pods(run, stage, attempt=attempt)
            return next((pod for pod in found if pod["status"]["phase"] == "Running"), None)

        try:
            return until(running, f"a pod of {stage} runs", seconds=PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}; found\n  {summary(self.now(run))}\n{self.explanation()}") from None

    def log(self, pod: Object) -> str:
        """What its container has said."""
        text: str = self.client.call("GET", PODS.path(self.namespace, pod["metadata"]["name"], "log"))
        return text

    def await_step(self, run: Object, stage: str, step: int = 1) -> Object:
        """The stage's pod, once it has done optimizer steps, as it tells by itself: the status follows later."""
        pod = self.await_pod(run, stage)
        url = f"http://{pod['status']['podIP']}:{PROGRESS_PORT}/progress"

        def stepped() -> bool:
            try:
                answer = urllib3.request("GET", url, retries=False, timeout=2)
            except urllib3.exceptions.HTTPError:
                return False
            progress = json.loads(answer.data) if answer.status == 200 else {}
            return progress.get("phase") == "train" and progress["step"] >= step

        try:
            until(stepped, f"{stage} has done {step} steps", seconds=PATIENCE, every=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}; found\n  {summary(self.now(run))}\n{self.explanation()}") from None
        return pod

    def seconds_to_first_step(self, run: Object, stage: str) -> float:
        """From the start of the stage's container to its first optimizer step; looking costs up to 0.2 s."""
        pod = self.await_step(run, stage)
        (container,) = pod["status"]["containerStatuses"]
        started = datetime.fromisoformat(container["state"]["running"]["startedAt"])
        return (datetime.now(UTC) - started).total_seconds()

    # -- the store ---------------------------------------------------------------------------------------------------

    def boresight(self, *arguments: str) -> str:
        """What the command prints, run on this machine with the tenant's key. Raises AssertionError."""
        done = subprocess.run(
            [sys.executable, "-m", "boresight.main", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"boresight {' '.join(arguments)}: {done.stderr}"
        return done.stdout


def _state(pod: Object) -> str:
    """Its phase, and what its container says."""
    states = [status["state"] for status in pod["status"].get("containerStatuses", [])]
    return f"{pod['status'].get('phase')} {json.dumps(states)[:400]}"


def stage_times(pod: Object) -> float:
    """Seconds that the container of a pod that has ended has run."""
    (status,) = pod["status"]["containerStatuses"]
    ended = status["state"]["terminated"]
    return (datetime.fromisoformat(ended["finishedAt"]) - datetime.fromisoformat(ended["startedAt"])).total_seconds()
