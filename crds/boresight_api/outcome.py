"""How a stage ends: exit codes, failure classes, and the document a trainer leaves as its last act."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, StringConstraints, model_validator

from .base import (
    API_VERSION,
    DECIMAL_PATTERN,
    Contract,
    Digest,
    Key,
    ModelLabel,
    Name,
    StageName,
    SuiteLabel,
    encoded_at_most,
    encoded_size,
    operational,
)
from .pins import MAX_SOURCES, Pin

MAX_OUTCOME_BYTES = 4096
"""Kubernetes cuts a termination message at 4,096 bytes; every legal outcome fits (a test builds the largest)."""

MAX_MESSAGE_BYTES = 1024
"""Of a failure's message, as JSON."""


MAX_OUTCOME_METRICS = 8
MAX_OUTCOME_RESULTS = 14
"""How many headline metrics and lines of an evaluation fit beside the rest."""


class FailureClass(StrEnum):
    """Why an attempt ended; the operator's table says what follows from each."""

    INVALID_CONFIG = "InvalidConfig"
    INVALID_DATA = "InvalidData"
    ERROR = "Error"
    DIVERGED = "Diverged"
    OUT_OF_MEMORY = "OutOfMemory"
    PEER_LOST = "PeerLost"
    HUNG = "Hung"
    INFRASTRUCTURE = "Infrastructure"
    PREEMPTED = "Preempted"
    MISSING_INPUT = "MissingInput"


class ExitCode(IntEnum):
    """The exit codes of a stage process. One table for trainer, operator and CLI."""

    DONE = 0
    INVALID_CONFIG = 64
    INVALID_DATA = 65
    ERROR = 70
    DIVERGED = 71
    OUT_OF_MEMORY = 72
    PEER_LOST = 73
    HUNG = 74
    INFRASTRUCTURE = 75
    PREEMPTED = 76
    MISSING_INPUT = 77

    @property
    def failure_class(self) -> FailureClass | None:
        """None for DONE."""
        return None if self is ExitCode.DONE else FailureClass[self.name]


def exit_code_of(failure: FailureClass) -> ExitCode:
    """The exit code that reports ``failure``."""
    return ExitCode[failure.name]


class StageFailure(Exception):  # noqa: N818 an end of a stage, by the name of the failure table
    """An end that the failure table knows. ``message`` is for users: field or row, found, expected, what to do."""

    def __init__(self, failure: FailureClass, message: str, *, step: int | None = None) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message
        self.step = step


def message_text(text: str, limit: int = MAX_MESSAGE_BYTES) -> str:
    """``text`` fit for a status: no control characters but line ends, and cut in the middle where it is too long.

    The start says what happened and the end of a traceback says where, so both stay.
    """
    clean = "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else " " for c in text).strip()
    if encoded_size(clean) <= limit:
        return clean
    gap = " ... "
    keep = len(clean)
    while encoded_size(cut := clean[: keep - keep // 2] + gap + clean[len(clean) - keep // 2 :]) > limit:
        keep = min(keep - 1, keep * limit // encoded_size(cut))
    return cut


MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z][A-Za-z0-9]*$", min_length=1, max_length=32)]
Number = Annotated[str, StringConstraints(pattern=DECIMAL_PATTERN, min_length=1, max_length=16)]


def number(value: float, digits: int = 6) -> str:
    """``value`` as a contract holds it: a decimal string of at most 16 characters. Raises ValueError if not finite."""
    if not math.isfinite(value):
        raise ValueError(f"found {value}, expected a finite number")
    return f"{value:.{digits}g}"


class Metric(Contract):
    """One headline number, as a decimal string so that documents hold no floats."""

    name: MetricName = operational()
    """What was measured, in camelCase."""
    value: Number = operational()
    """The value as a decimal string (:func:`number`)."""


class SuiteResult(Contract):
    """One line of an evaluation: a measure of the candidate, or its difference to a baseline, with a 95% interval."""

    suite: SuiteLabel = operational()
    """Name of the suite's entry."""
    name: MetricName = operational()
    """What was measured, in camelCase."""
    candidate: ModelLabel = operational()
    """Which model."""
    baseline: ModelLabel = operational("none")
    """Compared with which model; ``none`` for a measure of the candidate alone."""
    value: Number = operational()
    """The value."""
    low: Number | None = operational(None)
    """Lower end of the interval."""
    high: Number | None = operational(None)
    """Upper end of the interval."""
    n: int | None = operational(None, ge=0, le=999_999_999)
    """Judged items."""


class PublishedArtifact(Contract):
    """Where an artifact lies and what its manifest's digest is."""

    uri: Annotated[str, StringConstraints(min_length=1, max_length=480), AfterValidator(encoded_at_most(480))] = (
        operational()
    )
    """Its place, ``<storage>/artifacts/<key>``."""
    digest: Digest = operational()
    """SHA-256 of its ``manifest.json``."""


class StageState(StrEnum):
    """What ``prepare`` found in the store for a stage."""

    MISSING = "Missing"
    PRESENT = "Present"
    CHECKPOINT = "Checkpoint"


class StageFinding(Contract):
    """What the store holds for one stage of the plan."""

    name: StageName = operational()
    """The stage."""
    state: StageState = operational()
    """Missing: nothing; Present: the artifact; Checkpoint: a complete checkpoint to go on from."""
    digest: Digest | None = operational(None)
    """Present: SHA-256 of the artifact's manifest."""
    step: int | None = operational(None, ge=0, le=999_999_999)
    """Checkpoint: completed optimizer steps (or generation batches) of the newest complete one."""
    attempt: int | None = operational(None, ge=0, le=99_999)
    """Highest attempt number among this run's checkpoint folders of the stage, complete or not: never used again."""


class PrepareReport(Contract):
    """What ``prepare`` found: the run's sources pinned, and what of its plan the store holds already."""

    plan: Key = operational()
    """Digest of the plan with these pins (``Plan.digest``). The reader recomputes it and refuses another."""
    pins: tuple[Pin, ...] = operational((), max_length=MAX_SOURCES)
    """One a source, in the order of :func:`boresight_api.plan.sources`."""
    stages: tuple[StageFinding, ...] = operational((), max_length=6)
    """One a keyed stage, in the plan's order."""


class OutcomeStatus(StrEnum):
    """Whether the stage's artifact exists now."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Outcome(Contract):
    """The last thing a stage process writes: Kubernetes' termination message, at most 4,096 bytes of JSON.

    Every legal outcome fits: the bounds of the fields are chosen so, and the validator allows no combination that could
    be longer. :meth:`to_bytes` is the one encoding, :meth:`parse` its inverse.
    """

    api_version: Literal["boresight.dev/v1alpha1"] = operational(API_VERSION)
    """Version of this document."""
    status: OutcomeStatus = operational()
    """Succeeded or Failed."""
    stage: Name = operational()
    """Name of the stage."""
    key: Key | None = operational(None)
    """Key of the stage; absent for ``prepare``."""
    artifact: PublishedArtifact | None = operational(None)
    """Succeeded: what was published or adopted."""
    metrics: tuple[Metric, ...] = operational((), max_length=MAX_OUTCOME_METRICS)
    """Headline metrics."""
    results: tuple[SuiteResult, ...] = operational((), max_length=MAX_OUTCOME_RESULTS)
    """Evaluation, succeeded: the first lines of its results; all of them are in the artifact's results.json."""
    prepare: PrepareReport | None = operational(None)
    """Prepare, succeeded: what it found."""
    failure_class: FailureClass | None = operational(None)
    """Failed: why."""
    message: Annotated[str, AfterValidator(encoded_at_most(MAX_MESSAGE_BYTES))] | None = operational(None)
    """Failed: what happened, for people (:func:`message_text` makes any text fit)."""
    step: int | None = operational(None, ge=0, le=999_999_999)
    """The last completed optimizer step (or generation batch)."""

    @model_validator(mode="after")
    def _is_one_of_the_legal_shapes(self) -> Outcome:
        failed = self.status is OutcomeStatus.FAILED
        if failed != (self.failure_class is not None):
            raise ValueError("failureClass is present if and only if status is Failed")
        if failed and (self.artifact or self.results or self.prepare):
            raise ValueError("a failed outcome has no artifact, results or prepare")
        if not failed and self.message is not None:
            raise ValueError("message is for failures")
        if self.prepare and (self.key or self.artifact or self.metrics or self.results or self.step is not None):
            raise ValueError("prepare has no key, artifact, metrics, results or step")
        return self

    def to_bytes(self) -> bytes:
        """The document, with its tables as rows without field names: ``[["Pairwise","winRate","policy",...],...]``."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        for holder, field, row in _tables(document):
            holder[field] = [_as_row(item, row) for item in holder[field]]
        return json.dumps(_without_empty(document), separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def parse(cls, data: bytes) -> Outcome:
        """The outcome in ``data``. Raises ValueError (pydantic's among them) if it is none."""
        if len(data) > MAX_OUTCOME_BYTES:
            raise ValueError(f"found {len(data)} bytes, expected at most {MAX_OUTCOME_BYTES}")
        document = json.loads(data)
        if not isinstance(document, dict):
            raise ValueError(f"found {type(document).__name__}, expected an object")  # noqa: TRY004 one kind of error
        for holder, field, row in _tables(document):
            holder[field] = [_from_row(item, row) for item in holder[field]]
        return cls.model_validate(document)


def _tables(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, type[Contract]]]:
    """The lists of an outcome document that travel as rows: (holder, field, model of an item)."""
    if isinstance(document.get("results"), list):
        yield document, "results", SuiteResult
    prepare = document.get("prepare")
    if isinstance(prepare, dict):
        for field, row in (("pins", Pin), ("stages", StageFinding)):
            if isinstance(prepare.get(field), list):
                yield prepare, field, row


def _as_row(item: dict[str, Any], model: type[Contract]) -> list[Any]:
    """The values of ``item`` in the order of the model's fields, without absent ones at the end."""
    row = [item.get(field.alias or name) for name, field in model.model_fields.items()]
    while row and row[-1] is None:
        row.pop()
    return row


def _from_row(row: object, model: type[Contract]) -> dict[str, Any]:
    fields = [field.alias or name for name, field in model.model_fields.items()]
    if not isinstance(row, list) or len(row) > len(fields):
        raise ValueError(f"expected a row of at most {len(fields)} values for {model.__name__}")
    return {name: value for name, value in zip(fields, row, strict=False) if value is not None}


def _without_empty(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value != []}
