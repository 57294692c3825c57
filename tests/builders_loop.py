"""A tiny API server and the other hands in a cluster, for tests of the loop. One namespace, no faults of its own.

It keeps objects, counts requests and shows every change to the operators at once. Who plays the Job controller and the
kubelet is the test: :meth:`Cluster.pod`, :meth:`Cluster.end`.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
from collections.abc import Callable, Mapping
from email.utils import formatdate
from random import Random
from typing import Any

from boresight_api.manifest import parse_manifest
from boresight_api.outcome import (
    Outcome,
    OutcomeStatus,
    PrepareReport,
    PublishedArtifact,
    StageFinding,
    StageState,
)
from boresight_api.pins import Pin
from boresight_api.plan import plan, sources
from boresight_operator.api import JOBS, PODS, WATCHED, Answer, Resource
from boresight_operator.operator import Operator
from boresight_operator.plain import rfc3339
from boresight_operator.settings import NamespaceSettings, Settings

Document = dict[str, Any]
EPOCH = 1_800_000_000.0
"""Server time when the loop's clock is at zero."""
NAMESPACE = "team"
STORE = "s3://store/team"
DIGEST = "sha256:" + "ab" * 32


def settings(**changes: Any) -> Settings:
    """Of an operator that is alone, with a store for every namespace."""
    defaults = changes.pop("defaults", NamespaceSettings(storage={"uri": STORE}))
    return Settings(defaults=defaults, leader_election=False, identity="me", pod_name="me", workers=4, **changes)


class Cluster:
    """Objects by (plural, name), and requests that were made."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Document] = {}
        self.requests: list[tuple[str, str]] = []
        """Method and path."""
        self.listeners: list[Operator] = []
        self.intercept: Callable[[str, str], Answer | OSError | None] = lambda method, path: None
        """Looked at before each request: what it gives is the answer."""
        self._numbers = itertools.count(1)

    # -- what a client sees ------------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_seconds: float,
    ) -> Answer:
        """The operator's transport."""
        await asyncio.sleep(0.001)
        self.requests.append((method, path))
        made = self.intercept(method, path)
        if isinstance(made, OSError):
            raise made
        return made or self._serve(method, path, query, json.loads(body) if body else {})

    def _serve(self, method: str, path: str, query: Mapping[str, str], body: Document) -> Answer:
        parts = path.strip("/").split("/")
        parts = parts[3:] if parts[0] == "apis" else parts[2:]
        namespace = parts.pop(1) if parts[0] == "namespaces" and len(parts) > 1 else None
        if namespace is not None:
            parts.pop(0)
        plural, name = parts[0], parts[1] if len(parts) > 1 else None
        if method == "GET" and name is None:
            return self._list(plural, query)
        if method == "POST":
            return self._create(plural, body)
        assert name is not None
        found = self.objects.get((plural, name))
        if method == "PATCH" and "status" not in parts:
            return answer(200, self.put(plural, {**(found or {}), **body}))
        if found is None:
            return failure(404, "NotFound", f"{plural} {name} not found")
        if method == "GET":
            return answer(200, found)
        if method == "PATCH":
            return self._apply_status(plural, found, body, query["fieldManager"])
        if method == "PUT":
            return answer(200, self.put(plural, {**found, **body}))
        assert method == "DELETE"
        return self._delete(plural, found, body)

    def _list(self, plural: str, query: Mapping[str, str]) -> Answer:
        wanted = [part.partition("=") for part in query.get("labelSelector", "").split(",") if part]
        items = [item for (kind, _), item in self.objects.items() if kind == plural and _selected(item, wanted)]
        return answer(200, {"metadata": {"resourceVersion": str(self._version())}, "items": items})

    def _create(self, plural: str, body: Document) -> Answer:
        if (plural, body["metadata"]["name"]) in self.objects:
            return failure(409, "AlreadyExists", "it exists")
        return answer(201, self.put(plural, body))

    def _apply_status(self, plural: str, found: Document, body: Document, manager: str) -> Answer:
        version = body["metadata"].get("resourceVersion")
        if version is not None and version != found["metadata"]["resourceVersion"]:
            return failure(409, "Conflict", f"found {found['metadata']['resourceVersion']}, expected {version}")
        owned = {**found.get("applied", {}), manager: body["status"]}
        status: Document = {}
        for part in owned.values():
            for name, value in part.items():
                status[name] = [*status.get(name, []), *value] if isinstance(value, list) else value
        applied = {**found, "applied": owned, "status": status}
        return answer(200, copy.deepcopy(found) if applied == found else self.put(plural, applied))

    def _delete(self, plural: str, found: Document, body: Document) -> Answer:
        if body["preconditions"]["uid"] != found["metadata"]["uid"]:
            return failure(409, "Conflict", "another UID")
        self.remove(plural, found["metadata"]["name"])
        return answer(200, {})

    # -- what others do ----------------------------------------------------------------------------------------------

    def put(self, plural: str, obj: Mapping[str, Any]) -> Document:
        """Store an object, with what the API server sets, and tell the watchers."""
        stored = copy.deepcopy(dict(obj))
        metadata = stored["metadata"] = dict(stored["metadata"])
        before = self.objects.get((plural, metadata["name"]))
        metadata.setdefault("namespace", NAMESPACE)
        metadata.setdefault("uid", f"uid-{next(self._numbers):04d}")
        metadata.setdefault("creationTimestamp", rfc3339(self.now()))
        if before is None or before.get("spec") != stored.get("spec"):
            metadata["generation"] = metadata.get("generation", 0) + 1
        metadata["resourceVersion"] = str(self._version())
        self.objects[plural, metadata["name"]] = stored
        self._tell(plural, "ADDED" if before is None else "MODIFIED", stored)
        return copy.deepcopy(stored)

    def remove(self, plural: str, name: str) -> None:
        """Delete an object, and what it controls."""
        gone = self.objects.pop((plural, name))
        gone["metadata"]["resourceVersion"] = str(self._version())
        self._tell(plural, "DELETED", gone)
        for (kind, child), item in list(self.objects.items()):
            owners = item["metadata"].get("ownerReferences", ())
            if (kind, child) in self.objects and any(o["uid"] == gone["metadata"]["uid"] for o in owners):
                self.remove(kind, child)

    def all(self, plural: str) -> list[Document]:
        """Objects of a kind, oldest first."""
        return [item for (kind, _), item in self.objects.items() if kind == plural]

    def run(self, name: str = "first", plural: str = "alignmentruns") -> Document:
        """A run as it is stored."""
        return self.objects[plural, name]

    def pod(self, job: Document, phase: str = "Running", *, index: int = 0, **status: Any) -> Document:
        """Give a Job a pod, or move its pod on."""
        name = f"{job['metadata']['name']}-{index}"
        before = self.objects.get((PODS.plural, name), {})
        state = {"running": {"startedAt": rfc3339(self.now())}} if phase == "Running" else {}
        owner = {"kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"], "controller": True}
        metadata = before.get("metadata") or {
            "name": name,
            "labels": job["metadata"]["labels"],
            "annotations": {
                **job["metadata"]["annotations"],
                "batch.kubernetes.io/job-completion-index": str(index),
            },
            "ownerReferences": [owner],
        }
        containers = [{"name": "stage", "state": state}]
        full = {"phase": phase, "podIP": "10.0.0.9", "containerStatuses": containers, **status}
        return self.put(PODS.plural, {"metadata": metadata, "spec": {"nodeName": "node-1"}, "status": full})

    def end(self, job: Document, outcome: Outcome | None, exit_code: int = 0) -> None:
        """The Job's pod ends with an outcome, and the Job with it."""
        terminated = {
            "exitCode": exit_code,
            "reason": "Error" if exit_code else "Completed",
            "message": outcome.to_bytes().decode() if outcome is not None else "",
            "startedAt": rfc3339(self.now() - 60),
            "finishedAt": rfc3339(self.now()),
        }
        containers = [{"name": "stage", "state": {"terminated": terminated}}]
        self.pod(job, "Failed" if exit_code else "Succeeded", containerStatuses=containers)
        kind = "Failed" if exit_code else "Complete"
        condition = {"type": kind, "status": "True", "reason": "x", "message": "", "lastTransitionTime": "x"}
        self.put(JOBS.plural, {**job, "status": {"conditions": [condition]}})

    def now(self) -> float:
        """By this server's clock."""
        try:
            return EPOCH + asyncio.get_running_loop().time()
        except RuntimeError:  # what a test puts there before any loop runs was there at its beginning
            return EPOCH

    def _version(self) -> int:
        return next(self._numbers)

    def _tell(self, plural: str, change: str, obj: Document) -> None:
        resource = next((resource for resource in WATCHED if resource.plural == plural), None)
        for operator in self.listeners if resource is not None else ():
            operator.on_event(resource, change, copy.deepcopy(obj))


def _selected(item: Document, wanted: list[tuple[str, str, str]]) -> bool:
    labels = item["metadata"].get("labels", {})
    return all(
        name[1:] not in labels if name.startswith("!") else (labels.get(name) == value if sign else name in labels)
        for name, sign, value in wanted
    )


def answer(code: int, document: Document) -> Answer:
    """With the server's clock in its header."""
    date = formatdate(EPOCH + asyncio.get_running_loop().time(), usegmt=True)
    return Answer(code, {"date": date}, json.dumps(document).encode())


def failure(code: int, reason: str, message: str) -> Answer:
    """As the API server says no."""
    return answer(code, {"kind": "Status", "reason": reason, "message": message})


def outcome_of(cluster: Cluster, job: Document, run: Document) -> Outcome:
    """What the stage of ``job`` says when all went well."""
    labels, annotations = job["metadata"]["labels"], job["metadata"]["annotations"]
    stage, key = labels["boresight.dev/stage"], annotations.get("boresight.dev/key")
    if key is not None:
        artifact = PublishedArtifact(uri=f"{STORE}/artifacts/{key}", digest=DIGEST)
        return Outcome(status=OutcomeStatus.SUCCEEDED, stage=stage, key=key, artifact=artifact)
    return Outcome(status=OutcomeStatus.SUCCEEDED, stage=stage, prepare=report_of(run))


def report_of(run: Document) -> PrepareReport:
    """All sources pinned, nothing in the store."""
    manifest = {name: run[name] for name in ("apiVersion", "kind", "metadata", "spec")}
    parsed = parse_manifest(manifest)
    pins = {source.id: Pin(id=source.id, digest=DIGEST) for source in sources(parsed)}
    planned = plan(parsed, pins)
    assert planned.digest is not None
    findings = tuple(StageFinding(name=stage.name, state=StageState.MISSING) for stage in planned.stages)
    return PrepareReport(plan=planned.digest, pins=tuple(pins.values()), stages=findings)


class Running:
    """An operator at work in a cluster: ``async with Running(cluster) as operator``."""

    def __init__(self, cluster: Cluster, configured: Settings | None = None, **more: Any) -> None:
        self._cluster = cluster
        self.operator = Operator(
            configured or settings(), cluster, wall=lambda: cluster.now(), random=Random(1), **more
        )

    async def __aenter__(self) -> Operator:
        self._cluster.listeners.append(self.operator)
        self._task = asyncio.create_task(self.operator.run())
        return self.operator

    async def __aexit__(self, *_: object) -> None:
        self.operator.stop()
        self._cluster.listeners.remove(self.operator)
        await self._task


def jobs_by_stage(cluster: Cluster) -> dict[str, Document]:
    """The newest Job of each stage."""
    return {job["metadata"]["labels"]["boresight.dev/stage"]: job for job in cluster.all(JOBS.plural)}


def resource_of(plural: str) -> Resource:
    """Of what is watched."""
    return next(resource for resource in WATCHED if resource.plural == plural)
