"""The documents that processes on this machine get: ``stage.json`` and ``prepare.json``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from boresight_api.execution import Execution, Prepare, RunReference, Stage
from boresight_api.pins import Pin
from boresight_api.plan import PlannedStage

from ..manifests import Manifest
from .attempt import AttemptFolder

GRACE_SECONDS = 120
"""From SIGTERM to SIGKILL. On a CPU a generation batch takes a minute; a checkpoint waits for it."""


def run_uid(path: Path) -> str:
    """A run's identity on this machine: that of its manifest's place."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]


def run_reference(manifest: Manifest) -> RunReference:
    """Whose stage it is."""
    return RunReference(
        kind=manifest.run.kind, namespace=manifest.namespace, name=manifest.name, uid=run_uid(manifest.path)
    )


def stage_document(
    manifest: Manifest, stage: PlannedStage, store: str, folder: AttemptFolder, *, attempt: int, halvings: int
) -> dict[str, Any]:
    """``stage.json`` for one attempt. ``halvings``: of the token budget, after running out of memory."""
    assert stage.key is not None
    document = Stage(
        run=run_reference(manifest),
        name=stage.name,
        recipe_version=stage.recipe_version,
        key=stage.key,
        config=stage.config,
        execution=_execution(stage, store, folder, attempt=attempt, halvings=halvings),
    )
    return document.model_dump(mode="json", by_alias=True, exclude_none=True)


def prepare_document(
    manifest: Manifest, pins: tuple[Pin, ...], store: str, folder: AttemptFolder, *, recipe: str
) -> dict[str, Any]:
    """``prepare.json``. ``recipe``: of the run's first plan."""
    document = Prepare(
        run=run_reference(manifest),
        manifest=dict(manifest.document),
        pins=pins,
        recipe=recipe,
        execution=_execution(None, store, folder, attempt=1, halvings=0),
    )
    return document.model_dump(mode="json", by_alias=True, exclude_none=True)


def _execution(
    stage: PlannedStage | None, store: str, folder: AttemptFolder, *, attempt: int, halvings: int
) -> Execution:
    values: dict[str, Any] = {}
    if stage is not None:
        asked = {
            "token_budget": stage.compute.token_budget,
            "checkpoint_every_seconds": stage.checkpoint.every_seconds,
            "checkpoints_keep": stage.checkpoint.keep,
        }
        values = {name: value for name, value in asked.items() if value is not None}
    return Execution(
        storage=store,
        attempt=attempt,
        token_budget_halvings=halvings,
        grace_period_seconds=GRACE_SECONDS,
        progress_file=str(folder.progress),
        outcome_file=str(folder.outcome),
        **values,
    )
