"""Builders for the command line's tests: manifests, a launcher without processes, finished artifacts, results files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from boresight.local.attempt import AttemptFolder, Process
from boresight.manifests import Manifest, read_manifest
from boresight_api.artifact import ArtifactKind, ArtifactManifest
from boresight_api.base import semantic_form
from boresight_api.execution import Prepare, Stage
from boresight_api.manifest import parse_manifest
from boresight_api.outcome import (
    ExitCode,
    FailureClass,
    Metric,
    Outcome,
    OutcomeStatus,
    PrepareReport,
    StageFinding,
    StageState,
    exit_code_of,
)
from boresight_api.plan import plan, sources
from boresight_trainer.store.base import describe_files
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.pins import pin

KINDS = {
    "sft": ArtifactKind.MODEL,
    "dpo": ArtifactKind.MODEL,
    "synthesize": ArtifactKind.PAIRS,
    "evaluate": ArtifactKind.EVALUATION,
}

MANIFEST = """\
# a comment that stays
apiVersion: boresight.dev/v1alpha1
kind: AlignmentRun
metadata:
  name: {name}
spec:
  task: TextToText
  model: {{uri: embedded://tiny}}
  data:
    feedback:
    - uri: file:feedback.jsonl  # mine
      format: Jsonl
      columns: {{prompt: prompt, response: response, critique: critique}}
{more}"""


def a_manifest_file(folder: Path, name: str = "first", more: str = "", rows: int = 60) -> Path:
    """``<name>.yaml`` beside ``feedback.jsonl``; ``more`` is further YAML below ``spec``, indented by two."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "feedback.jsonl").open("w") as file:
        for i in range(rows):
            row = {"prompt": f"Name {i + 2} rivers.", "response": "The Nile.", "critique": "It names one river only."}
            file.write(json.dumps(row) + "\n")
    path = folder / f"{name}.yaml"
    path.write_text(MANIFEST.format(name=name, more=more))
    return path


def a_manifest(folder: Path, name: str = "first", more: str = "") -> Manifest:
    """The same, read."""
    return read_manifest(a_manifest_file(folder, name, more))


def publish(store: FileStore, stage: Stage, files: Mapping[str, str] | None = None, **metrics: Any) -> None:
    """An artifact for ``stage`` as the trainer would have published it."""
    with store.staging(stage.key) as output:
        for name, text in (files or {"weights.txt": stage.name}).items():
            (output / name).write_text(text)
        manifest = ArtifactManifest(
            kind=KINDS[stage.config.recipe],
            key=stage.key,
            stage=stage.name,
            recipe=f"{stage.config.recipe}/{stage.recipe_version}",
            config=semantic_form(stage.config),
            files=describe_files(output),
            metrics=metrics,
            environment={"versions": {"boresight": "0.1.0"}, "machine": "x86_64", "cpus": 2},
            created_at="2026-11-22T00:00:00Z",
            wall_seconds=12,
        )
        store.publish(stage.key, output, manifest)


@dataclass
class FakeProcess:
    """Ends after ``polls`` looks with ``exit_code``; ``act`` is what it does before that."""

    exit_code: int = 0
    polls: int = 1
    act: Callable[[], None] = lambda: None
    on_signal: Callable[[str], int | None] = lambda _: None
    """Exit code that a signal leads to; None: it goes on."""

    def wait(self, seconds: float) -> int | None:
        self.polls -= 1
        if self.polls > 0:
            return None
        self.act()
        return self.exit_code

    def signal(self, name: Literal["TERM", "KILL"]) -> None:
        code = self.on_signal(name)
        if code is not None:
            self.exit_code, self.polls, self.act = code, 0, lambda: None


Behaviour = Callable[[Stage, AttemptFolder], Process]


@dataclass
class FakeLauncher:
    """Does what a trainer does at its edges, in this process: reads the document, publishes, leaves an outcome.

    ``behaviour[stage name]`` replaces a stage's success; ``started`` lists the names of what was started.
    """

    behaviour: dict[str, Behaviour] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    warmed: bool = False
    prepare_failure: tuple[FailureClass, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def warm_up(self) -> None:
        self.warmed = True

    def is_warm(self, seconds: float) -> bool:
        return True

    def prepare(self, folder: AttemptFolder) -> Process:
        self.started.append("prepare")
        document = Prepare.model_validate_json(folder.document.read_bytes())
        if self.prepare_failure is not None:
            failure, message = self.prepare_failure
            leave(folder, Outcome(status=OutcomeStatus.FAILED, stage="prepare", failure_class=failure, message=message))
            return FakeProcess(int(exit_code_of(failure)))
        run = parse_manifest(document.manifest)
        store = FileStore(document.execution.storage)
        held = {p.id: p for p in document.pins}
        pins = {
            s.id: held.get(s.id) or pin(s.uri, revision=s.revision, files=s.files).model_copy(update={"id": s.id})
            for s in sources(run)
        }
        made = plan(run, pins, recipe=document.recipe)
        assert made.digest is not None
        findings = tuple(
            StageFinding(
                name=stage.name,
                state=StageState.PRESENT if store.manifest(str(stage.key)) else StageState.MISSING,
                digest=store.digest(str(stage.key)),
            )
            for stage in made.stages
        )
        report = PrepareReport(plan=made.digest, pins=tuple(pins.values()), stages=findings)
        leave(folder, Outcome(status=OutcomeStatus.SUCCEEDED, stage="prepare", prepare=report))
        return FakeProcess()

    def stage(self, folder: AttemptFolder) -> Process:
        stage = Stage.model_validate_json(folder.document.read_bytes())
        self.started.append(stage.name)
        self.stages.append(stage)
        return self.behaviour.get(stage.name, succeeds)(stage, folder)


def leave(folder: AttemptFolder, outcome: Outcome) -> None:
    """Write the outcome as a stage's last act."""
    folder.outcome.write_bytes(outcome.to_bytes())


def succeeds(stage: Stage, folder: AttemptFolder) -> Process:
    """Publishes and says so."""

    def act() -> None:
        store = FileStore(stage.execution.storage)
        files = {"results.json": json.dumps(a_results_document())} if stage.config.recipe == "evaluate" else None
        publish(store, stage, files, headline={"holdoutLoss": "1.2"})
        outcome = Outcome(
            status=OutcomeStatus.SUCCEEDED,
            stage=stage.name,
            key=stage.key,
            artifact={"uri": store.artifact_uri(stage.key), "digest": store.digest(stage.key)},
            metrics=(Metric(name="holdoutLoss", value="1.2"),),
        )
        leave(folder, outcome)

    return FakeProcess(act=act)


def fails(failure: FailureClass, message: str, *, times: int = 1_000) -> Behaviour:
    """Fails ``times`` times, then succeeds."""
    left = [times]

    def behave(stage: Stage, folder: AttemptFolder) -> Process:
        if left[0] == 0:
            return succeeds(stage, folder)
        left[0] -= 1
        outcome = Outcome(
            status=OutcomeStatus.FAILED, stage=stage.name, key=stage.key, failure_class=failure, message=message, step=3
        )
        leave(folder, outcome)
        return FakeProcess(int(exit_code_of(failure)))

    return behave


def dies(exit_code: int, log: str = "") -> Behaviour:
    """Ends without an outcome."""

    def behave(stage: Stage, folder: AttemptFolder) -> Process:
        folder.log.write_text(log)
        return FakeProcess(exit_code)

    return behave


def never_ends(on_poll: Callable[[], None], *, listens: bool = True) -> Behaviour:
    """Runs until it is signalled; with ``listens`` a SIGTERM makes it leave its checkpoint and end as Preempted."""

    def behave(stage: Stage, folder: AttemptFolder) -> Process:
        class Endless(FakeProcess):
            def wait(self, seconds: float) -> int | None:
                if self.polls == 0:
                    return self.exit_code
                on_poll()
                return None

        def on_signal(name: str) -> int | None:
            if name == "KILL":
                return -9
            if not listens:
                return None
            outcome = Outcome(
                status=OutcomeStatus.FAILED,
                stage=stage.name,
                key=stage.key,
                failure_class=FailureClass.PREEMPTED,
                message="stopped on request after step 3 of 9",
                step=3,
            )
            leave(folder, outcome)
            return int(ExitCode.PREEMPTED)

        return Endless(on_signal=on_signal)

    return behave


def a_results_document(
    shares: Mapping[str, tuple[float, float, float]] | None = None,
    gains: Mapping[str, tuple[float, float, float]] | None = None,
    *,
    comparison: str = "sha256:" + "c" * 64,
    unfit: tuple[str, ...] = (),
) -> dict[str, Any]:
    """``results.json`` of a Verifiable suite; candidate ``policy``."""
    shares = shares or {"initial": (0.29, 0.22, 0.36), "warm-start": (0.48, 0.40, 0.56), "policy": (0.57, 0.49, 0.65)}
    gains = gains or {"initial": (0.28, 0.2, 0.36), "warm-start": (0.09, 0.02, 0.16)}
    scores: dict[str, Any] = {"alias": "Verifiable"}

    def add(name: str, where: str, numbers: tuple[float, float, float]) -> None:
        value, low, high = numbers
        for suffix, number in (("", value), ("_low", low), ("_high", high), ("_n", 160), ("_invalid", 0)):
            scores[f"{name}{suffix},{where}"] = number
        scores[f"{name}_interval,{where}"] = "Bootstrap"

    for model, numbers in shares.items():
        add("promptShare", model, numbers)
        add("constraintShare", model, numbers)
        add("onTopicShare", model, (0.9, 0.85, 0.94))
        add("answerTokens", model, (61.5, 50.0, 70.25))
    for baseline, numbers in gains.items():
        add("promptShareDifference", f"policy-vs-{baseline}", numbers)
    part = {f"constraintShare,{model}": value for model, (value, _, _) in shares.items()}
    part |= {f"constraintShare_n,{model}": 12 for model in shares}
    return {
        "results": {"Verifiable": scores, "Verifiable/kind=json": {"alias": " - kind=json", **part}},
        "group_subtasks": {"Verifiable": ["Verifiable/kind=json"]},
        "configs": {"Verifiable": {"metadata": {"suite": {"suite": "Verifiable", "name": "Verifiable"}}}},
        "higher_is_better": {"Verifiable": {"promptShare": True}},
        "comparison_digest": {"Verifiable": comparison},
        "fitness": {"Verifiable": {"state": "Unfit" if unfit else "Fit", "reasons": list(unfit), "warnings": []}},
        "details": {"Verifiable": {}},
    }
