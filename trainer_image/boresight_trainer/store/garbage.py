"""What a store holds that nobody needs any more. Pure: from a listing and the documents to names, in order of removal.

Needed is what refs of runs (written by ``prepare``, renewed by every stage) and tags name, what is younger than a week,
what runs that are known to exist name, and everything that these were made from. A ref counts while its run is known to
exist (or it is not known who does in its namespace), else for ``keep_days`` after it was last renewed. What has no
manifest or one that cannot be read is kept: it may be of a newer version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import TypeVar

from boresight_api.artifact import MANIFEST_NAME, ArtifactManifest
from boresight_api.outcome import FailureClass, StageFailure

from .base import Store, StoredFile, keys_among, parsed_manifest
from .layout import ARTIFACTS, CACHE, CHECKPOINTS, LOGS, REFS, STAGING, TAGS
from .references import Ref, parsed_ref, parsed_tag

T = TypeVar("T")

DAY = 86_400.0
YOUNG_DAYS = 7


@dataclass(frozen=True)
class Inventory:
    """Everything that a store holds, as one listing and the documents in it say."""

    files: tuple[StoredFile, ...]
    refs: tuple[Ref, ...]
    tags: Mapping[str, str]
    """Name -> key."""
    manifests: Mapping[str, ArtifactManifest]
    """By key; those that can be read."""
    now: float

    def below(self, *folders: str) -> dict[str, list[StoredFile]]:
        """Files by the folder below one of ``folders`` in which they lie, such as the key of an artifact."""
        found: dict[str, list[StoredFile]] = defaultdict(list)
        for file in self.files:
            parts = file.name.split("/", 2)
            if len(parts) == 3 and parts[0] in folders:
                found[parts[1]].append(file)
        return found


@dataclass(frozen=True)
class Living:
    """Runs that are known to exist."""

    runs: frozenset[str] = frozenset()
    """UIDs."""
    keys: frozenset[str] = frozenset()
    """What they name, whether or not a ref does."""
    namespaces: frozenset[str] | None = None
    """Where all runs are known (None: everywhere). Of a ref of another one it is not known that its run is gone."""

    def may_need(self, ref: Ref) -> bool:
        """Whether the ref counts, whatever its age."""
        return ref.run in self.runs or (self.namespaces is not None and ref.namespace not in self.namespaces)


NOBODY = Living()


@dataclass(frozen=True)
class Waste:
    """Something to remove."""

    what: str
    """``artifacts``, ``checkpoints``, ``cache``, ``logs``, ``staging`` or ``refs``."""
    name: str
    """Key, run or file."""
    files: tuple[StoredFile, ...] = field(repr=False)
    """In the order of removal: a manifest first, for without it there is no artifact."""
    why: str

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)


def take_inventory(store: Store, now: float) -> Inventory:
    """List everything, then read refs, tags and manifests: what is named after the listing is named in time.

    Raises :class:`StageFailure` if something may not be listed, or if a ref or a tag cannot be read: what it protects
    is not known then.
    """
    files = tuple(sorted(store.files(""), key=lambda file: file.name))
    manifests = {}
    for key in keys_among(file.name for file in files):
        if (manifest := _manifest_if_readable(store, key)) is not None:
            manifests[key] = manifest
    return Inventory(files, read_refs(store), read_tags(store), manifests, now)


def read_refs(store: Store) -> tuple[Ref, ...]:
    """Every ref. Raises :class:`StageFailure` for one that cannot be read."""
    names = [file.name for file in store.files(REFS) if not _is_temporary(file.name)]
    found = [parsed_ref(name, store.read(name)) for name in names]
    return tuple(_required(store, name, ref) for name, ref in zip(names, found, strict=True))


def read_tags(store: Store) -> dict[str, str]:
    """Name -> key. Raises :class:`StageFailure` for a tag that cannot be read."""
    names = [file.name for file in store.files(TAGS) if not _is_temporary(file.name)]
    found = {name: parsed_tag(store.read(name)) for name in names}
    return {
        name.removeprefix(f"{TAGS}/").removesuffix(".json"): _required(store, name, key) for name, key in found.items()
    }


def waste(inventory: Inventory, *, keep_days: float, living: Living = NOBODY) -> list[Waste]:
    """What may go."""
    counting = [ref for ref in inventory.refs if living.may_need(ref) or ref.time > inventory.now - keep_days * DAY]
    wanted = {key for ref in counting for key in ref.keys} | living.keys | set(inventory.tags.values())
    needed = reachable(inventory, wanted)
    return [
        *_artifacts(inventory, needed),
        *_checkpoints(inventory, wanted),
        *_logs(inventory, {ref.run for ref in counting} | living.runs, keep_days),
        *_single(inventory, CACHE, keep_days, "not computed anew for"),
        *_single(inventory, STAGING, YOUNG_DAYS, "left behind for"),
        *_refs(inventory, {ref.name for ref in counting}, keep_days),
    ]


def reachable(inventory: Inventory, wanted: Iterable[str]) -> frozenset[str]:
    """``wanted``, what is young or cannot be judged, and all that these were made from."""
    young = [key for key, files in inventory.below(ARTIFACTS).items() if _is_young(inventory, files, YOUNG_DAYS)]
    waiting, found = [*wanted, *young], set[str]()
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            manifest = inventory.manifests.get(key)
            waiting += [parent.key for parent in manifest.parents] if manifest is not None else []
    return frozenset(found)


def _artifacts(inventory: Inventory, needed: Set[str]) -> Iterator[Waste]:
    folders = inventory.below(ARTIFACTS)
    for key in sorted(inventory.manifests.keys() - needed):
        first = f"{ARTIFACTS}/{key}/{MANIFEST_NAME}"
        files = sorted(folders[key], key=lambda file, first=first: (file.name != first, file.name))  # type: ignore[misc]
        yield Waste(ARTIFACTS, key, tuple(files), f"{inventory.manifests[key].stage}: no ref, no tag")


def _checkpoints(inventory: Inventory, wanted: Set[str]) -> Iterator[Waste]:
    """Of published stages, and of stages that no run wants."""
    for key, files in sorted(inventory.below(CHECKPOINTS).items()):
        published = key in inventory.manifests
        if (published or key not in wanted) and not _is_young(inventory, files, YOUNG_DAYS):
            yield Waste(CHECKPOINTS, key, tuple(files), "its stage is published" if published else "no ref")


def _logs(inventory: Inventory, runs: Set[str], keep_days: float) -> Iterator[Waste]:
    for run, files in sorted(inventory.below(LOGS).items()):
        if run not in runs and not _is_young(inventory, files, keep_days):
            yield Waste(LOGS, run, tuple(files), "its run is gone")


def _single(inventory: Inventory, folder: str, days: float, why: str) -> Iterator[Waste]:
    """Folders whose every file is old."""
    for name, files in sorted(inventory.below(folder).items()):
        old = tuple(file for file in files if not _is_young(inventory, [file], days))
        if old:
            yield Waste(folder, name, old, f"{why} {days:g} days")
    loose = (file for file in inventory.files if file.name.startswith(f"{folder}/") and file.name.count("/") == 1)
    for file in loose:
        if not _is_young(inventory, [file], days):
            yield Waste(folder, file.name.partition("/")[2], (file,), f"{why} {days:g} days")


def _refs(inventory: Inventory, counting: Set[str], keep_days: float) -> Iterator[Waste]:
    names = {ref.name for ref in inventory.refs} - counting
    for file in inventory.files:
        if file.name in names and not _is_young(inventory, [file], keep_days):
            yield Waste(REFS, file.name.partition("/")[2], (file,), f"not renewed for {keep_days:g} days")


def _is_young(inventory: Inventory, files: Iterable[StoredFile], days: float) -> bool:
    return max((file.modified for file in files), default=0.0) > inventory.now - days * DAY


def _manifest_if_readable(store: Store, key: str) -> ArtifactManifest | None:
    """None also for an artifact that vanished since it was listed."""
    name = f"{ARTIFACTS}/{key}/{MANIFEST_NAME}"
    content = store.read(name)
    try:
        return None if content is None else parsed_manifest(content, key, name)
    except StageFailure:
        return None


def _is_temporary(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


def _required(store: Store, name: str, found: T | None) -> T:
    if found is None:
        raise StageFailure(
            FailureClass.INVALID_DATA,
            f"{store.place(name)}: cannot be read, so what it protects is not known and nothing is removed; repair or "
            "remove it",
        )
    return found
