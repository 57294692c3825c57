"""What runs inside the pods: the stages' contract (documents in, artifact and outcome out) without any model.

A :class:`Behaviour` says how one pod fares. The store is the world's: artifacts by key, checkpoints by key and attempt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from boresight_api.execution import Prepare, Stage, StagePart
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
    exit_code_of,
)
from boresight_api.pins import Pin
from boresight_api.plan import Plan, plan
from boresight_api.problems import ProblemsError
from boresight_api.stages import inputs_of

TOTAL_STEPS = 100
BATCHES = 12
"""Of a synthesis or an evaluation that several pods share."""


def digest_of(text: str) -> str:
    """A digest as the contract writes it."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@dataclass
class ArtifactStore:
    """One prefix of an object store. It outlives everything in the cluster."""

    artifacts: dict[tuple[str, str], str] = field(default_factory=dict)
    """(storage uri, key) -> digest of the manifest."""
    published: list[tuple[str, str, str]] = field(default_factory=list)
    """(storage uri, key, pod's UID) in order: every time that a manifest was really written."""
    worked: list[tuple[str, str, str]] = field(default_factory=list)
    """(storage uri, key, pod's UID): every pod that computed, whether or not it came to publish."""
    checkpoints: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    """(storage uri, key) -> ``<run UID 8>-<attempt>`` -> step of the newest complete checkpoint; 0: folder only."""
    batches: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """(storage uri, key) -> batches that shards have finished."""
    contents: dict[str, int] = field(default_factory=dict)
    """Source uri -> version of what lies there now."""
    reachable: bool = True

    def publish(self, storage: str, key: str, pod_uid: str) -> str:
        """Digest of the manifest at ``key``: the first writer's, whoever asks."""
        if (storage, key) not in self.artifacts:
            self.artifacts[storage, key] = digest_of(f"{storage} {key} {pod_uid}")
            self.published.append((storage, key, pod_uid))
        return self.artifacts[storage, key]

    def save(self, storage: str, key: str, folder: str, step: int) -> None:
        """A complete checkpoint of an attempt."""
        self.checkpoints.setdefault((storage, key), {})[folder] = step

    def newest_step(self, storage: str, key: str) -> int:
        """Where an attempt goes on; 0 if there is no checkpoint."""
        return max(self.checkpoints.get((storage, key), {}).values(), default=0)


@dataclass(frozen=True)
class Behaviour:
    """How a pod fares once it runs."""

    seconds: float = 60.0
    """From first step to last, without checkpoint."""
    fails: FailureClass | None = None
    """It ends so instead of publishing, ``at`` of the way."""
    at: float = 0.5
    exit_code: int | None = None
    """It ends with this code and says nothing: no outcome at all (killed, segmentation fault, ...)."""
    oom_killed: bool = False
    hangs: bool = False
    """Runs for ever, and ends only by SIGKILL."""
    rubbish: str | None = None
    """What it writes as termination message instead of an outcome."""
    claims_key: str | None = None
    """It says it made another key."""
    ignores_sigterm: bool = False
    term_seconds: float = 5.0
    """From SIGTERM to its end, with a checkpoint."""
    start_seconds: float = 5.0
    """From the node's choice to the running container."""
    waiting: str | None = None
    """The container never starts, for this reason (ImagePullBackOff, ...); ContainerCreating says nothing more."""
    lost_message: bool = False
    """Its termination message is gone with its container's status (node trouble after the end)."""


@dataclass(frozen=True)
class End:
    """How a container ended."""

    exit_code: int
    message: str
    reason: str


@dataclass
class Work:
    """What one container does, from its document."""

    store: ArtifactStore
    document: Stage | Prepare
    pod_uid: str
    index: int = 0
    """Completion index of the pod."""
    start_step: int = 0

    def begin(self) -> None:
        """What it looks at first."""
        document = self.document
        if isinstance(document, Prepare) or self.present():
            return
        storage = document.execution.storage
        self.start_step = self.store.newest_step(storage, document.key)
        if document.execution.part is not StagePart.MERGE and not self.missing_inputs():
            self.store.worked.append((storage, document.key, self.pod_uid))
            self.store.checkpoints.setdefault((storage, document.key), {}).setdefault(self.folder(), 0)

    def folder(self) -> str:
        """Of this attempt's checkpoints."""
        return f"{self.document.run.uid[:8]}-{self.document.execution.attempt}"

    def present(self) -> bool:
        """Whether the stage's artifact exists: it is adopted, and nothing is computed."""
        return (
            isinstance(self.document, Stage)
            and (self.document.execution.storage, self.document.key) in self.store.artifacts
        )

    def missing_inputs(self) -> list[str]:
        """Roles of inputs whose artifact is gone."""
        assert isinstance(self.document, Stage)
        storage = self.document.execution.storage
        return [
            role
            for role, value in inputs_of(self.document.config)
            if value.key is not None and (storage, value.key) not in self.store.artifacts
        ]

    def immediate(self) -> End | None:
        """The end that needs no work: adopted, or an input is missing."""
        if isinstance(self.document, Prepare):
            return None
        if self.present():
            return self.finish()
        if self.document.execution.part is StagePart.MERGE:
            have = self.store.batches.get((self.document.execution.storage, self.document.key), set())
            if len(have) < BATCHES:
                return self.failure(FailureClass.MISSING_INPUT, f"{BATCHES - len(have)} batches are missing", None)
        elif missing := self.missing_inputs():
            return self.failure(FailureClass.MISSING_INPUT, f"{missing[0]}: found no artifact, expected one", None)
        return None

    def checkpoint(self, fraction: float) -> int:
        """Save where it is after ``fraction`` of what was left. Returns the step."""
        step = int(self.start_step + fraction * (TOTAL_STEPS - self.start_step))
        if isinstance(self.document, Stage):
            self.store.save(self.document.execution.storage, self.document.key, self.folder(), step)
        return step

    def finish(self) -> End:
        """Done: publish (or report), and say so."""
        if isinstance(self.document, Prepare):
            return self._prepared(self.document)
        storage, key = self.document.execution.storage, self.document.key
        if self.document.execution.part is StagePart.SHARD:
            mine = range(self.index, BATCHES, self.document.execution.shards)
            self.store.batches.setdefault((storage, key), set()).update(mine)
            return End(ExitCode.DONE, "", "Completed")
        digest = self.store.publish(storage, key, self.pod_uid)
        outcome = Outcome(
            status=OutcomeStatus.SUCCEEDED,
            stage=self.document.name,
            key=key,
            artifact=PublishedArtifact(uri=f"{storage}/artifacts/{key}", digest=digest),
            metrics=(Metric(name="loss", value="0.5"),),
            step=TOTAL_STEPS,
        )
        return End(ExitCode.DONE, outcome.to_bytes().decode(), "Completed")

    def failure(self, failure: FailureClass, message: str, step: int | None) -> End:
        """An end that the failure table knows."""
        stage, key = (
            ("prepare", None) if isinstance(self.document, Prepare) else (self.document.name, self.document.key)
        )
        outcome = Outcome(
            status=OutcomeStatus.FAILED, stage=stage, key=key, failure_class=failure, message=message, step=step
        )
        return End(exit_code_of(failure), outcome.to_bytes().decode(), "Error")

    def _prepared(self, document: Prepare) -> End:
        if not self.store.reachable:
            return self.failure(FailureClass.INFRASTRUCTURE, "the store does not answer", None)
        try:
            report = prepared(self.store, document)
        except ProblemsError as error:
            return self.failure(FailureClass.INVALID_CONFIG, str(error)[:500], None)
        outcome = Outcome(status=OutcomeStatus.SUCCEEDED, stage="prepare", prepare=report)
        return End(ExitCode.DONE, outcome.to_bytes().decode(), "Completed")


def prepared(store: ArtifactStore, document: Prepare) -> PrepareReport:
    """What the trainer's ``prepare`` would report. Raises ProblemsError."""
    manifest = json.dumps(document.manifest, sort_keys=True)
    held = {pin.id: pin for pin in document.pins}
    wanted = planned(manifest, (), document.recipe).sources
    pins = tuple(
        held.get(source.id) or Pin(id=source.id, digest=source.digest or _content(store, source.uri), rows=100)
        for source in wanted
    )
    made = planned(manifest, pins, document.recipe)
    storage, run = document.execution.storage, document.run.uid
    assert made.digest is not None
    return PrepareReport(
        plan=made.digest,
        pins=pins,
        stages=tuple(_finding(store, storage, run, stage.name, str(stage.key)) for stage in made.stages),
    )


def _content(store: ArtifactStore, uri: str) -> str:
    return digest_of(f"{uri} {store.contents.get(uri, 0)}")


def _finding(store: ArtifactStore, storage: str, run: str, name: str, key: str) -> StageFinding:
    folders = store.checkpoints.get((storage, key), {})
    own = [int(folder.removeprefix(f"{run[:8]}-")) for folder in folders if folder.startswith(f"{run[:8]}-")]
    attempt = max(own, default=None)
    if (storage, key) in store.artifacts:
        digest = store.artifacts[storage, key]
        return StageFinding(name=name, state=StageState.PRESENT, digest=digest, attempt=attempt)
    step = store.newest_step(storage, key)
    if step:
        return StageFinding(name=name, state=StageState.CHECKPOINT, step=step, attempt=attempt)
    return StageFinding(name=name, state=StageState.MISSING, attempt=attempt)


@lru_cache(maxsize=4096)
def planned(manifest: str, pins: tuple[Pin, ...], recipe: str | None) -> Plan:
    """The plan of a manifest (JSON text), remembered: histories plan the same few runs again and again."""
    return plan(parse_manifest(json.loads(manifest)), {pin.id: pin for pin in pins}, recipe=recipe)


def document_of(config_maps: Sequence[Mapping[str, Any]]) -> Stage | Prepare | None:
    """The stage's document among the ConfigMaps that a pod mounts."""
    for config_map in config_maps:
        data = config_map.get("data", {})
        if "stage.json" in data:
            return Stage.model_validate_json(data["stage.json"])
        if "prepare.json" in data:
            return Prepare.model_validate_json(data["prepare.json"])
    return None
