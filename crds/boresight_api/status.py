"""The status of a run: what the operator (or a local run) observed. Reconstructible from the store and the cluster."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from .base import Contract, Digest, Key, StageName, operational
from .outcome import FailureClass, Metric, PublishedArtifact, SuiteResult
from .pins import MAX_SOURCES, Licence, Revision, SourceId
from .sources import SourceUri
from .spec import Algorithm, Feedback

Reason = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=128)]
Message = Annotated[str, StringConstraints(max_length=4096)]
Time = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$", max_length=32
    ),
]
Uid = Annotated[str, StringConstraints(pattern=r"^[-A-Za-z0-9]*$", min_length=1, max_length=64)]
Count = 2**31 - 1
MAX_PHASE_BYTES = 64
PhaseName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PHASE_BYTES)]
TRAIN = "train"
"""The phase of a stage whose steps are optimizer steps, which are what its checkpoints count."""


class ConditionStatus(StrEnum):
    """Of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Contract):
    """One aspect of a run, as Kubernetes' API conventions have it."""

    type: Reason = operational()
    """Accepted, Reconciling, Stalled, Suspended, Succeeded, ProgressAvailable."""
    status: ConditionStatus = operational()
    """Whether it holds."""
    reason: Reason = operational()
    """Why, for programs."""
    message: Message = operational("")
    """Why, for people."""
    last_transition_time: Time = operational()
    """When ``status`` last changed."""
    observed_generation: int | None = operational(None, ge=0, le=2**53)
    """Generation of the spec that this was decided on."""


class SourceStatus(Contract):
    """A source of the run, pinned. The pin holds until uri, revision or files change."""

    id: SourceId = operational()
    """Identity of the source."""
    name: Annotated[str, StringConstraints(max_length=32)] = operational()
    """Its first role, such as ``model`` or ``feedback-2``."""
    uri: SourceUri = operational()
    """Where it is read from."""
    revision: Revision | None = operational(None)
    """The commit that was read."""
    digest: Digest | None = operational(None)
    """What was read."""
    key: Key | None = operational(None)
    """For a tag: the artifact that it named."""
    rows: int | None = operational(None, ge=0, le=999_999_999_999)
    """Valid rows, for data."""
    licence: Licence | None = operational(None)
    """Licence as the source states it."""


class StageStateName(StrEnum):
    """Where a stage is in its life."""

    UNKNOWN = "Unknown"
    PENDING = "Pending"
    WAITING = "Waiting"
    STARTING = "Starting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    CACHED = "Cached"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class AttemptStatus(Contract):
    """An attempt that is over."""

    attempt: int = operational(ge=0, le=99_999)
    """Its number; never used again."""
    failure_class: FailureClass | None = operational(None)
    """Why it ended; absent if it succeeded or was stopped."""
    reason: Reason | None = operational(None)
    """What ended it, more closely."""
    message: Message | None = operational(None)
    """What happened, for people."""
    rank: int | None = operational(None, ge=0, le=65_535)
    """The rank at fault."""
    node: Annotated[str, StringConstraints(max_length=253)] | None = operational(None)
    """The node of that rank."""
    steps_gained: int | None = operational(None, ge=0, le=999_999_999)
    """Steps that a later attempt does not repeat."""
    start_time: Time | None = operational(None)
    """When it started to run."""
    end_time: Time | None = operational(None)
    """When it ended."""


class StageStatus(Contract):
    """One stage of the plan."""

    name: StageName = operational()
    """The stage."""
    key: Key | None = operational(None)
    """Its key; absent until its sources are pinned."""
    state: StageStateName = operational()
    """Where it is in its life."""
    reason: Reason | None = operational(None)
    """Why it is there."""
    message: Message | None = operational(None)
    """Why, for people."""
    since: Time | None = operational(None)
    """Since when it is there for that reason; back-off and ``timeouts.startSeconds`` count from here."""
    attempt: int | None = operational(None, ge=0, le=99_999)
    """Number of the present (or last) attempt."""
    compute: Key | None = operational(None)
    """Digest of the compute that the present attempt was started with; another one is used by its next attempt."""
    job_uid: Uid | None = operational(None, alias="jobUID")
    """Job of the present attempt."""
    resumed_from_step: int | None = operational(None, ge=0, le=999_999_999)
    """Where the present attempt went on."""
    preemptions: int | None = operational(None, ge=0, le=Count)
    """How often it lost its place to somebody else."""
    infrastructure_retries: int | None = operational(None, ge=0, le=Count)
    """Charged to ``retry.infrastructure``, at the present key."""
    error_retries: int | None = operational(None, ge=0, le=Count)
    """Charged to ``retry.error``, at the present key."""
    out_of_memory_retries: int | None = operational(None, ge=0, le=Count)
    """Attempts with a halved token budget, at the present key."""
    missing_input_retries: int | None = operational(None, ge=0, le=Count)
    """How often an input was missing and made again, at the present key."""
    device_seconds: int | None = operational(None, ge=0, le=2**53)
    """Devices times seconds of all attempts that ended."""
    queued_seconds: int | None = operational(None, ge=0, le=Count)
    """Time between wanting to run and running."""
    running_since: Time | None = operational(None)
    """Since when the present attempt runs; absent while it waits."""
    running_seconds: int | None = operational(None, ge=0, le=Count)
    """Running time at the present key that ended before ``runningSince``; ``timeouts.stageSeconds`` counts both."""
    start_time: Time | None = operational(None)
    """When it first ran."""
    completion_time: Time | None = operational(None)
    """When it ended for good."""
    artifact: PublishedArtifact | None = operational(None)
    """What it published or adopted."""
    metrics: tuple[Metric, ...] = operational((), max_length=8)
    """Headline metrics."""
    history: tuple[AttemptStatus, ...] = operational((), max_length=10)
    """The last ten attempts that are over, oldest first."""


class StageProgress(Contract):
    """How far a running stage is, as its rank 0 says. No decision depends on it."""

    name: StageName = operational()
    """The stage."""
    attempt: int = operational(ge=0, le=99_999)
    """Which attempt says so."""
    pod_uid: Uid = operational(alias="podUID")
    """Which pod says so."""
    phase: PhaseName | None = operational(None)
    """What it is at. Training: ``train``; before that DPO scores its pairs, in ``reference``."""
    step: int = operational(ge=0, le=999_999_999)
    """Steps of that phase: optimizer steps of ``train``, packs of ``reference``, items elsewhere."""
    total_steps: int = operational(ge=0, le=999_999_999)
    """Of how many."""
    updated_time: Time = operational()
    """When it said so."""


class RunStatus(Contract):
    """What is. Scalars are for columns; lists have one owner each."""

    observed_generation: int | None = operational(None, ge=-1, le=2**53)
    """Generation of the spec that the conditions were decided on; -1: the operator has not looked at the run yet."""
    recipe: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,5}$", max_length=6)] | None = operational(None)
    """Recipe version of the run's first plan."""
    plan: Key | None = operational(None)
    """Digest of the present plan."""
    prepared: Key | None = operational(None)
    """Digest of what the last ``prepare`` was asked: plan, storage, hub and the annotation ``boresight.dev/retry``."""
    store: Key | None = operational(None)
    """Digest of the store (place and endpoint) that the stages' states speak of."""
    retry: Annotated[str, StringConstraints(max_length=256)] | None = operational(None)
    """Value of the annotation ``boresight.dev/retry`` that was last acted on."""
    feedback: Feedback | None = operational(None)
    """The method's feedback, with the recipe's default."""
    algorithm: Algorithm | None = operational(None)
    """The method's algorithm, with the recipe's default."""
    stage: StageName | None = operational(None)
    """The stage at work."""
    device_seconds: int | None = operational(None, ge=0, le=2**53)
    """Devices times seconds, over all stages."""
    queued_seconds: int | None = operational(None, ge=0, le=Count)
    """Time spent waiting for a place, over all stages."""
    key_metric: Annotated[str, StringConstraints(max_length=64)] | None = operational(None)
    """The one number to look at first."""
    percent: int | None = operational(None, ge=0, le=100)
    """How far the stage at work is in its present phase."""
    remaining_seconds: int | None = operational(None, ge=0, le=Count)
    """How long the present phase of the stage at work will take yet."""
    conditions: tuple[Condition, ...] = operational((), max_length=16, list_keys=("type",))
    """Accepted, Reconciling, Stalled, Suspended, Succeeded, ProgressAvailable."""
    sources: tuple[SourceStatus, ...] = operational((), max_length=MAX_SOURCES, list_keys=("id",))
    """What is read from outside, pinned."""
    stages: tuple[StageStatus, ...] = operational((), max_length=8, list_keys=("name",))
    """The plan's stages, in order."""
    progress: tuple[StageProgress, ...] = operational((), max_length=8, list_keys=("name",))
    """Progress of running stages."""
    results: tuple[SuiteResult, ...] = operational(
        (), max_length=14, list_keys=("suite", "name", "candidate", "baseline")
    )
    """First lines of the evaluation's results."""
