"""From a manifest to a plan on this machine: pin what can be pinned at once, look what the store has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import UserError
from ..manifests import Manifest, PlannedRun, plan_of
from ..settings import default_store, store_folder, store_uri

if TYPE_CHECKING:
    from boresight_api.artifact import ArtifactManifest
    from boresight_api.pins import Pin, Source
    from boresight_trainer.store.file import FileStore

    from ..records import RunRecord

PINNED_AT_ONCE = ("file:", "embedded:", "artifact:")
"""Sources whose content is on this machine. Others (hf://, s3://) keep the pin that an earlier ``prepare`` has
made."""


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


def make_plan(
    manifest: Manifest, store: FileStore, pins: Mapping[str, Pin], *, recipe: str | None = None
) -> PlannedRun:
    """The plan with ``pins``. Raises :class:`UserError` with everything that cannot be planned."""
    made = plan_of(manifest, pins, recipe=recipe)
    cached = frozenset(s.name for s in made.stages if s.key is not None and finished(store, s.key) is not None)
    return PlannedRun(made, pins, cached)


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
