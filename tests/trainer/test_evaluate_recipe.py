"""The evaluation stage from stage.json to artifact, on the tiny embedded model with the real engine and scorer."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from boresight_api.artifact import ArtifactKind, ArtifactManifest
from boresight_api.enums import SuiteName
from boresight_api.execution import Execution, RunReference, Stage
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import EvaluateConfig, HoldoutSplit, ModelInput, NamedModel, Sampling, stage_key
from boresight_trainer import stage
from boresight_trainer.evaluation import models as evaluation_models
from boresight_trainer.evaluation.models import ModelShelf, sample_of
from boresight_trainer.evaluation.suite import Answer, Ask, Context, ScoringItem, TooLong
from boresight_trainer.models import embedded
from boresight_trainer.models.batch import Sample
from boresight_trainer.models.scorer import plain_logprobs
from boresight_trainer.recipes.evaluate import run as run_recipe
from boresight_trainer.stage import StageContext
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.inputs import Inputs
from boresight_trainer.telemetry.progress import Progress
from boresight_trainer.telemetry.stop import StopFlag
from builders_evaluation import a_suite, an_evaluation, write_rows

TINY = embedded.digest(embedded.TINY)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def tiny(**changes: Any) -> ModelInput:
    return ModelInput(uri="embedded://tiny", digest=TINY, **changes)


def named(name: str, **changes: Any) -> NamedModel:
    return NamedModel(name=name, model=tiny(**changes))


def rows(folder: Path, number: int = 7) -> Path:
    constraint = {"kind": "no_commas"}
    return write_rows(
        folder / "rows.jsonl",
        [
            {
                "id": f"r{i}",
                "prompt": f"Give a fact about honey, number {i}. Use no commas.",
                "constraints": [constraint],
                "response": "Honey, as everybody knows, is sweet." if i % 2 else "Honey is sweet.",
                "critique": "Wrong: it has 2 commas." if i % 2 else "Good: it has no commas.",
                "advice": "Leave out the commas." if i % 2 else "Keep it as it is.",
            }
            for i in range(number)
        ],
    )


def a_config(folder: Path, **changes: Any) -> EvaluateConfig:
    """All three suites on one file; policy and initial are the same model under different system prompts."""
    data = rows(folder)
    values: dict[str, Any] = {
        "candidate": named("policy", system_prompt="Be brief."),
        "baselines": (named("initial"),),
        "feedback_model": tiny(),
        "suites": (
            a_suite(SuiteName.HOLDOUT, data, holdout=HoldoutSplit(percent=50)),
            a_suite(SuiteName.VERIFIABLE, data),
            a_suite(SuiteName.PAIRWISE, data, judge=tiny(), max_prompts=4),
        ),
        "sampling": Sampling(temperature=1, max_tokens=6),
        "critique_sampling": Sampling(temperature=0, max_tokens=8),
        "batch_size": 3,
        "max_length": 2048,
    }
    return an_evaluation(**{**values, **changes})


def a_stage(folder: Path, config: EvaluateConfig) -> Stage:
    return Stage(
        run=RunReference(kind="EvalRun", name="first", uid="0123456789abcdef"),
        name="evaluation",
        recipe_version=1,
        key=stage_key(config, 1),
        config=config,
        execution=Execution(storage=(folder / "store").as_uri()),
    )


def a_context(folder: Path, config: EvaluateConfig, cache: Path, attempt: int = 1, **changes: Any) -> StageContext:
    store = FileStore((folder / "store").as_uri())
    output = folder / f"output-{attempt}"
    output.mkdir()
    values: dict[str, Any] = {
        "stage": a_stage(folder, config),
        "store": store,
        "inputs": Inputs(store, cache),
        "output": output,
        "progress": Progress("evaluation", None, metrics_path=output / "metrics.jsonl"),
        "stop": StopFlag(30),
        "checkpoint_folder": folder / f"checkpoints-{attempt}",
    }
    return StageContext(**{**values, **changes})


@dataclass(frozen=True)
class Published:
    """One evaluation with all suites, run to its end."""

    folder: Path
    config: EvaluateConfig
    artifact: Path
    manifest: ArtifactManifest

    def samples(self, suite: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.artifact / f"samples_{suite}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Published:
    folder = tmp_path_factory.mktemp("published")
    config = a_config(folder)
    the_stage, store = a_stage(folder, config), FileStore((folder / "store").as_uri())
    progress = Progress("evaluation", the_stage.key)
    stage.run(the_stage, store=store, inputs=Inputs(store, cache), progress=progress, stop=StopFlag(30))
    manifest = store.manifest(the_stage.key)
    assert manifest is not None
    return Published(folder, config, store.path(the_stage.key), manifest)


def test_a_stage_publishes_results_samples_and_rows_with_intervals(published: Published) -> None:
    manifest = published.manifest
    assert manifest.kind is ArtifactKind.EVALUATION
    results = json.loads((published.artifact / "results.json").read_text())
    verifiable = results["results"]["Verifiable"]
    assert verifiable["constraintShare_n,policy"] == 7
    assert 0 <= verifiable["constraintShare_low,policy"] <= verifiable["constraintShare_high,policy"] <= 1
    assert {"constraintShareDifference,policy-vs-initial", "fluency,initial", "answerTokens,policy"} <= set(verifiable)
    assert results["results"]["Verifiable/kind-no_commas"]["constraintShare_n,policy"] == 7
    assert results["results"]["Holdout"]["lossPerToken,feedback-model"] > 0
    assert results["results"]["Pairwise"]["winRate_n,policy-vs-initial"] == 4
    # A model of random weights cannot judge; what it says is shown and is no headline.
    assert results["fitness"]["Pairwise"]["state"] == "Unfit"
    headline = manifest.metrics["headline"]
    assert isinstance(headline, dict)
    assert {"lossPerToken", "constraintShare", "constraintShareVsInitial"} <= set(headline)
    assert not any("winRate" in name for name in headline)
    # Judge, policy and initial model are one: flagged.
    assert results["details"]["Pairwise"]["judgeIsContestant"] == ["policy", "initial"]
    rows_ = manifest.metrics["results"]
    assert isinstance(rows_, list)
    assert len({(r["suite"], r["name"], r["candidate"], r["baseline"]) for r in rows_}) == len(rows_)
    assert {(line["doc_id"], line["filter"]) for line in published.samples("Verifiable")} == {
        (i, m) for i in range(7) for m in ("policy", "initial")
    }
    assert (published.artifact / "metrics.jsonl").read_text().count("\n") == 3


def test_pairwise_reads_the_answers_that_verifiable_measured(published: Published) -> None:
    lines = [line for line in published.samples("Verifiable") if line["filter"] == "policy"]
    measured = {line["doc"]["id"]: line["resps"][0][0] for line in lines}
    judged = {line["doc"]["id"]: line["candidate"] for line in published.samples("Pairwise")}
    assert len(judged) == 4
    assert all(measured[name] == answer for name, answer in judged.items())


class StopAfter(StopFlag):
    """Requests a stop when it has been looked at ``looks`` times."""

    def __init__(self, looks: int) -> None:
        super().__init__(30)
        self._looks = looks

    def check(self, step: int | None = None) -> None:
        self._looks -= 1
        if self._looks < 0:
            self.request()
        super().check(step)


@pytest.mark.parametrize("looks", [1, 5, 9])
def test_a_stopped_evaluation_goes_on_and_ends_with_the_same_files(
    published: Published, cache: Path, tmp_path: Path, looks: int
) -> None:
    config = published.config
    stopped = a_context(tmp_path, config, cache, attempt=1, stop=StopAfter(looks))
    with pytest.raises(StageFailure) as failure:
        run_recipe(stopped, config)
    assert failure.value.failure is FailureClass.PREEMPTED
    kept = {path.name for path in stopped.checkpoint_folder.glob("*")}
    assert kept

    resumed = a_context(tmp_path, config, cache, attempt=2, previous_checkpoints=(stopped.checkpoint_folder,))
    run_recipe(resumed, config)
    repeated = kept & {path.name for path in resumed.checkpoint_folder.glob("*")}
    assert not repeated
    for suite in ("Holdout", "Verifiable", "Pairwise"):
        name = f"samples_{suite}.jsonl"
        assert (resumed.output / name).read_text() == (published.artifact / name).read_text()


def test_one_model_is_in_memory_and_none_is_loaded_twice_in_a_row(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[Any]] = []
    load = evaluation_models.load_causal_lm

    def watched(path: Path, **options: Any) -> Any:
        assert [reference for reference in loaded if reference() is not None] == []
        model = load(path, **options)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(evaluation_models, "load_causal_lm", watched)
    config = a_config(tmp_path)
    # the feedback model has words of its own before every conversation, so it cannot be the one in memory
    config = config.model_copy(update={"feedback_model": tiny(system_prompt="Criticise.")})
    run_recipe(a_context(tmp_path, config, cache), config)
    # policy; initial; feedback model for Holdout; initial again, which scores fluency and judges
    assert len(loaded) == 4


def test_a_prompt_without_room_for_the_answer_is_named(tmp_path: Path, cache: Path) -> None:
    config = a_config(tmp_path, max_length=40)
    with pytest.raises(StageFailure, match=r"row r\d: found a prompt of \d+ tokens, expected at most 3\d"):
        run_recipe(a_context(tmp_path, config, cache), config)


def test_a_prompt_longer_than_the_model_s_context_is_not_asked(tmp_path: Path, cache: Path) -> None:
    from boresight_trainer.data.records import Message

    config = a_config(tmp_path, max_length=1_048_576)
    model = ModelShelf(a_context(tmp_path, config, cache), config).open(tiny())
    assert model.max_length == model._model.config.max_position_embeddings
    asks = [Ask("long", (Message("user", "a" * model.max_length),)), Ask("short", (Message("user", "Hi"),))]
    long, short = model.generate(asks, config.sampling, purpose="evaluation")
    assert isinstance(long, TooLong)
    assert long.tokens > long.limit == model.max_length - config.sampling.max_tokens
    assert isinstance(short, Answer)


def test_scoring_equals_plain_transformers(tmp_path: Path, cache: Path) -> None:
    config = a_config(tmp_path)
    model = ModelShelf(a_context(tmp_path, config, cache), config).open(tiny())
    shared = tuple(range(40, 60))
    items = [
        ScoringItem("fluency", (Context((5, 6, 7), ((8, 9), (10, 11, 12))),)),
        ScoringItem("judge", tuple(Context((*shared, *order), ((9,), (10,))) for order in ((7, 8), (8, 7)))),
        ScoringItem("judge of equals", tuple(Context((*shared, 30), ((9,), (10,))) for _ in range(2))),
    ]
    found = model.score(items, purpose="test")
    for item, sums in zip(items, found, strict=True):
        pairs = [(context.tokens, run) for context in item.contexts for run in context.continuations]
        plain = [plain_logprobs(model._model, [Sample.of_response("", *pair)]).sum().item() for pair in pairs]
        assert sums == pytest.approx(plain, abs=1e-4)


def test_tokens_that_contexts_share_are_computed_once() -> None:
    shared = tuple(range(50))
    items = [ScoringItem(str(i), (Context((*shared, 60 + i), ((9,), (10,))),)) for i in range(4)]
    assert sample_of(items).num_tokens == 50 + 4 * (1 + 2)


def test_answers_do_not_depend_on_the_order_of_prompts(tmp_path: Path, cache: Path) -> None:
    from boresight_trainer.data.records import Message

    config = a_config(tmp_path, batch_size=32)
    asks = [Ask(f"a{i}", (Message("user", "word " * i + "end"),)) for i in range(5)]
    shelves = [ModelShelf(a_context(tmp_path, config, cache, attempt=i), config) for i in (1, 2)]
    forward = shelves[0].open(tiny()).generate(asks, config.sampling, purpose="evaluation")
    backward = shelves[1].open(tiny()).generate(asks[::-1], config.sampling, purpose="evaluation")
    assert forward == backward[::-1]
