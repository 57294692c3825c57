"""One stage in, one artifact out: find finished work, check the inputs, run the recipe, publish, tell the outcome."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from boresight_api.artifact import ArtifactKind, ArtifactManifest, Parent, SourceRecord
from boresight_api.base import semantic_form
from boresight_api.execution import Stage, StagePart
from boresight_api.outcome import (
    MAX_OUTCOME_RESULTS,
    FailureClass,
    Metric,
    Outcome,
    OutcomeStatus,
    PublishedArtifact,
    StageFailure,
    SuiteResult,
    message_text,
)
from boresight_api.stages import inputs_of, stage_key

from .store.base import Artifacts, Store, describe_files
from .store.inputs import Inputs
from .store.references import renew_refs
from .telemetry.progress import METRICS_NAME, Progress
from .telemetry.stop import StopFlag

log = logging.getLogger(__name__)

RECIPES = {
    "sft": "boresight_trainer.recipes.sft",
    "synthesize": "boresight_trainer.recipes.synthesize",
    "dpo": "boresight_trainer.recipes.dpo",
    "evaluate": "boresight_trainer.recipes.evaluate",
}
"""Recipe -> module with ``run(context, config) -> StageResult``; imported late, because torch takes seconds."""
SHARED = frozenset({"synthesize", "evaluate"})
"""Recipes whose work several processes can share."""


@dataclass(frozen=True)
class StageContext:
    """Everything a recipe may touch."""

    stage: Stage
    store: Store
    inputs: Inputs
    output: Path
    """Private folder; what lies here when the recipe returns becomes the artifact."""
    progress: Progress
    stop: StopFlag
    checkpoint_folder: Path
    """This attempt's own; nothing else writes here."""
    previous_checkpoints: tuple[Path, ...] = ()
    """Folders of earlier attempts at the same key, newest first; read only."""
    shard: int = 0
    """Of a stage that several processes share: which of them this is, from 0."""


@dataclass(frozen=True)
class StageResult:
    """What a recipe reports beside the files it wrote."""

    kind: ArtifactKind
    metrics: dict[str, Any] = field(default_factory=dict)
    """Everything a report needs, as JSON."""
    headline: tuple[Metric, ...] = ()
    """The numbers for the run's status."""
    sources: tuple[SourceRecord, ...] = ()


def run(stage: Stage, *, store: Store, inputs: Inputs, progress: Progress, stop: StopFlag, shard: int = 0) -> Outcome:
    """Do ``stage``, or adopt its artifact if somebody has published it already.

    A shard of it ends without an artifact: the merge publishes what all shards made. Raises :class:`StageFailure` for
    every end that the failure table knows.
    """
    _check_key(stage)
    _check_part(stage)
    if (finished := store.finished(stage.key)) is not None:
        log.info("artifact %s exists already; nothing to do", stage.key)
        return _outcome(stage, PublishedArtifact(uri=store.artifact_uri(stage.key), digest=finished.digest()), finished)
    if stage.execution.part is not StagePart.SHARD:
        renew_refs(store, cluster=stage.execution.cluster, namespace=stage.run.namespace, run=stage.run.uid)
    started = time.monotonic()
    parents = tuple(_parents(stage, inputs.artifacts))
    run_name, number, shared = stage.run.uid[:8], stage.execution.attempt, stage.execution.part is StagePart.SHARD
    with (
        store.staging(stage.key) as output,
        store.attempt(stage.key, run_name, number, shared=shared) as attempt,
    ):
        progress.metrics_path = output / METRICS_NAME
        context = StageContext(
            stage=stage,
            store=store,
            inputs=inputs,
            output=output,
            progress=progress,
            stop=stop,
            checkpoint_folder=attempt.own,
            previous_checkpoints=attempt.previous,
            shard=shard,
        )
        recipe = import_module(RECIPES[stage.config.recipe])
        result: StageResult = recipe.run(context, stage.config)
        if shared:
            return Outcome(status=OutcomeStatus.SUCCEEDED, stage=stage.name, key=stage.key)
        manifest = ArtifactManifest(
            kind=result.kind,
            key=stage.key,
            stage=stage.name,
            recipe=f"{stage.config.recipe}/{stage.recipe_version}",
            config=semantic_form(stage.config),
            parents=parents,
            sources=result.sources,
            files=describe_files(output),
            metrics={**result.metrics, "headline": {m.name: m.value for m in result.headline}},
            environment=environment(),
            created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            wall_seconds=round(time.monotonic() - started),
        )
        published = store.publish(stage.key, output, manifest)
        attempt.discard()
    if published.adopted:
        log.info("another run published %s first; its artifact is adopted", stage.key)
    winner = store.manifest(stage.key)
    if winner is None:
        raise StageFailure(FailureClass.INFRASTRUCTURE, f"artifact {stage.key} vanished right after it was published")
    return _outcome(stage, published.artifact, winner)


def failed(stage_name: str, key: str | None, failure: StageFailure) -> Outcome:
    """The outcome that tells of ``failure``."""
    return Outcome(
        status=OutcomeStatus.FAILED,
        stage=stage_name,
        key=key,
        failure_class=failure.failure,
        message=message_text(failure.message),
        step=failure.step,
    )


def environment() -> dict[str, Any]:
    """What ran: versions, image, machine. No environment variables: they hold secrets."""
    versions = {name: metadata.version(name) for name in ("boresight", "torch", "transformers", "peft", "tokenizers")}
    return {
        "versions": versions,
        "python": platform.python_version(),
        "image": os.environ.get("BORESIGHT_IMAGE_DIGEST", ""),
        "machine": platform.machine(),
        "cpus": os.cpu_count() or 0,
    }


def _check_key(stage: Stage) -> None:
    computed = stage_key(stage.config, stage.recipe_version)
    if computed != stage.key:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f"stage.json: found key {stage.key}, but recipe and configuration give {computed}; the plan was made by "
            "another version of Boresight, or the file was edited: plan the run again",
        )


def _check_part(stage: Stage) -> None:
    part = stage.execution.part
    if part is not StagePart.WHOLE and stage.config.recipe not in SHARED:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f"execution.part: found {part} for the recipe {stage.config.recipe}, expected Whole: only "
            f"{' and '.join(sorted(SHARED))} are made of batches that several processes can share",
        )


def _parents(stage: Stage, artifacts: Artifacts) -> Iterator[Parent]:
    for role, value in inputs_of(stage.config):
        if value.key is None:
            continue
        digest = artifacts.digest(value.key)
        if digest is None:
            raise StageFailure(
                FailureClass.MISSING_INPUT,
                f"{role}: artifact {value.key} is not in {artifacts.uri}; run the stage that makes it again",
            )
        yield Parent(name=role, key=value.key, digest=digest)


def _outcome(stage: Stage, artifact: PublishedArtifact, manifest: ArtifactManifest) -> Outcome:
    headline = manifest.metrics.get("headline")
    numbers = headline if isinstance(headline, dict) else {}
    return Outcome(
        status=OutcomeStatus.SUCCEEDED,
        stage=stage.name,
        key=stage.key,
        artifact=artifact,
        metrics=tuple(Metric(name=name, value=str(value)) for name, value in numbers.items()),
        results=_status_results(manifest.metrics.get("results")),
    )


def _status_results(rows: object) -> tuple[SuiteResult, ...]:
    """The first lines of an evaluation that fit an outcome; an unfit suite is in the artifact only."""
    fit = [row for row in rows if row["value"] is not None and not row["unfit"]] if isinstance(rows, list) else []
    names = ("suite", "name", "candidate", "baseline", "value", "low", "high", "n")
    return tuple(
        SuiteResult.model_validate({name: row[name] for name in names if row[name] not in ("", None)})
        for row in fit[:MAX_OUTCOME_RESULTS]
    )
