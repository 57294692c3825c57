"""Synthesis and evaluation by several processes and a merge: the same artifact, to the byte, as by one process."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from boresight_api.artifact import ArtifactManifest
from boresight_api.enums import SuiteName
from boresight_api.execution import Execution, RunReference, Stage, StagePart
from boresight_api.outcome import ExitCode, FailureClass, Outcome, StageFailure
from boresight_api.stages import AnyConfig, EvaluateConfig, ModelInput, NamedModel, Sampling, stage_key
from boresight_trainer import stage as stages
from boresight_trainer.evaluation import models as evaluation_models
from boresight_trainer.main import INDEX_VARIABLE, run_stage
from boresight_trainer.models import embedded
from boresight_trainer.recipes import evaluate, speaker, synthesize
from boresight_trainer.store.digests import user_cache_folder
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.inputs import Inputs
from boresight_trainer.telemetry.progress import Progress
from boresight_trainer.telemetry.stop import StopFlag
from builders_evaluation import a_suite, an_evaluation, write_rows
from builders_synthesis import a_synthesis_config, prompts

assert evaluate
assert synthesize
"""Imported here once, so that the processes that are forked below need not."""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    embedded.materialize(embedded.TINY, user_cache_folder())
    yield
    torch.set_num_threads(before)


def tiny(**changes: Any) -> ModelInput:
    return ModelInput(uri="embedded://tiny", digest=embedded.digest(embedded.TINY), **changes)


def a_synthesis(folder: Path) -> AnyConfig:
    """Random weights: nothing parses, nothing is good, so every filter keeps."""
    keep = dict.fromkeys(("identical", "truncated", "refusal", "unparsable", "keepIt", "leaked"), "Keep")
    short = Sampling(max_tokens=8)
    return a_synthesis_config(
        prompts(folder, 7),
        filters=keep,
        sampling=short,
        critique_sampling=short,
        refinement_sampling=short,
        samples_per_prompt=2,
    )


def an_eval(folder: Path) -> EvaluateConfig:
    """Answers, critiques, likelihoods, and a judge: every kind of batch."""
    constraints = [{"kind": "no_commas"}]
    data = write_rows(
        folder / "rows.jsonl",
        [
            {
                "id": f"r{i}",
                "prompt": f"Give a fact about honey, number {i}. Use no commas.",
                "constraints": constraints,
                "response": "Honey is sweet.",
                "critique": "Good: it has no commas.",
                "advice": "Keep it as it is.",
            }
            for i in range(5)
        ],
    )
    return an_evaluation(
        candidate=NamedModel(name="policy", model=tiny(system_prompt="Be brief.")),
        baselines=(NamedModel(name="initial", model=tiny()),),
        feedback_model=tiny(system_prompt="Criticise."),
        suites=(
            a_suite(SuiteName.HOLDOUT, data),
            a_suite(SuiteName.VERIFIABLE, data),
            a_suite(SuiteName.PAIRWISE, data, judge=tiny()),
        ),
        sampling=Sampling(temperature=1, max_tokens=6),
        critique_sampling=Sampling(temperature=0, max_tokens=8),
        batch_size=2,
        max_length=2048,
    )


MAKE = {"synthesis": a_synthesis, "evaluation": an_eval}


class Runs:
    """Processes at one stage in one store."""

    def __init__(self, folder: Path, name: str, config: AnyConfig) -> None:
        self.folder = folder
        self.name = name
        self.config = config
        self.key = stage_key(config, 1)
        self.store = FileStore((folder / "store").as_uri())

    def document(self, outcome: Path | None = None, **execution: Any) -> Stage:
        return Stage(
            run=RunReference(kind="AlignmentRun", name="first", uid="0123456789abcdef"),
            name=self.name,
            recipe_version=1,
            key=self.key,
            config=self.config,
            execution=Execution(storage=self.store.uri, outcome_file=str(outcome or self.folder / "o"), **execution),
        )

    def forked(self, index: int, **execution: Any) -> int:
        """A process as a pod has it; its id."""
        outcome = self.folder / f"outcome-{index}"
        file = self.folder / f"stage-{index}.json"
        file.write_text(self.document(outcome, **execution).model_dump_json(by_alias=True, exclude_none=True))
        if (process := os.fork()) == 0:
            try:
                os.environ[INDEX_VARIABLE] = str(index)
                os._exit(run_stage(file))
            finally:
                os._exit(99)
        return process

    def shards(self, count: int, **execution: Any) -> list[Outcome]:
        """All shards at once, each a process; their outcomes."""
        processes = [self.forked(i, part=StagePart.SHARD, shards=count, **execution) for i in range(count)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        assert codes == [ExitCode.DONE] * count
        return [Outcome.parse((self.folder / f"outcome-{i}").read_bytes()) for i in range(count)]

    def run(self, **execution: Any) -> ArtifactManifest:
        """The stage (or its merge) in this process, published."""
        inputs, progress = Inputs(self.store), Progress(self.name, self.key)
        outcome = stages.run(
            self.document(**execution), store=self.store, inputs=inputs, progress=progress, stop=StopFlag(30)
        )
        manifest = self.store.manifest(self.key)
        assert manifest is not None
        assert outcome.artifact is not None
        assert outcome.artifact.digest == manifest.digest()
        return manifest


def files(manifest: ArtifactManifest) -> dict[str, str]:
    return {file.path: file.digest for file in manifest.files}


@pytest.mark.parametrize("name", MAKE)
def test_eight_processes_and_a_merge_publish_what_one_process_does(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = MAKE[name](tmp_path / "data" if name == "synthesis" else tmp_path)
    alone = Runs(tmp_path / "alone", name, config).run()
    many = Runs(tmp_path / "many", name, config)
    many.folder.mkdir()
    outcomes = many.shards(8)
    assert {(outcome.key, outcome.artifact) for outcome in outcomes} == {(many.key, None)}
    assert many.store.manifest(many.key) is None, "only the merge publishes"
    assert [folder.name for folder in many.store.checkpoints(many.key).iterdir()] == ["01234567-1"]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a merge loads no weights")

    monkeypatch.setattr(speaker, "load_causal_lm", refuse)
    monkeypatch.setattr(evaluation_models, "load_causal_lm", refuse)
    merged = many.run(part=StagePart.MERGE, shards=8, attempt=2)
    assert files(merged) == files(alone)
    assert merged.metrics == alone.metrics
    assert len(files(merged)) > 1


def test_a_merge_without_a_batch_says_which(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "many", "synthesis", a_synthesis(tmp_path / "data"))
    runs.folder.mkdir()
    runs.shards(2)
    lost = min(runs.store.checkpoints(runs.key).glob("*/*.jsonl"))
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(StageFailure, match=f"batches, {lost.stem} is not in .*; the pods that make them") as caught:
        runs.run(part=StagePart.MERGE, shards=2, attempt=2)
    assert caught.value.failure is FailureClass.MISSING_INPUT
    assert runs.store.manifest(runs.key) is None

    runs.shards(2, attempt=3)
    again = next(runs.store.checkpoints(runs.key).glob("*-3/*.jsonl"))
    assert again.name == lost.name, "only what is missing is made again"
    assert [line for line in again.read_bytes().splitlines() if b"seconds" not in line] == [
        line for line in content.splitlines() if b"seconds" not in line
    ]
    runs.run(part=StagePart.MERGE, shards=2, attempt=4)


def test_another_number_of_processes_goes_on_with_the_same_batches(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "many", "synthesis", a_synthesis(tmp_path / "data"))
    runs.folder.mkdir()
    runs.shards(3)
    made = {path.name for path in runs.store.checkpoints(runs.key).glob("*-1/*.jsonl")}
    runs.shards(2, attempt=2)
    assert list(runs.store.checkpoints(runs.key).glob("*-2/*.jsonl")) == []
    assert made
    runs.run(attempt=3)


@pytest.fixture
def asked() -> Iterator[tuple[str, list[bytes]]]:
    """URL of a judge behind an endpoint that prefers whatever comes first, and what it was asked."""
    questions: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            questions.append(self.rfile.read(int(self.headers["Content-Length"])))
            reply = json.dumps({"choices": [{"message": {"content": "A"}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", questions
    server.shutdown()
    server.server_close()


def test_a_judge_behind_an_endpoint_is_asked_by_the_merge_alone(tmp_path: Path, asked: tuple[str, list[bytes]]) -> None:
    url, questions = asked
    judged = an_eval(tmp_path)
    endpoint = {"judge": None, "judge_endpoint": url, "judge_model": "judge"}
    suites = (judged.suites[1], judged.suites[2].model_copy(update=endpoint))
    runs = Runs(tmp_path / "many", "evaluation", judged.model_copy(update={"suites": suites}))
    runs.folder.mkdir()
    runs.shards(2)
    assert questions == []
    manifest = runs.run(part=StagePart.MERGE, shards=2, attempt=2)
    assert questions != []
    assert "samples_Pairwise.jsonl" in files(manifest)


def test_a_shard_of_a_published_stage_adopts_it(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "many", "synthesis", a_synthesis(tmp_path / "data"))
    runs.folder.mkdir()
    published = runs.run()
    (outcome, _) = runs.shards(2, attempt=2)
    assert outcome.artifact is not None
    assert outcome.artifact.digest == published.digest()


@pytest.mark.parametrize("index", [None, "", "2", "-1", "first"])
def test_a_shard_that_does_not_know_which_it_is_refuses(
    index: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(tmp_path, "synthesis", a_synthesis(tmp_path / "data"))
    monkeypatch.delenv(INDEX_VARIABLE, raising=False)
    if index is not None:
        monkeypatch.setenv(INDEX_VARIABLE, index)
    file = tmp_path / "stage.json"
    document = runs.document(part=StagePart.SHARD, shards=2)
    file.write_text(document.model_dump_json(by_alias=True, exclude_none=True))
    assert run_stage(file) == ExitCode.INVALID_CONFIG
    outcome = Outcome.parse((tmp_path / "o").read_bytes())
    assert f'JOB_COMPLETION_INDEX: found "{index or ""}", expected a number below 2' in str(outcome.message)
