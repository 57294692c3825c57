"""What is known of a run: what was planned, what happened, when. One form for runs of this machine and of a cluster.

Of a run on this machine it is read from ``<store>/runs/<namespace>/<name>/run.json``, of a run in a cluster from its
object (:mod:`.cluster.record`). A record is a view. The truth is the store's artifacts; deleting a record trains
nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import replace_text

RECORD_VERSION = 1


class State(StrEnum):
    """Of a stage, and of the run as a whole."""

    UNKNOWN = "Unknown"  # in a cluster: `prepare` has to look first
    PENDING = "Pending"
    WAITING = "Waiting"  # in a cluster: for a place, a Secret, another run; the reason says for what
    STARTING = "Starting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    CACHED = "Cached"  # another attempt or run had published the artifact before
    HELD = "Held"  # spec.stopAfter keeps it from running
    FAILED = "Failed"
    INTERRUPTED = "Interrupted"  # stopped by the user or lost with its process; the next `boresight run` resumes it

    @property
    def done(self) -> bool:
        """Whether the stage's artifact is in the store."""
        return self in {State.SUCCEEDED, State.CACHED}


@dataclass(frozen=True)
class Attempt:
    """One process at one stage (in a cluster: one Job)."""

    number: int
    started_at: str | None
    ended_at: str | None = None
    seconds: float | None = None
    exit_code: int | None = None
    failure_class: str | None = None
    message: str | None = None
    step: int | None = None
    halvings: int | None = None
    """How often the token budget was halved, after running out of memory."""
    log: str | None = None
    """Relative to the run's folder."""
    reason: str | None = None
    """In a cluster: what ended it, more closely than the class."""
    rank: int | None = None
    """At fault."""
    node: str | None = None
    """Of that rank."""
    steps_gained: int | None = None
    """Steps that a later attempt need not repeat."""


@dataclass(frozen=True)
class Progress:
    """How far the attempt at work is."""

    step: int
    total_steps: int
    phase: str | None = None
    remaining_seconds: float | None = None


@dataclass(frozen=True)
class StageRecord:
    """One stage of the run's newest plan."""

    name: str
    recipe: str = ""
    key: str | None = None
    """None until ``prepare`` has pinned what the key depends on, and for ``prepare`` itself."""
    needs: tuple[str, ...] = ()
    """Stages whose artifacts it reads."""
    state: State = State.PENDING
    digest: str | None = None
    """Of the artifact's manifest."""
    metrics: tuple[tuple[str, str], ...] = ()
    """Headline numbers."""
    attempts: tuple[Attempt, ...] = ()
    """Oldest first; in a cluster the last ten that are over."""
    reason: str | None = None
    """In a cluster: why it is in its state, in a word."""
    message: str | None = None
    """In a cluster: why, for people."""
    attempt: int | None = None
    """In a cluster: number of the attempt at work, or of the last one."""
    queued_seconds: int | None = None
    """In a cluster: time between wanting to run and running."""
    worked_seconds: float | None = None
    """In a cluster: running time at the present key, up to when the record was read."""
    device_seconds: int | None = None
    """In a cluster: devices times seconds of all attempts that are over."""
    progress: Progress | None = None

    @property
    def seconds(self) -> float:
        """Time worked on it."""
        if self.worked_seconds is not None:
            return self.worked_seconds
        return sum(attempt.seconds or 0.0 for attempt in self.attempts)

    @property
    def attempt_count(self) -> int:
        """Number of the newest attempt: how many there were, the one at work included."""
        return self.attempt if self.attempt is not None else max((a.number for a in self.attempts), default=0)


@dataclass(frozen=True)
class SourceEntry:
    """A source as it was read."""

    id: str
    uri: str
    digest: str | None = None
    revision: str | None = None
    rows: int | None = None
    licence: str | None = None


@dataclass(frozen=True)
class RunRecord:
    """A run as it was last planned and worked on."""

    kind: str
    namespace: str
    name: str
    uid: str
    manifest_path: str
    """Of a run on this machine; else empty."""
    store: str
    """URI; empty while nobody has said it."""
    started_at: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    pins: tuple[Mapping[str, Any], ...] = ()
    """The pins of the last ``prepare``, as the contract's documents; kept until a source's identity changes."""
    recipe: str | None = None
    """Version of recipes and defaults of the run's first plan; kept unless the manifest names one."""
    plan: str | None = None
    """Digest of the plan."""
    ended_at: str | None = None
    sources: tuple[SourceEntry, ...] = ()
    stages: tuple[StageRecord, ...] = ()
    reason: str | None = None
    """In a cluster: what the run does or waits for, in a word; the STATUS of `kubectl get`."""
    message: str | None = None
    """In a cluster: the same for people."""
    stalled: str | None = None
    """In a cluster: why only the user can help, if so."""
    verdict: State | None = None
    """In a cluster: Succeeded, Failed or Suspended, as its conditions say; None while work goes on."""
    device_seconds: int | None = None
    """In a cluster: devices times seconds, over all stages."""
    unseen: bool = False
    """In a cluster: no operator has acted yet on the newest edit (or retry); all but the manifest is of before."""
    headlines: tuple[Mapping[str, Any], ...] = ()
    """In a cluster: the first rows of its results, which its status carries; as :func:`.results.rows_of` has them."""
    version: int = RECORD_VERSION

    @property
    def state(self) -> State:
        """Of the run: its verdict, else the most urgent of its stages' states."""
        if self.verdict is not None:
            return self.verdict
        states = {stage.state for stage in self.stages}
        for state in (State.FAILED, State.INTERRUPTED, State.RUNNING):
            if state in states:
                return state
        if states and all(state.done or state is State.HELD for state in states):
            return State.HELD if State.HELD in states else State.SUCCEEDED
        return State.PENDING if self.ended_at is None else State.INTERRUPTED

    @property
    def status(self) -> str:
        """One word for people."""
        return self.reason or self.state.value

    @property
    def at_work(self) -> StageRecord | None:
        """The first stage that is not done."""
        return next((stage for stage in self.stages if not stage.state.done), None)

    def stage(self, name: str) -> StageRecord | None:
        """The stage of that name."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def with_stage(self, changed: StageRecord) -> RunRecord:
        """The record with ``changed`` in the place of the stage of its name."""
        return replace(self, stages=tuple(changed if s.name == changed.name else s for s in self.stages))


def now() -> str:
    """The time as records hold it: RFC 3339, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_document(value: Any) -> Any:
    """A record as JSON data, camelCase, without absent values."""
    if hasattr(value, "__dataclass_fields__"):
        items = ((_camel(f.name), getattr(value, f.name)) for f in fields(value))
        return {name: to_document(item) for name, item in items if item is not None}
    if isinstance(value, tuple | list):
        return [to_document(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): to_document(item) for name, item in value.items()}
    return value.value if isinstance(value, StrEnum) else value


def from_document(document: Mapping[str, Any]) -> RunRecord:
    """The record in ``document``. Raises ValueError, TypeError or KeyError if it is none."""
    if document.get("version") != RECORD_VERSION:
        raise ValueError(f"found version {document.get('version')}, expected {RECORD_VERSION}")
    values = _known(RunRecord, document)
    values["stages"] = tuple(_stage(stage) for stage in document.get("stages", ()))
    values["sources"] = tuple(SourceEntry(**_known(SourceEntry, source)) for source in document.get("sources", ()))
    for name in ("pins", "headlines"):
        values[name] = tuple(document.get(name, ()))
    return RunRecord(**values)


def _stage(document: Mapping[str, Any]) -> StageRecord:
    values = _known(StageRecord, document)
    values["state"] = State(document["state"])
    values["needs"] = tuple(document.get("needs", ()))
    values["metrics"] = tuple((str(name), str(value)) for name, value in document.get("metrics", ()))
    values["attempts"] = tuple(Attempt(**_known(Attempt, attempt)) for attempt in document.get("attempts", ()))
    return StageRecord(**values)


def _known(kind: type[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    return {f.name: document[_camel(f.name)] for f in fields(kind) if _camel(f.name) in document}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run's record, logs, report and results."""

    path: Path

    @property
    def store(self) -> Path:
        """The folder of the store that the record lies in, wherever that was moved to since."""
        return self.path.parents[2]

    @property
    def record_path(self) -> Path:
        """``run.json``."""
        return self.path / "run.json"

    @property
    def report_path(self) -> Path:
        """``report.html``."""
        return self.path / "report.html"

    @property
    def results_path(self) -> Path:
        """``results.json``."""
        return self.path / "results.json"

    @property
    def lock_path(self) -> Path:
        """Held by the process that works on the run."""
        return self.path / "lock"

    def attempt_folder(self, stage: str, key: str | None, number: int) -> Path:
        """Where stage.json, log, outcome and progress of one attempt lie."""
        name = f"{stage}-{key[:8]}" if key else stage
        return self.path / "attempts" / f"{name}-{number}"

    def read(self) -> RunRecord | None:
        """The record, or None if there is none yet. Raises :class:`UserError` if it cannot be read."""
        try:
            return from_document(json.loads(self.record_path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{self.record_path}: this is no run record of this version of Boresight ({error}); delete the file, "
                "the artifacts of the run stay"
            ) from error

    def write(self, record: RunRecord) -> None:
        """Replace the record as a whole."""
        self.path.mkdir(parents=True, exist_ok=True)
        replace_text(self.record_path, json.dumps(to_document(record), indent=1, ensure_ascii=False) + "\n")

    def current(self) -> RunRecord | None:
        """The record; if nobody holds the lock, the stage that claims to run (or was next) is shown as interrupted."""
        from .local.lock import is_held

        record = self.read()
        if record is None or is_held(self.lock_path):
            return record
        lost = {stage.name for stage in record.stages if stage.state is State.RUNNING}
        if not lost and record.ended_at is None and record.at_work is not None:
            lost = {record.at_work.name}  # between two stages
        stages = tuple(replace(s, state=State.INTERRUPTED) if s.name in lost else s for s in record.stages)
        return replace(record, stages=stages)


@dataclass(frozen=True)
class RunRecords:
    """All records of a store."""

    store: Path

    def folder(self, namespace: str, name: str) -> RunFolder:
        """The folder of one run, which need not exist."""
        return RunFolder(self.store / "runs" / namespace / name)

    def all(self, unreadable: Callable[[UserError], object] = lambda _: None) -> Iterator[tuple[RunFolder, RunRecord]]:
        """Every run with a record, newest first; records that cannot be read are told to ``unreadable``."""
        found = []
        for path in sorted((self.store / "runs").glob("*/*/run.json")):
            folder = RunFolder(path.parent)
            try:
                record = folder.current()
            except UserError as error:
                unreadable(error)
                continue
            if record is not None:
                found.append((folder, record))
        yield from sorted(found, key=lambda item: item[1].started_at, reverse=True)

    def find(self, name: str | None, namespace: str | None = None) -> tuple[RunFolder, RunRecord]:
        """The run called ``name`` (``namespace/name`` also works; else of ``namespace``, by default ``default``), or
        the newest one (of any namespace, if none is named).

        Raises :class:`UserError` naming the runs there are.
        """
        if name is not None and "/" in name:
            namespace, _, name = name.partition("/")
        if name is None:
            newest = next((found for found in self.all() if namespace in (None, found[1].namespace)), None)
            if newest is None:
                whose = f" of namespace {namespace}" if namespace else ""
                raise UserError(
                    f"no runs{whose} in {self.store}; start one with `boresight run FILE`, or name another --store"
                )
            return newest
        namespace = namespace or "default"
        folder = self.folder(namespace, name)
        record = folder.current()
        if record is None:
            known = ", ".join(f"{r.namespace}/{r.name}" for _, r in self.all()) or "none"
            raise UserError(f"no run {namespace}/{name} in {self.store}; runs there: {known}")
        return folder, record
