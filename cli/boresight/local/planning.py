"""From a manifest file to a plan on this machine: read, make paths absolute, pin what can be pinned at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import INVALID_CONFIG, UserError
from ..settings import default_store, store_folder, store_uri

if TYPE_CHECKING:
    from boresight_api.artifact import ArtifactManifest
    from boresight_api.kinds import Run
    from boresight_api.pins import Pin, Source
    from boresight_api.plan import Plan, PlannedStage
    from boresight_trainer.store.file import FileStore

    from ..records import RunRecord

PINNED_AT_ONCE = ("file:", "embedded:", "artifact:")
"""Sources whose content is on this machine. Others (hf://) keep the pin that an earlier ``prepare`` gave them."""


@dataclass(frozen=True)
class Manifest:
    """A manifest, read."""

    path: Path
    document: Mapping[str, Any]
    """As plain data, with absolute ``file://`` URIs."""
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


def read_manifest(path: Path) -> Manifest:
    """The one run that the YAML file at ``path`` describes.

    Raises :class:`UserError` with every fault, each naming its field.
    """
    from boresight_api.documents import load_yaml
    from boresight_api.manifest import parse_manifest, rebase
    from boresight_api.problems import ProblemsError

    try:
        document = rebase(load_yaml(path.read_text(encoding="utf-8")), path.absolute().parent.as_uri())
        return Manifest(path, document, parse_manifest(document))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: found a byte that is not UTF-8 at offset {error.start}, expected YAML text", INVALID_CONFIG
        ) from error
    except ProblemsError as error:
        raise UserError("\n".join(f"{path}: {problem}" for problem in error.problems), INVALID_CONFIG) from error


def choose_store(option: str | None, manifest: Manifest) -> FileStore:
    """The store of a local run: ``--store``, else the manifest's if it is a folder, else the default one."""
    from boresight_trainer.store.file import FileStore

    named = manifest.storage_uri
    if option:
        uri = store_uri(option)
    elif named is not None and named.startswith("file:"):
        uri = named
    else:
        uri = default_store()
    return FileStore(store_folder(uri).as_uri())


@dataclass(frozen=True)
class LocalPlan:
    """A plan, and what the store has of it."""

    plan: Plan
    pins: Mapping[str, Pin]
    """By source id."""
    cached: frozenset[str]
    """Names of stages whose artifacts are in the store."""

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


def make_plan(manifest: Manifest, store: FileStore, pins: Mapping[str, Pin], *, recipe: str | None = None) -> LocalPlan:
    """The plan with ``pins``. Raises :class:`UserError` with everything that cannot be planned."""
    from boresight_api.plan import plan
    from boresight_api.problems import ProblemsError

    try:
        made = plan(manifest.run, pins, recipe=recipe)
    except ProblemsError as error:
        raise UserError(
            "\n".join(f"{manifest.path}: {problem}" for problem in error.problems), INVALID_CONFIG
        ) from error
    cached = frozenset(s.name for s in made.stages if s.key is not None and finished(store, s.key) is not None)
    return LocalPlan(made, pins, cached)


def finished(store: FileStore, key: str) -> ArtifactManifest | None:
    """The manifest of finished work, or None. Raises :class:`UserError` if it can be neither adopted nor ignored."""
    from boresight_api.outcome import StageFailure, exit_code_of

    try:
        return store.finished(key)
    except StageFailure as failure:
        raise UserError(failure.message, int(exit_code_of(failure.failure))) from failure


def known_pins(manifest: Manifest, store: FileStore, record: RunRecord | None) -> dict[str, Pin]:
    """Pins by source id, without a network: local content is hashed (remembered by path, size and time of change),
    other sources keep the pin of the run's last ``prepare``."""
    from boresight_api.pins import Pin
    from boresight_trainer.store.digests import DigestCache
    from boresight_trainer.store.pins import pin

    earlier = [Pin.model_validate(document) for document in (record.pins if record else ())]
    pins = {p.id: p for p in earlier}
    cache = DigestCache()
    sources = make_plan(manifest, store, {}).plan.sources
    for source in sources:
        if source.uri.startswith(PINNED_AT_ONCE) and not _is_artifact_key(source):
            fresh = pin(source.uri, revision=source.revision, files=source.files, store=store, cache=cache)
            before = pins.get(source.id)
            pins[source.id] = before if before is not None and _same_content(before, fresh) else fresh
    return {source.id: pins[source.id] for source in sources if source.id in pins}


def _is_artifact_key(source: Source) -> bool:
    """Whether the URI is its own pin: ``artifact://<64 digits>``."""
    return source.uri.startswith("artifact://") and not source.uri.startswith("artifact://tags/")


def _same_content(one: Pin, other: Pin) -> bool:
    """Whether a pin still holds; the earlier one also knows the number of rows."""
    return (one.digest, one.key, one.revision) == (other.digest, other.key, other.revision)
