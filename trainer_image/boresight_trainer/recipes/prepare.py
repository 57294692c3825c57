"""prepare: the eyes of a run. Pins its sources, checks its data, probes its store, finds finished work. No torch.

It has no key and publishes nothing; its outcome carries what it found. It runs again whenever somebody wants to know.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from boresight_api.enums import SftTarget, SuiteName
from boresight_api.execution import Prepare
from boresight_api.kinds import Run
from boresight_api.manifest import parse_manifest
from boresight_api.outcome import (
    ExitCode,
    FailureClass,
    Outcome,
    OutcomeStatus,
    PrepareReport,
    StageFailure,
    StageFinding,
    StageState,
    exit_code_of,
    message_text,
)
from boresight_api.pins import Pin, Source
from boresight_api.plan import Plan, plan, sources
from boresight_api.problems import ProblemsError
from boresight_api.stages import (
    AnyConfig,
    DataInput,
    DpoConfig,
    EvaluateConfig,
    HoldoutSplit,
    ModelInput,
    SftConfig,
    SynthesisConfig,
    inputs_of,
)
from pydantic import ValidationError

from ..data import mixture
from ..data.instructions.verifiers import check_constraints
from ..data.uses import Use
from ..models.chat import ChatTokenizer
from ..store.base import Artifacts, Store, StoredFile
from ..store.buckets import Buckets
from ..store.digests import DigestCache
from ..store.inputs import Inputs
from ..store.kept_log import keeping
from ..store.open import open_library
from ..store.pins import pin
from ..store.references import write_refs
from ..store.trust import trust_own_authorities
from ..telemetry.logs import set_up as set_up_logs

log = logging.getLogger(__name__)

STAGE_NAME = "prepare"

_LOADERS: dict[Use, Callable[..., mixture.Rows[Any]]] = {
    Use.PROMPTS: mixture.load_prompts,
    Use.DEMONSTRATIONS: mixture.load_demonstrations,
    Use.FEEDBACK: mixture.load_feedback,
    Use.PREFERENCES: mixture.load_preferences,
}


def add_prepare_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``prepare`` to the trainer's commands."""
    parser = commands.add_parser("prepare", help="pin a run's sources, check its data, look into its store")
    parser.add_argument("document", type=Path, metavar="PREPARE.JSON")
    parser.set_defaults(command=lambda options: run_prepare(options.document))


def run_prepare(path: Path) -> int:
    """Do what the document at ``path`` says; write the outcome; return the exit code."""
    set_up_logs()
    try:
        document = Prepare.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        log.error("%s: %s", path, error)  # noqa: TRY400 the fault is the document's, a traceback says nothing
        return ExitCode.INVALID_CONFIG
    with keeping(document.execution, document.run, STAGE_NAME):
        set_up_logs()
        return _run(document)


def _run(document: Prepare) -> int:
    outcome = _outcome(document)
    outcome_file = Path(document.execution.outcome_file)
    outcome_file.parent.mkdir(parents=True, exist_ok=True)
    outcome_file.write_bytes(outcome.to_bytes())
    if outcome.failure_class is None:
        return ExitCode.DONE
    log.error("%s: %s", outcome.failure_class, outcome.message)
    return exit_code_of(outcome.failure_class)


def prepare(document: Prepare, *, cache: Path | None = None) -> PrepareReport:
    """What the run's plan is, and what of it exists. ``cache`` as in :class:`Inputs`.

    Raises :class:`StageFailure` for the first thing that would make a later stage fail.
    """
    library = open_library(document.execution, cache=cache)
    store = library.own
    store.probe()
    run, wanted = _parsed(document.manifest)
    held = {earlier.id: earlier for earlier in document.pins}
    buckets, digests = Buckets(document.execution), DigestCache(cache)
    pins = {source.id: _pin(source, held.get(source.id), library, buckets, digests) for source in wanted}
    made = plan(run, pins, recipe=document.recipe)
    inputs = Inputs(library, cache, buckets)
    _check_models(made, inputs)
    rows = _check_data(made, inputs)
    pins = {identity: _with_rows(found, rows) for identity, found in pins.items()}
    keys = {stage.name: _known(stage.name, stage.key) for stage in made.stages}
    cluster, reference = document.execution.cluster, document.run
    write_refs(
        store, cluster=cluster, namespace=reference.namespace, run=reference.uid, stages=keys, label=reference.name
    )
    return PrepareReport(
        plan=_known("the plan", made.digest),
        pins=tuple(pins[source.id] for source in made.sources),
        stages=tuple(_finding(store, name, key, document.run.uid) for name, key in keys.items()),
    )


def _outcome(document: Prepare) -> Outcome:
    try:
        trust_own_authorities()
        return Outcome(status=OutcomeStatus.SUCCEEDED, stage=STAGE_NAME, prepare=prepare(document))
    except StageFailure as failure:
        return _failed(failure.failure, failure.message)
    except OSError as error:
        log.exception("input or output failed")
        return _failed(FailureClass.INFRASTRUCTURE, f"{type(error).__name__}: {error}")
    except Exception as error:
        log.exception("prepare failed")
        return _failed(FailureClass.ERROR, f"{type(error).__name__}: {error}")


def _failed(failure: FailureClass, message: str) -> Outcome:
    return Outcome(status=OutcomeStatus.FAILED, stage=STAGE_NAME, failure_class=failure, message=message_text(message))


def _parsed(manifest: Mapping[str, Any]) -> tuple[Run, Sequence[Source]]:
    try:
        run = parse_manifest(manifest)
        return run, sources(run)
    except ProblemsError as error:
        raise StageFailure(FailureClass.INVALID_CONFIG, str(error)) from error


# -- sources ---------------------------------------------------------------------------------------------------------


def _pin(source: Source, held: Pin | None, artifacts: Artifacts, buckets: Buckets, digests: DigestCache) -> Pin:
    """The pin of a source; what the manifest says, or an earlier pin where it says nothing, must still be true."""
    if held is not None and held.key is not None:
        return held  # a tag is resolved once, like a revision
    revision = source.revision if held is None or held.revision is None else held.revision
    found = pin(
        source.uri, revision=revision, files=source.files, store=artifacts, buckets=buckets, cache=digests
    ).model_copy(update={"id": source.id})
    says, expected = ("the manifest", source.digest) if source.digest else ("the first plan", held and held.digest)
    if expected is not None and found.digest is not None and found.digest != expected:
        raise StageFailure(
            FailureClass.INVALID_DATA,
            f"{source.name}: {source.uri}: found {found.digest}, {says} says {expected}: the source changed. "
            "Restore it; or, if the change is meant, name another uri or revision, or run `boresight pin --update`",
        )
    return found


def _with_rows(found: Pin, rows: Mapping[str, int]) -> Pin:
    identity = found.key or found.digest
    return found.model_copy(update={"rows": rows.get(identity)}) if identity else found


def _check_models(made: Plan, inputs: Inputs) -> None:
    """Every model that lies here already can be talked to: it has a tokenizer and a chat template."""
    checked: set[tuple[str | None, ...]] = set()
    for stage in made.stages:
        for role, value in inputs_of(stage.config):
            if not isinstance(value, ModelInput) or value.key is not None or not value.uri.startswith("file:"):
                continue
            identity = (value.uri, value.chat_template, value.system_prompt)
            if identity not in checked:
                checked.add(identity)
                ChatTokenizer.from_folder(
                    inputs.path(value),
                    chat_template=value.chat_template,
                    system_prompt=value.system_prompt,
                    name=f"{role} {value.uri}",
                )


# -- data ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataRead:
    """One reading of data by one stage."""

    use: Use
    data: tuple[DataInput, ...]
    holdout: HoldoutSplit | None
    seed: int
    max_invalid_percent: Decimal
    suite: str | None = None
    """Name of the suite whose verifiers read the prompts' constraints."""


def data_reads(config: AnyConfig) -> Iterator[DataRead]:
    """What rows a stage reads, and as what."""
    if isinstance(config, SftConfig):
        use = Use.FEEDBACK if config.target is SftTarget.CRITIQUE else Use.DEMONSTRATIONS
        yield DataRead(use, config.data, config.holdout, config.seed, config.max_invalid_percent)
    elif isinstance(config, SynthesisConfig):
        yield DataRead(Use.PROMPTS, config.prompts, config.holdout, config.seed, config.max_invalid_percent)
    elif isinstance(config, DpoConfig):
        yield DataRead(Use.PREFERENCES, config.data, config.holdout, config.seed, config.max_invalid_percent)
    elif isinstance(config, EvaluateConfig):
        for suite in config.suites:
            use = Use.FEEDBACK if suite.suite is SuiteName.HOLDOUT else Use.PROMPTS
            verified = suite.name if suite.suite is SuiteName.VERIFIABLE else None
            yield DataRead(use, suite.data, suite.holdout, config.seed, config.max_invalid_percent, verified)


def _check_data(made: Plan, inputs: Inputs) -> dict[str, int]:
    """Read everything that any stage will read, as it will read it. Returns valid rows by digest or key of the input.

    Where several stages read an input, its rows are those of the first.
    """
    rows: dict[str, int] = {}
    done: list[DataRead] = []
    for stage in made.stages:
        for read in data_reads(stage.config):
            if not read.data or read in done:
                continue
            done.append(read)
            loaded = _load(stage.name, read, inputs)
            for value, counts in zip(read.data, loaded.sources, strict=True):
                rows.setdefault(value.key or value.digest or value.uri, counts.valid)
    return rows


def _load(stage: str, read: DataRead, inputs: Inputs) -> mixture.Rows[Any]:
    try:
        rows = _LOADERS[read.use](
            read.data,
            holdout=read.holdout,
            seed=read.seed,
            max_invalid_percent=read.max_invalid_percent,
            resolve=inputs.path,
        )
        if read.suite is not None:
            check_constraints(f'suite "{read.suite}"', rows.train if read.holdout is None else rows.holdout)
        return rows
    except StageFailure as failure:
        raise StageFailure(failure.failure, f"{stage}: {read.use}: {failure.message}") from failure


# -- the store -------------------------------------------------------------------------------------------------------


def _finding(store: Store, name: str, key: str, run: str) -> StageFinding:
    """What the store has for a stage. Reads manifests only: content is verified by the stage that uses it."""
    files = [CheckpointFile.parse(file) for file in store.checkpoint_files(key)]
    own = [int(number) for f in files if (number := f.attempt.removeprefix(f"{run[:8]}-")).isdigit()]
    attempt = max(own, default=None)
    if store.finished(key) is not None:
        return StageFinding(name=name, state=StageState.PRESENT, digest=store.digest(key), attempt=attempt)
    step = _newest_step(store, files)
    state = StageState.MISSING if step is None else StageState.CHECKPOINT
    return StageFinding(name=name, state=state, step=step, attempt=attempt)


@dataclass(frozen=True)
class CheckpointFile:
    """A file that an attempt kept: ``checkpoints/<key>/<attempt>/<path>``."""

    name: str
    attempt: str
    path: str

    @classmethod
    def parse(cls, file: StoredFile) -> CheckpointFile:
        """From its name in the store."""
        _, _, attempt, path = file.name.split("/", 3)
        return cls(file.name, attempt, path)


def _newest_step(store: Store, files: Sequence[CheckpointFile]) -> int | None:
    """Completed optimizer steps of the newest complete checkpoint, or the number of finished generation batches."""
    states = [file for file in files if fnmatchcase(file.path, "step-*/state.json")]
    steps = [step for state in states if (step := _step(state.name, store.read(state.name))) is not None]
    batches = {file.path for file in files if "/" not in file.path and file.path.endswith(".jsonl")}
    return max(steps, default=len(batches) or None)


def _step(name: str, state: bytes | None) -> int | None:
    """None for a checkpoint that a power cut tore: the stage passes over it, too."""
    try:
        return int(json.loads(state or b"")["step"])
    except (ValueError, KeyError, TypeError):
        log.warning("%s is damaged and passed over", name)
        return None


def _known(what: str, value: str | None) -> str:
    if value is None:
        raise StageFailure(FailureClass.ERROR, f"{what}: found no key although every source is pinned")
    return value
