"""``stage.json`` and ``prepare.json``: what a process is given. One stage, complete, and where it runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import JsonValue, StringConstraints, model_validator

from .base import (
    API_VERSION,
    Contract,
    Key,
    Name,
    ShortText,
    StoreUri,
    Uri,
    operational,
)
from .pins import MAX_SOURCES, Pin
from .stages import StageConfig


class RunReference(Contract):
    """The object a stage belongs to."""

    kind: ShortText = operational()
    """AlignmentRun, FeedbackSynthesis or EvalRun."""
    namespace: ShortText = operational("default")
    """Namespace."""
    name: ShortText = operational()
    """Name."""
    uid: ShortText = operational()
    """UID; locally a hash of the manifest's path."""


LocalPath = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class ReadStore(Contract):
    """A further store in which artifacts are looked for, and with whose credentials sources below it are read."""

    uri: StoreUri = operational()
    """Its root."""
    endpoint: Uri | None = operational(None)
    """S3 endpoint; absent: AWS."""
    credentials: LocalPath | None = operational(None)
    """Folder with files named as the variables that they stand for (``AWS_ACCESS_KEY_ID``, ...); absent: none."""


class StagePart(StrEnum):
    """How much of a stage a process does. Batches depend on no other batch, so several processes can share them."""

    WHOLE = "Whole"
    """All of it."""
    SHARD = "Shard"
    """Every ``shards``-th batch, beginning with that of ``JOB_COMPLETION_INDEX``; publishes nothing."""
    MERGE = "Merge"
    """Publishes the artifact from the batches of all shards; loads no weights."""


class Execution(Contract):
    """Where and how a stage runs. Nothing here enters a key."""

    storage: StoreUri = operational()
    """Root of the store, such as ``file:///home/me/.local/share/boresight/store``."""
    read_from: tuple[ReadStore, ...] = operational((), max_length=8)
    """Further stores that inputs may come from, in this order; nothing is ever written there."""
    attempt: int = operational(1, ge=1)
    """Number of this attempt."""
    token_budget: int | Literal["Auto"] = operational("Auto")
    """Tokens of one micro-batch; Auto chooses from the memory plan."""
    token_budget_halvings: int = operational(0, ge=0, le=8)
    """How often the budget is halved: once after an attempt ran out of memory. Same steps, same key."""
    checkpoint_every_seconds: int = operational(600, ge=1)
    """Longest time between checkpoints."""
    checkpoints_keep: int = operational(2, ge=1)
    """How many checkpoints stay."""
    grace_period_seconds: int = operational(30, ge=1)
    """From SIGTERM to SIGKILL."""
    progress_port: int | None = operational(None, ge=0, le=65535)
    """Port of /metrics and /progress; 0: any free port; absent: none."""
    progress_file: LocalPath | None = operational(None)
    """Local runs: file that is replaced with the /progress document whenever it changes."""
    outcome_file: LocalPath = operational("/dev/termination-log")
    """Where the outcome is written."""
    shards: int = operational(1, ge=1, le=1024)
    """Independent processes that share the batches of a synthesis or an evaluation."""
    part: StagePart = operational(StagePart.WHOLE)
    """Which part of the stage this process does."""
    cluster: Name = operational("local")
    """Name of the cluster in the store's refs, which keep artifacts of runs elsewhere from garbage collection."""

    @model_validator(mode="after")
    def _one_process_does_all(self) -> Execution:
        if (self.part is StagePart.WHOLE) != (self.shards == 1):
            raise ValueError(
                f"part: found {self.part} with shards {self.shards}, expected Whole if and only if it is 1"
            )
        return self


class Stage(Contract):
    """``stage.json``: one stage, complete."""

    api_version: Literal["boresight.dev/v1alpha1"] = operational(API_VERSION)
    """Version of this document."""
    kind: Literal["Stage"] = operational("Stage")
    """Always Stage."""
    run: RunReference = operational()
    """Whose stage."""
    name: ShortText = operational()
    """warm-start, feedback-model, synthesis, policy or evaluation."""
    recipe_version: int = operational(ge=1)
    """Version of the recipe that the configuration names."""
    key: Key = operational()
    """The key the plan computed; the trainer recomputes it and refuses if it differs."""
    config: StageConfig = operational()
    """What to compute."""
    execution: Execution = operational()
    """Where and how."""


class Prepare(Contract):
    """``prepare.json``: the stage before all others, which has no key. Its outcome carries a ``PrepareReport``.

    It parses the manifest, pins what is not pinned, makes the plan, checks the data that the plan reads, probes the
    store, and says which of the plan's artifacts and checkpoints exist.
    """

    api_version: Literal["boresight.dev/v1alpha1"] = operational(API_VERSION)
    """Version of this document."""
    kind: Literal["Prepare"] = operational("Prepare")
    """Always Prepare."""
    run: RunReference = operational()
    """Whose stage."""
    manifest: dict[str, JsonValue] = operational()
    """The run: ``apiVersion``, ``kind``, ``metadata`` and ``spec``, as ``parse_manifest`` takes it."""
    pins: tuple[Pin, ...] = operational((), max_length=MAX_SOURCES)
    """Pins of an earlier ``prepare`` that still hold; their sources are verified, not pinned anew."""
    recipe: ShortText | None = operational(None)
    """Recipe of the first plan; it counts where the manifest names none."""
    execution: Execution = operational()
    """Where and how."""
