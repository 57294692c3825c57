"""Manifests as users write them, and the plans that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import INVALID_CONFIG, UserError

if TYPE_CHECKING:
    from boresight_api.kinds import Run
    from boresight_api.pins import Pin
    from boresight_api.plan import Plan, PlannedStage


@dataclass(frozen=True)
class Manifest:
    """A manifest, read."""

    path: Path
    document: Mapping[str, Any]
    """As plain data; of a run on this machine with absolute ``file://`` URIs."""
    run: Run

    @property
    def namespace(self) -> str:
        """Of the run; ``default`` if the manifest names none."""
        return self.run.metadata.namespace or "default"

    @property
    def name(self) -> str:
        """Of the run."""
        return self.run.metadata.name

    @property
    def storage_uri(self) -> str | None:
        """The store that the manifest names."""
        storage = self.run.spec.storage
        return storage.uri if storage is not None else None


def read_manifest(path: Path, text: str | None = None, *, rebased: bool = True) -> Manifest:
    """The one run that the YAML file at ``path`` describes. ``text``: its content, if that is of another time.
    ``rebased``: relative paths count from the file's folder.

    Raises :class:`UserError` with every fault, each naming its field.
    """
    from boresight_api.documents import load_yaml
    from boresight_api.manifest import parse_manifest, rebase
    from boresight_api.problems import ProblemsError

    try:
        document = load_yaml(path.read_text(encoding="utf-8") if text is None else text)
        if rebased:
            document = rebase(document, path.absolute().parent.as_uri())
        return Manifest(path, document, parse_manifest(document))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: found a byte that is not UTF-8 at offset {error.start}, expected YAML text", INVALID_CONFIG
        ) from error
    except ProblemsError as error:
        raise UserError("\n".join(f"{path}: {problem}" for problem in error.problems), INVALID_CONFIG) from error


def plan_of(manifest: Manifest, pins: Mapping[str, Pin], *, recipe: str | None = None) -> Plan:
    """The plan with ``pins``. Raises :class:`UserError` with everything that cannot be planned."""
    from boresight_api.plan import plan
    from boresight_api.problems import ProblemsError

    try:
        return plan(manifest.run, pins, recipe=recipe)
    except ProblemsError as error:
        raise UserError(
            "\n".join(f"{manifest.path}: {problem}" for problem in error.problems), INVALID_CONFIG
        ) from error


@dataclass(frozen=True)
class PlannedRun:
    """A plan, and what exists of it."""

    plan: Plan
    pins: Mapping[str, Pin]
    """By source id."""
    cached: frozenset[str]
    """Names of stages whose artifacts exist."""

    def state(self, stage: PlannedStage) -> str:
        """``Cached``, ``ToRun``, or ``Unknown`` before prepare."""
        if stage.name in self.cached:
            return "Cached"
        return "Unknown" if stage.key is None else "ToRun"

    @property
    def held(self) -> tuple[str, ...]:
        """Names of stages that ``spec.stopAfter`` holds back."""
        names = [stage.name for stage in self.plan.stages]
        if self.plan.stop_after is None:
            return ()
        if self.plan.stop_after not in names:
            return tuple(names)  # stopAfter: Prepare
        return tuple(names[names.index(self.plan.stop_after) + 1 :])

    @property
    def to_run(self) -> tuple[str, ...]:
        """Names of stages that have work to do."""
        return tuple(s.name for s in self.plan.stages if s.name not in self.cached and s.name not in self.held)
