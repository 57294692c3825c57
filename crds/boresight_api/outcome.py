"""How a stage ends: exit codes, failure classes, and the document a trainer leaves as its last act."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from .base import API_VERSION, Contract, Digest, Key, ShortText, Uri, operational

MAX_OUTCOME_BYTES = 4096
"""Kubernetes cuts a termination message at 4,096 bytes; every legal outcome fits (a test builds the largest)."""


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


class StageFailure(Exception):
    """An end that the failure table knows. ``message`` is for users: field or row, found, expected, what to do."""

    def __init__(self, failure: FailureClass, message: str, *, step: int | None = None) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message
        self.step = step


class Metric(Contract):
    """One headline number, as a decimal string so that documents hold no floats."""

    name: ShortText = operational()
    """What was measured, in camelCase."""
    value: ShortText = operational()
    """The value as a decimal string."""


class PublishedArtifact(Contract):
    """Where an artifact lies and what its manifest's digest is."""

    uri: Uri = operational()
    """Its place, ``<storage>/artifacts/<key>``."""
    digest: Digest = operational()
    """SHA-256 of its ``manifest.json``."""


class OutcomeStatus(StrEnum):
    """Whether the stage's artifact exists now."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Outcome(Contract):
    """The last thing a stage process writes (KEP-less: Kubernetes' termination message), at most 4,096 bytes of JSON."""

    api_version: ShortText = operational(API_VERSION)
    """Version of this document."""
    status: OutcomeStatus = operational()
    """Succeeded or Failed."""
    stage: ShortText = operational()
    """Name of the stage."""
    key: Key | None = operational(None)
    """Key of the stage; absent for ``prepare``."""
    artifact: PublishedArtifact | None = operational(None)
    """What was published or adopted."""
    metrics: tuple[Metric, ...] = operational((), max_length=16)
    """Headline metrics."""
    failure_class: FailureClass | None = operational(None)
    """Why it failed."""
    message: str | None = operational(None, max_length=1024)
    """What happened, for people."""
    step: int | None = operational(None, ge=0)
    """The last completed optimizer step (or generation batch)."""
