"""``stage.json`` and ``prepare.json``: what an attempt's process is told."""

from __future__ import annotations

from boresight_api import spec
from boresight_api.execution import Execution, Prepare, ReadStore, RunReference, Stage, StagePart

from .. import names
from ..views import Observation, Part
from .volumes import STORES
from .work import Work

STAGE_FILE = "stage.json"
PREPARE_FILE = "prepare.json"


def document(work: Work, observation: Observation) -> tuple[str, str]:
    """File name and JSON text."""
    if work.stage is None:
        return PREPARE_FILE, _prepare(work, observation).model_dump_json(by_alias=True, exclude_none=True)
    return STAGE_FILE, _stage(work).model_dump_json(by_alias=True, exclude_none=True)


def _stage(work: Work) -> Stage:
    assert work.stage is not None
    assert work.start.key is not None
    return Stage(
        run=_reference(work),
        name=work.stage.name,
        recipe_version=work.stage.recipe_version,
        key=work.start.key,
        config=work.stage.config,
        execution=_execution(work),
    )


def _prepare(work: Work, observation: Observation) -> Prepare:
    """The manifest as the API server has it, with the pins that hold: those of sources that the plan still reads."""
    read = {source.id for source in observation.plan.sources} if observation.plan is not None else set()
    return Prepare(
        run=_reference(work),
        manifest=dict(work.run.document),
        pins=tuple(pin for identity, pin in observation.pins.items() if identity in read),
        recipe=observation.plan.recipe if observation.plan is not None else observation.run.status.recipe,
        execution=_execution(work),
    )


def _reference(work: Work) -> RunReference:
    run = work.run
    return RunReference(kind=run.kind, namespace=run.namespace, name=run.name, uid=run.uid)


def _execution(work: Work) -> Execution:
    sharded = work.stage is not None and (work.independent or work.start.part is Part.MERGE)
    checkpoint = work.stage.checkpoint if work.stage is not None else None
    return Execution.model_validate(
        {
            "storage": work.storage.uri,
            "read_from": [_read_store(number, store) for number, store in enumerate(work.storage.read_from)],
            "attempt": work.start.attempt,
            "token_budget": work.compute.token_budget or "Auto",
            "token_budget_halvings": work.start.halvings,
            "grace_period_seconds": work.settings.grace_period_seconds,
            "progress_port": names.PROGRESS_PORT if work.stage is not None else None,
            "cluster": work.settings.cluster_name,
            **(
                {"checkpoint_every_seconds": checkpoint.every_seconds}
                if checkpoint and checkpoint.every_seconds
                else {}
            ),
            **({"checkpoints_keep": checkpoint.keep} if checkpoint and checkpoint.keep else {}),
            **({"shards": work.stage_nodes, "part": _PARTS[work.start.part]} if sharded else {}),
        }
    )


def _read_store(number: int, store: spec.ReadStore) -> ReadStore:
    credentials = f"{STORES}/{number}" if store.secret_name else None
    return ReadStore(uri=store.uri, endpoint=store.endpoint, credentials=credentials)


_PARTS = {Part.WORK: StagePart.SHARD, Part.MERGE: StagePart.MERGE}
