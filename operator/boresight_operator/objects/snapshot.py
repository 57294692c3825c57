"""A plan with its pins in an immutable ConfigMap: an operator of another release, or with an empty status, has it.

What a release computes for an unchanged wish may change with the release (a new default, another recipe); a run that
is under way must not. So configurations and keys are saved as they were, beside a digest of the wish they came from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from boresight_api.base import (
    API_VERSION,
    Contract,
    FieldClass,
    Key,
    ShortText,
    StageName,
    canonical_json,
    field_class,
    operational,
    sha256_hex,
)
from boresight_api.kinds import Run
from boresight_api.pins import MAX_SOURCES, Pin
from boresight_api.plan import Plan, PlannedStage, plan
from boresight_api.sources import DataSource, JudgeSource, ModelSource
from boresight_api.stages import StageConfig
from boresight_api.training import CheckpointSpec

from .. import names
from ..api import CONFIG_MAPS, Object, Resource
from ..parsed import parsed
from ..views import Observation
from .config_map import checked
from .labels import owned

PLAN_FILE = "plan.json"


class SavedStage(Contract):
    """What of a planned stage decides its result."""

    name: StageName = operational()
    """The stage."""
    recipe_version: int = operational(ge=1)
    """Version of the recipe that the configuration names."""
    key: Key = operational()
    """Its key."""
    config: StageConfig = operational()
    """What to compute."""
    parents: tuple[StageName, ...] = operational((), max_length=8)
    """Names of the stages whose artifacts it reads."""
    unpinned: bool = operational(False)
    """Whether it asks an endpoint whose weights cannot be pinned."""


class Snapshot(Contract):
    """``plan.json``."""

    api_version: ShortText = operational(API_VERSION)
    """Version of this document."""
    kind: Literal["Plan"] = operational("Plan")
    """Always Plan."""
    plan_digest: Key = operational()
    """``Plan.digest`` of what is saved."""
    wish: Key = operational()
    """:func:`wish_of` the run that it was made from."""
    recipe: ShortText = operational()
    """Version of recipes and defaults."""
    pins: tuple[Pin, ...] = operational((), max_length=MAX_SOURCES)
    """What every source was."""
    stages: tuple[SavedStage, ...] = operational(min_length=1, max_length=8)
    """In the plan's order."""

    @property
    def pins_by_id(self) -> dict[str, Pin]:
        """As :func:`boresight_api.plan.plan` takes them."""
        return {pin.id: pin for pin in self.pins}

    def fits(self, run: Run) -> bool:
        """Whether ``run`` still asks for what this plan was made for; if not, an edit came after it."""
        return self.wish == wish_of(run)

    def plan(self, run: Run) -> Plan:
        """The saved configurations and keys, with the placement that ``run`` asks for now.

        Raises PlanError if this release cannot plan ``run`` at all.
        """
        present = plan(run, self.pins_by_id, recipe=self.recipe)
        by_name = {stage.name: stage for stage in present.stages}
        stages = tuple(_restored(saved, by_name.get(saved.name), present.stages[0]) for saved in self.stages)
        return replace(present, recipe=self.recipe, stages=stages)


def _restored(saved: SavedStage, present: PlannedStage | None, other: PlannedStage) -> PlannedStage:
    """A stage that this release would not plan any more keeps its work; it runs where the others do."""
    return PlannedStage(
        name=saved.name,
        recipe=saved.config.recipe,
        recipe_version=saved.recipe_version,
        config=saved.config,
        key=saved.key,
        parents=saved.parents,
        compute=(present or other).compute,
        checkpoint=present.checkpoint if present is not None else CheckpointSpec(),
        unpinned=saved.unpinned,
    )


def plan_config_map(observation: Observation, plan: Plan) -> tuple[Resource, Object]:
    """Raises ValueError for a plan without keys, TooLarge if no ConfigMap holds it (:func:`.allowed.forbidden`)."""
    run = observation.run
    if plan.digest is None:
        raise ValueError("found a stage without key, expected a plan whose sources are pinned")
    saved = Snapshot(
        plan_digest=plan.digest,
        wish=wish_of(parsed(run)),
        recipe=plan.recipe,
        pins=tuple(observation.pins[source.id] for source in plan.sources if source.id in observation.pins),
        stages=tuple(_saved(stage) for stage in plan.stages),
    )
    data = {PLAN_FILE: checked(saved.model_dump_json(by_alias=True, exclude_none=True))}
    name = names.plan_name(run.name, run.uid, plan.digest)
    annotations = {names.PLAN_ANNOTATION: plan.digest}
    return CONFIG_MAPS, owned(CONFIG_MAPS, run, name, {"immutable": True, "data": data}, annotations=annotations)


def _saved(stage: PlannedStage) -> SavedStage:
    assert stage.key is not None
    return SavedStage(
        name=stage.name,
        recipe_version=stage.recipe_version,
        key=stage.key,
        config=stage.config,
        parents=stage.parents,
        unpinned=stage.unpinned,
    )


def read_snapshot(config_map: Object) -> Snapshot:
    """The plan in a ConfigMap of :func:`plan_config_map`. Raises ValueError (pydantic's among them) if it is none,
    or if its digest is not that of its stages: somebody else's object, or one of a release with other fields."""
    data = config_map.get("data")
    text = data.get(PLAN_FILE) if isinstance(data, Mapping) else None
    if not isinstance(text, str):
        raise ValueError(f"found no {PLAN_FILE} in the ConfigMap")  # noqa: TRY004 one kind of error
    found = Snapshot.model_validate(json.loads(text))
    digest = sha256_hex(canonical_json([[stage.name, stage.key] for stage in found.stages]))
    if digest != found.plan_digest:
        raise ValueError(f"{PLAN_FILE}: found digest {found.plan_digest}, its stages give {digest}")
    return found


def wish_of(run: Run) -> str:
    """Digest of what a run asks to be computed and of the places its sources come from; where it runs is left out."""
    return sha256_hex(canonical_json([run.kind, _wish(run.spec)]))


def _wish(value: Any) -> Any:
    """Set semantic fields, and everything that names a source: its pin holds until uri, revision or files change."""
    if isinstance(value, Contract):
        whole = isinstance(value, ModelSource | DataSource | JudgeSource)
        said = {
            name: _wish(getattr(value, name))
            for name, field in type(value).model_fields.items()
            if name in value.model_fields_set and (whole or field_class(field) is FieldClass.SEMANTIC)
        }
        return {name: item for name, item in said.items() if item not in (None, {}, [])}
    if isinstance(value, tuple):
        return [_wish(item) for item in value]
    return value if isinstance(value, int | dict) or value is None else str(value)
