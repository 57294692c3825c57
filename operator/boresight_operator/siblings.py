"""What runs have to do with each other: who else has a key, and who uses the namespace's limits.

A run's standing is read from its status and its Jobs and kept until one of them changes. What a worker has decided and
not stored yet is a reservation: it counts as if it were stored, so that a second worker cannot decide the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from boresight_api.outcome import PublishedArtifact
from boresight_api.status import RunStatus
from pydantic import ValidationError

from . import names
from .api import Object
from .cache import Cache, Place
from .claims import stage_claim
from .figures import Condition, FinishedStage, conditions_of, finished_stages
from .plain import condition, controller, epoch, mapping, mappings, number, text
from .settings import NamespaceSettings
from .views import Claim, Rival, RunView, Usage

Store = tuple[str, str]
"""URI and endpoint: where a run's artifacts lie."""


@dataclass(frozen=True, slots=True)
class RunningStage:
    """A keyed stage whose Job runs, as the status says."""

    name: str
    key: str
    attempt: int
    job_uid: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A run, as others see it."""

    kind: str
    namespace: str
    name: str
    created: float = 0.0
    stores: tuple[Store, ...] = ()
    """Its own, then those that it reads from; none of a run of which nothing is left but Jobs that end."""
    claims: Mapping[str, Claim] = field(default_factory=dict)
    """By key."""
    artifacts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """URI and digest, by key."""
    job_stores: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By key: the stores (digests) that Jobs of it work in; an edit of the spec moves none."""
    live: bool = False
    """Whether it has a live attempt, of ``prepare`` too."""
    devices: int = 0
    """Of its live attempts."""
    stages: tuple[tuple[str, str], ...] = ()
    """Name and state of each stage, in order."""
    failures: tuple[tuple[str, str], ...] = ()
    """Stage and failure class of each attempt in its history."""
    running: tuple[RunningStage, ...] = ()
    """Those that may have progress to show."""
    waits_for_limit: bool = False
    """Whether a stage waits for a limit of its namespace."""
    shows_progress: bool = False
    """Whether its status has progress in it."""
    conditions: tuple[Condition, ...] = ()
    """As its status says."""
    finished: tuple[FinishedStage, ...] = ()
    """Stages that left numbers."""

    @property
    def store(self) -> str:
        """Digest of its own store; empty if it has none."""
        return names.store_digest(*self.stores[0]) if self.stores else ""

    def claim_on(self, key: str, stores: Sequence[Store]) -> Claim | None:
        """What it has to do with ``key``, for a run whose own store is the first of ``stores`` and that reads all."""
        claim, own = self.claims.get(key), stores[0]
        if self.stores[:1] == (own,) and (claim is not Claim.DONE or self._place_of(key) in stores):
            return claim
        working = self.job_stores.get(key, frozenset())
        return Claim.LIVE if names.store_digest(*own) in working or "" in working else None

    def _place_of(self, key: str) -> Store | None:
        """The store that has the artifact. None just after an edit of the storage (what the status calls done lies in
        the one before), and of a status that was edited by hand."""
        uri = self.artifacts.get(key, ("", ""))[0]
        return next((store for store in self.stores if uri.startswith(f"{store[0]}/artifacts/")), None)


def stores_of(found: Object, settings: NamespaceSettings) -> tuple[Store, ...]:
    """The run's store (its own, else the namespace's), then those that it reads from."""
    storage = mapping(found, "spec", "storage")
    if not text(storage, "uri"):
        default = settings.storage
        storage = default.model_dump(mode="json", by_alias=True) if default is not None else {}
    return tuple(
        (text(store, "uri").rstrip("/"), text(store, "endpoint")) for store in (storage, *mappings(storage, "readFrom"))
    )


def own_store(found: Object, settings: NamespaceSettings) -> str:
    """Digest of the run's own store."""
    return names.store_digest(*stores_of(found, settings)[0])


class Siblings:
    """Everything that one run must know of the others."""

    def __init__(
        self,
        cache: Cache,
        settings_of: Callable[[str], NamespaceSettings],
        planned_devices: Callable[[str, Sequence[str]], int],
        wake: Callable[[str], None],
    ) -> None:
        """``planned_devices(uid, stages)`` counts what attempts without a Job will ask for; ``wake`` gets the UID of a
        run that may go on, now that another one claims less."""
        self._cache = cache
        self._settings_of = settings_of
        self._planned_devices = planned_devices
        self._wake = wake
        self._known: dict[str, Standing] = {}
        self._reserved: dict[str, Standing] = {}
        self._reserving: dict[Place, set[str]] = {}
        """UIDs of runs with a reservation."""

    def of(self, uid: str) -> Standing | None:
        """A run's standing; None if neither it nor a live Job of it is known."""
        standing = self._reserved.get(uid) or self._known.get(uid) or self._read(uid)
        if standing is not None and uid not in self._reserved:
            self._known[uid] = standing
        return standing

    def all(self) -> Iterator[tuple[str, Standing]]:
        """UID and standing of every run."""
        for uid in tuple(self._cache.runs()):
            if (standing := self.of(uid)) is not None:
                yield uid, standing

    def changed(self, uid: str) -> None:
        """The run or one of its Jobs is not what it was. (The cache wakes the runs with the same keys.)"""
        before = self._known.pop(uid, None)
        if before is not None and before.live and uid not in self._reserved:
            self._wake_those_at_limits(before, self.of(uid))

    def reserve(self, run: RunView, status: RunStatus) -> None:
        """From now on ``status`` counts for the run, though it is not stored yet."""
        found = self._cache.run(run.uid)
        if found is None:
            return
        stages = status.model_dump(mode="json", by_alias=True, include={"stages"}, exclude_none=True)
        standing = self._standing(run.uid, {**found, "status": {**mapping(found, "status"), **stages}})
        before = self._drop(run.uid)
        self._reserved[run.uid] = standing
        for key in standing.claims:
            self._reserving.setdefault((run.namespace, standing.store, key), set()).add(run.uid)
        self._wake_others(run.uid, before, standing)

    def release(self, uid: str) -> None:
        """What is stored counts again."""
        before = self._drop(uid)
        if before is not None:
            self._wake_others(uid, before, self.of(uid))

    def _drop(self, uid: str) -> Standing | None:
        standing = self._reserved.pop(uid, None)
        places = [(standing.namespace, standing.store, key) for key in standing.claims] if standing is not None else []
        for place in places:
            self._reserving[place].discard(uid)
            if not self._reserving[place]:
                del self._reserving[place]
        return standing

    def _wake_others(self, uid: str, before: Standing | None, after: Standing | None) -> None:
        """A reservation that came to nothing was never in the cache, so the cache cannot tell whom it held up."""
        if before is None:
            return
        kept = after.claims if after is not None else {}
        for key, claim in before.claims.items():
            if kept.get(key) is not claim:
                for other in self._with_key(before.namespace, before.store, key) - {uid}:
                    self._wake(other)
        self._wake_those_at_limits(before, after)

    def _wake_those_at_limits(self, before: Standing, after: Standing | None) -> None:
        limits = self._settings_of(before.namespace).limits
        if limits.max_runs is None and limits.max_devices is None:
            return
        if after is None or before.devices > after.devices or (before.live and not after.live):
            for uid, standing in self.all():
                if standing.waits_for_limit and standing.namespace == before.namespace:
                    self._wake(uid)

    def rivals(self, run: RunView, stores: Sequence[Store], keys: Iterable[str]) -> dict[str, tuple[Rival, ...]]:
        """Other runs of the same namespace and store that have one of ``keys``, oldest first. ``stores``: the run's."""
        found = {key: tuple(sorted(self._rivals(run, stores, key), key=_age)) for key in keys}
        return {key: rivals for key, rivals in found.items() if rivals}

    def _rivals(self, run: RunView, stores: Sequence[Store], key: str) -> Iterator[Rival]:
        for uid in self._with_key(run.namespace, names.store_digest(*stores[0]), key) - {run.uid}:
            standing = self.of(uid)
            if standing is None or standing.namespace != run.namespace:
                continue
            if claim := standing.claim_on(key, stores):
                artifact = _artifact(standing, key) if claim is Claim.DONE else None
                yield Rival(standing.kind, standing.name, uid, standing.created, claim, artifact)

    def _with_key(self, namespace: str, store: str, key: str) -> set[str]:
        """Runs of this store that have the key in their status, or will have it, or whose Jobs still work on it."""
        jobs = self._cache.jobs_with_key(namespace, store, key)
        reserving = self._reserving.get((namespace, store, key), set())
        return {*self._cache.runs_with_key(namespace, store, key), *reserving, *map(controller, jobs)}

    def usage(self, run: RunView, settings: NamespaceSettings) -> Usage:
        """What the namespace's other runs use, and those that are gone and whose Jobs still end; not counted where no
        limit asks for it."""
        if settings.limits.max_runs is None and settings.limits.max_devices is None:
            return Usage()
        left = ((uid, self.of(uid)) for uid in self._cache.gone())
        others = [
            standing
            for uid, standing in (*self.all(), *left)
            if standing is not None and standing.live and standing.namespace == run.namespace and uid != run.uid
        ]
        return Usage(len(others), sum(standing.devices for standing in others))

    def _read(self, uid: str) -> Standing | None:
        found = self._cache.run(uid)
        if found is not None:
            return self._standing(uid, found)
        jobs = [job for job in self._cache.jobs_of(uid) if not _ended(job)]
        if not jobs:
            return None
        namespace, run = text(jobs[0], "metadata", "namespace"), _label(jobs[0], names.RUN_LABEL)
        return Standing(
            "run",
            namespace,
            run,
            claims=_job_claims(jobs),
            job_stores=_job_stores(jobs),
            live=True,
            devices=sum(map(_devices, jobs)),
        )

    def _standing(self, uid: str, found: Object) -> Standing:
        namespace, stages = text(found, "metadata", "namespace"), mappings(found, "status", "stages")
        jobs = [job for job in self._cache.jobs_of(uid) if not _ended(job)]
        asked = {} if mapping(found, "metadata").get("deletionTimestamp") else _status_claims(stages)
        done = {key: claim for key, claim in asked.items() if claim is Claim.DONE}
        with_job = {_label(job, names.STAGE_LABEL) for job in jobs}
        starting = [text(stage, "name") for stage in stages if stage.get("state") == "Starting"]
        unborn = [name for name in starting if name not in with_job]
        return Standing(
            kind=text(found, "kind"),
            namespace=namespace,
            name=text(found, "metadata", "name"),
            created=epoch(text(found, "metadata", "creationTimestamp")) or 0.0,
            stores=stores_of(found, self._settings_of(namespace)),
            claims={**asked, **_job_claims(jobs), **done},
            artifacts={
                text(stage, "key"): (text(stage, "artifact", "uri"), text(stage, "artifact", "digest"))
                for stage in stages
                if mapping(stage, "artifact")
            },
            job_stores=_job_stores(jobs),
            live=bool(jobs or unborn),
            devices=sum(map(_devices, jobs)) + (self._planned_devices(uid, unborn) if unborn else 0),
            stages=tuple((text(stage, "name"), text(stage, "state")) for stage in stages),
            failures=tuple(_failures(stages)),
            running=tuple(_running(stages)),
            waits_for_limit=any(stage.get("reason") == "NamespaceLimit" for stage in stages),
            shows_progress=bool(mappings(found, "status", "progress")),
            conditions=conditions_of(found),
            finished=tuple(finished_stages(found)),
        )


def _status_claims(stages: Iterable[Mapping[str, Any]]) -> dict[str, Claim]:
    found = ((text(stage, "key"), stage_claim(stage)) for stage in stages)
    return {key: claim for key, claim in found if key and claim is not None}


def _job_claims(jobs: Iterable[Object]) -> dict[str, Claim]:
    keys = (text(job, "metadata", "annotations", names.KEY_ANNOTATION) for job in jobs)
    return {key: Claim.LIVE for key in keys if key}


def _job_stores(jobs: Iterable[Object]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for job in jobs:
        annotations = mapping(job, "metadata", "annotations")
        if key := text(annotations, names.KEY_ANNOTATION):
            found[key] = found.get(key, frozenset()) | {text(annotations, names.STORE_ANNOTATION)}
    return found


def _failures(stages: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for stage in stages:
        for attempt in mappings(stage, "history"):
            if failure := text(attempt, "failureClass"):
                yield text(stage, "name"), failure


def _running(stages: Iterable[Mapping[str, Any]]) -> Iterator[RunningStage]:
    for stage in stages:
        name, key, job_uid = text(stage, "name"), text(stage, "key"), text(stage, "jobUID")
        if stage.get("state") == "Running" and key and job_uid:
            yield RunningStage(name, key, number(stage.get("attempt")), job_uid)


def _age(rival: Rival) -> tuple[float, str]:
    return rival.created, rival.uid


def _artifact(standing: Standing, key: str) -> PublishedArtifact | None:
    """One that cannot be read (a status edited by hand) is none."""
    if key not in standing.artifacts:
        return None
    uri, digest = standing.artifacts[key]
    try:
        return PublishedArtifact(uri=uri, digest=digest)
    except ValidationError:
        return None


def _ended(job: Object) -> bool:
    """Complete or failed: no pod of it runs any more (``podReplacementPolicy: Failed`` sees to that)."""
    return condition(job, "Complete") is not None or condition(job, "Failed") is not None


def _label(job: Object, name: str) -> str:
    return text(job, "metadata", "labels", name)


def _devices(job: Object) -> int:
    return number(mapping(job, "metadata", "annotations").get(names.DEVICES_ANNOTATION))
