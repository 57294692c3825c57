"""The part of a node, and of the scheduler, played by the test: pods run and end as it says, and deleted ones go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import urllib3
from boresight_api.execution import Prepare, Stage
from boresight_api.manifest import parse_manifest
from boresight_api.outcome import (
    ExitCode,
    FailureClass,
    Metric,
    Outcome,
    OutcomeStatus,
    PrepareReport,
    PublishedArtifact,
    StageFinding,
    StageState,
    SuiteResult,
    exit_code_of,
)
from boresight_api.pins import Pin
from boresight_api.plan import plan, sources
from boresight_operator.api import CONFIG_MAPS, JOBS, NODES, PODS
from boresight_operator.names import ATTEMPT_LABEL, RUN_UID_LABEL, STAGE_LABEL

from .client import ApiError, Client, Object, until
from .runs import resource_of, summary

DIGEST = "sha256:" + "d" * 64
NODE_NAMES = ("node-1", "node-2")


@dataclass
class Store:
    """What buckets would hold: finished artifacts and checkpoints."""

    artifacts: dict[str, str] = field(default_factory=dict)
    """URI -> digest of its manifest."""
    checkpoints: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Key -> (step, attempt)."""

    def finding(self, storage: str, name: str, key: str) -> StageFinding:
        """What ``prepare`` says about a stage."""
        if digest := self.artifacts.get(artifact_uri(storage, key)):
            return StageFinding(name=name, state=StageState.PRESENT, digest=digest)
        if key in self.checkpoints:
            step, attempt = self.checkpoints[key]
            return StageFinding(name=name, state=StageState.CHECKPOINT, step=step, attempt=attempt)
        return StageFinding(name=name, state=StageState.MISSING)


def artifact_uri(storage: str, key: str) -> str:
    """Where an artifact lies."""
    return f"{storage}/artifacts/{key}"


@dataclass(frozen=True)
class End:
    """How a container ends."""

    exit_code: int
    message: str = ""
    """Its termination message; Kubernetes keeps 4,096 bytes."""
    reason: str = ""
    """The kubelet's own: OOMKilled, ...; default from the exit code."""

    @property
    def phase(self) -> str:
        """Of a pod whose only container ended so."""
        return "Failed" if self.exit_code else "Succeeded"


def failure(
    stage: str, failure_class: FailureClass, message: str, *, key: str | None = None, step: int | None = None
) -> End:
    """As the trainer ends an attempt that failed."""
    outcome = Outcome(
        status=OutcomeStatus.FAILED, stage=stage, key=key, failure_class=failure_class, message=message, step=step
    )
    return End(exit_code_of(failure_class), outcome.to_bytes().decode())


SIGTERM_BEFORE_A_CHECKPOINT = End(143)


class Kubelet:
    """Nodes for the whole cluster: binds pods, runs them and ends them on demand; deletions finish by themselves."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.store = Store()
        self.on_stop: Callable[[Object], End] = lambda pod: SIGTERM_BEFORE_A_CHECKPOINT
        """How a pod ends that is deleted while it runs."""
        self.stuck: set[str] = set()
        """UIDs of pods whose deletion does not finish: their node is lost."""
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        """The nodes' clocks, which may be wrong."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._finish_deletions, name="kubelet", daemon=True)

    def __enter__(self) -> Self:
        for name in NODE_NAMES:
            self.client.apply(NODES, None, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)

    # -- finding -------------------------------------------------------------------------------------------------

    def pods(self, run: Object, stage: str | None = None) -> list[Object]:
        """Pods of a run, newest last."""
        labels = f"{RUN_UID_LABEL}={run['metadata']['uid']}" + (f",{STAGE_LABEL}={stage}" if stage else "")
        found = self.client.list(PODS, run["metadata"]["namespace"], labels=labels)
        return sorted(found, key=lambda pod: (int(pod["metadata"]["labels"][ATTEMPT_LABEL]), pod["metadata"]["name"]))

    def await_pods(
        self, run: Object, stage: str, *, count: int = 1, attempt: int | None = None, seconds: float = 30
    ) -> list[Object]:
        """Pods of a stage that have not ended, once there are ``count``."""

        def look() -> list[Object] | None:
            live = [
                pod
                for pod in self.pods(run, stage)
                if pod.get("status", {}).get("phase", "Pending") in {"Pending", "Running"}
                and not pod["metadata"].get("deletionTimestamp")
                and (attempt is None or pod["metadata"]["labels"][ATTEMPT_LABEL] == str(attempt))
            ]
            return live if len(live) >= count else None

        what = f"{count} pod(s) of {run['metadata']['name']} {stage}" + (f" attempt {attempt}" if attempt else "")
        try:
            return until(look, what, seconds=seconds)
        except AssertionError as error:
            now = self.client.get(resource_of(run), run["metadata"]["namespace"], run["metadata"]["name"])
            raise AssertionError(f"{error}; found\n  {summary(now)}") from None

    def document(self, pod: Object) -> Prepare | Stage:
        """``prepare.json`` or ``stage.json`` as the pod's process would read it."""
        for volume in pod["spec"]["volumes"]:
            if "configMap" not in volume:
                continue
            config = self.client.get(CONFIG_MAPS, pod["metadata"]["namespace"], volume["configMap"]["name"])
            for name, model in (("prepare.json", Prepare), ("stage.json", Stage)):
                if text := config.get("data", {}).get(name):
                    return model.model_validate_json(text)
        raise AssertionError(f"pod {pod['metadata']['name']} mounts neither prepare.json nor stage.json")

    # -- playing -------------------------------------------------------------------------------------------------

    def run(self, pod: Object, *, node: str = NODE_NAMES[0], ip: str = "127.0.0.1") -> Object:
        """Bind it and let its container run."""
        self.bind(pod, node)
        now = self._now()
        return self.status(
            pod,
            phase="Running",
            podIP=ip,
            podIPs=[{"ip": ip}],
            startTime=now,
            conditions=[{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
            containerStatuses=[_container(pod, ready=True, state={"running": {"startedAt": now}})],
        )

    def bind(self, pod: Object, node: str) -> None:
        """As the scheduler does."""
        if pod["spec"].get("nodeName"):
            return
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]}}
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        path = PODS.path(pod["metadata"]["namespace"], pod["metadata"]["name"], "binding")
        try:
            self.client.call("POST", path, {**binding, "target": target})
        except ApiError as error:
            if error.code != 409:  # bound already, by an earlier step of the test
                raise

    def end(self, pod: Object, end: End, **status: Any) -> Object:
        """End its container. ``status`` adds to the pod's, such as a DisruptionTarget condition."""
        self.bind(pod, NODE_NAMES[0])
        now = self._now()
        terminated = {
            "exitCode": int(end.exit_code),
            "reason": end.reason or ("Error" if end.exit_code else "Completed"),
            "message": end.message.encode()[:4096].decode(errors="ignore"),
            "startedAt": now,
            "finishedAt": now,
        }
        containers = [_container(pod, ready=False, state={"terminated": terminated})]
        return self.status(pod, phase=end.phase, containerStatuses=containers, **status)

    def unschedulable(self, pod: Object, message: str) -> Object:
        """As the scheduler says that there is no room."""
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        return self.status(pod, conditions=[condition])

    def waiting(self, pod: Object, reason: str, message: str) -> Object:
        """Bound, but its container cannot start."""
        self.bind(pod, NODE_NAMES[0])
        containers = [_container(pod, ready=False, state={"waiting": {"reason": reason, "message": message}})]
        return self.status(pod, phase="Pending", containerStatuses=containers)

    def disrupt(self, pod: Object, message: str, end: End = SIGTERM_BEFORE_A_CHECKPOINT) -> Object:
        """Evicted or preempted: it ends with a DisruptionTarget condition."""
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": message,
        }
        return self.end(pod, end, conditions=[condition])

    def status(self, pod: Object, **status: Any) -> Object:
        """Merge into the pod's status."""
        meta = pod["metadata"]
        return self.client.merge(PODS, meta["namespace"], meta["name"], {"status": status}, "status")

    def _now(self) -> str:
        return self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")

    # -- what a stage's process does -----------------------------------------------------------------------------

    def succeed(self, pod: Object) -> Object:
        """Do what its document says, at once and well."""
        return self.end(pod, End(ExitCode.DONE, self.outcome(pod).to_bytes().decode()))

    def outcome(self, pod: Object) -> Outcome:
        """The outcome of a stage that went well. Publishes its artifact."""
        document = self.document(pod)
        if isinstance(document, Prepare):
            report = prepare_report(
                document.manifest, document.execution.storage, self.store, document.pins, document.recipe
            )
            return Outcome(status=OutcomeStatus.SUCCEEDED, stage="prepare", prepare=report)
        artifact = PublishedArtifact(uri=artifact_uri(document.execution.storage, document.key), digest=DIGEST)
        self.store.artifacts[artifact.uri] = DIGEST
        results: tuple[SuiteResult, ...] = ()
        if document.name == "evaluation":
            results = (SuiteResult(suite="Holdout", name="loss", candidate="policy", value="1.25"),)
        return Outcome(
            status=OutcomeStatus.SUCCEEDED,
            stage=document.name,
            key=document.key,
            artifact=artifact,
            metrics=(Metric(name="loss", value="1.25"),),
            results=results,
        )

    def play(self, run: Object, stage: str, *, count: int = 1) -> list[Object]:
        """Wait for the stage's pods, run them, and let them succeed."""
        pods = [self.run(pod) for pod in self.await_pods(run, stage, count=count)]
        for pod in pods:
            self.succeed(pod)
        return pods

    # -- deletions -----------------------------------------------------------------------------------------------

    def _finish_deletions(self) -> None:
        while not self._over.wait(0.1):
            with suppress(ApiError, urllib3.exceptions.HTTPError, OSError):
                self._finish(self.client.list(PODS))

    def _finish(self, pods: Iterable[Object]) -> None:
        for pod in pods:
            meta = pod["metadata"]
            if not meta.get("deletionTimestamp") or meta["uid"] in self.stuck:
                continue
            if pod["status"].get("phase") not in {"Succeeded", "Failed"}:
                self.end(pod, self.on_stop(pod))
            if meta.get("deletionGracePeriodSeconds") != 0:
                self.client.delete(PODS, meta["namespace"], meta["name"], gracePeriodSeconds=0)


def prepare_report(
    manifest: Object, storage: str, store: Store, held: Iterable[Pin] = (), recipe: str | None = None
) -> PrepareReport:
    """What ``prepare`` reports of a manifest whose sources are all there."""
    run = parse_manifest(manifest)
    known = {pin.id: pin for pin in held}
    pins = {source.id: known.get(source.id) or _pin(source.id, source.uri) for source in sources(run)}
    made = plan(run, pins, recipe=recipe)
    return PrepareReport(
        plan=made.digest,
        pins=tuple(pins[source.id] for source in made.sources),
        stages=tuple(store.finding(storage, stage.name, stage.key or "") for stage in made.stages),
    )


def _pin(identity: str, uri: str) -> Pin:
    if uri.startswith("artifact://tags/"):
        return Pin(id=identity, key=(identity * 4)[:64])
    return Pin(id=identity, digest="sha256:" + identity * 4, revision="c" * 40, rows=100, licence="apache-2.0")


def _container(pod: Object, *, ready: bool, state: Object) -> Object:
    container = pod["spec"]["containers"][0]
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
    }


def jobs(client: Client, run: Object) -> list[Object]:
    """Jobs of a run, oldest attempt first."""
    found = client.list(JOBS, run["metadata"]["namespace"], labels=f"{RUN_UID_LABEL}={run['metadata']['uid']}")
    return sorted(
        found, key=lambda job: (job["metadata"]["creationTimestamp"], int(job["metadata"]["labels"][ATTEMPT_LABEL]))
    )
