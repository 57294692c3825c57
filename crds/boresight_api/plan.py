"""The plan: from a run and the pins of its sources to stages with keys. Pure; one function for the three kinds.

prepare -> [warm-start] -> feedback-model -> synthesis -> [reward-model] -> policy -> evaluation
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .base import canonical_json, sha256_hex
from .compute import Compute
from .kinds import Run
from .pins import Pin
from .stages import AnyConfig


@dataclass(frozen=True)
class Source:
    """Something that a run reads from outside, and that ``prepare`` pins."""

    id: str
    """:func:`boresight_api.pins.source_id`."""
    name: str
    """Its first role: ``model``, ``feedback``, ``feedback-2``, ``holdout``, ``prompts``, ``warm-start``, ..."""
    uri: str
    revision: str | None
    files: tuple[str, ...]
    digest: str | None
    """What the manifest says it must be; ``prepare`` verifies it."""


@dataclass(frozen=True)
class PlannedStage:
    """One keyed stage."""

    name: str
    recipe: str
    recipe_version: int
    config: AnyConfig
    key: str | None
    """None as long as a source of this stage, or of one before it, is not pinned: known after prepare."""
    parents: tuple[str, ...]
    """Names of the stages whose artifacts it reads."""
    compute: Compute
    """The run's compute with the stage's own over it."""
    unpinned: bool
    """Whether it asks an endpoint whose weights cannot be pinned."""


@dataclass(frozen=True)
class Plan:
    """What a run does, in order."""

    recipe: str
    """Version of recipes and defaults."""
    stages: tuple[PlannedStage, ...]
    sources: tuple[Source, ...]
    stop_after: str | None
    """Name of the stage after which the run is held; ``prepare`` for before all of them."""

    def stage(self, name: str) -> PlannedStage:
        """The stage of that name. Raises KeyError."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    @property
    def digest(self) -> str | None:
        """SHA-256 over the stages' names and keys; None as long as one is unknown."""
        keys = [[stage.name, stage.key] for stage in self.stages]
        return None if any(key is None for _, key in keys) else sha256_hex(canonical_json(keys))


def plan(run: Run, pins: Mapping[str, Pin] | None = None, *, recipe: str | None = None) -> Plan:
    """The stages of ``run``, with the keys that ``pins`` (by source id) already allow.

    ``recipe`` is the version of the run's first plan; it counts if the manifest names none. Raises
    :class:`boresight_api.problems.PlanError` with everything that cannot be planned, or not by this release.
    """
    from .planner import make

    return make(run, pins or {}, recipe)


def sources(run: Run) -> tuple[Source, ...]:
    """What ``run`` reads from outside, in the order of use. Raises PlanError as :func:`plan` does."""
    return plan(run).sources
