"""``prepare``: pins, data checked as the stages will read it, the store probed, finished work found."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boresight_api.artifact import Parent
from boresight_api.execution import Execution, Prepare, RunReference
from boresight_api.manifest import parse_manifest
from boresight_api.outcome import ExitCode, FailureClass, Outcome, PrepareReport, StageFailure, StageState
from boresight_api.pins import Pin, source_id
from boresight_api.plan import plan
from boresight_api.recipe import RECIPES
from boresight_trainer.models import embedded
from boresight_trainer.recipes.prepare import prepare, run_prepare
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.references import write_tag
from builders_data import a_feedback_row, write_jsonl
from builders_store import KEY, publish, write_files

UID = "0f9e8d7c-local"


class Case:
    """A run in a folder: a feedback file, a store, and the document for prepare."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FileStore((folder / "store").as_uri())
        self.data = write_jsonl(folder / "feedback.jsonl", [a_feedback_row(number) for number in range(100)])
        self.spec: dict[str, Any] = {
            "task": "TextToText",
            "model": {"uri": "embedded://tiny"},
            "data": {"feedback": [{"uri": self.data.as_uri(), "format": "Jsonl"}]},
        }

    @property
    def manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": "boresight.dev/v1alpha1",
            "kind": "AlignmentRun",
            "metadata": {"name": "first"},
            "spec": self.spec,
        }

    def document(self, *pins: Pin, recipe: str | None = None) -> Prepare:
        return Prepare(
            run=RunReference(kind="AlignmentRun", name="first", uid=UID),
            manifest=self.manifest,
            pins=pins,
            recipe=recipe,
            execution=Execution(storage=self.store.uri, outcome_file=str(self.folder / "outcome.json")),
        )

    def prepare(self, *pins: Pin) -> PrepareReport:
        return prepare(self.document(*pins), cache=self.folder / "cache")

    def keys(self, report: PrepareReport) -> dict[str, str]:
        made = plan(parse_manifest(self.manifest), {found.id: found for found in report.pins})
        return {stage.name: str(stage.key) for stage in made.stages}


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Case(tmp_path)


def test_a_new_run_is_pinned_planned_and_all_missing(case: Case) -> None:
    report = case.prepare()
    model, feedback = report.pins
    assert model.digest == embedded.digest(embedded.TINY)
    assert (feedback.id, feedback.rows) == (source_id(case.data.as_uri()), 100)
    assert [stage.name for stage in report.stages] == ["feedback-model", "synthesis", "policy", "evaluation"]
    assert {stage.state for stage in report.stages} == {StageState.MISSING}
    made = plan(parse_manifest(case.manifest), {found.id: found for found in report.pins})
    assert report.plan == made.digest


def test_it_is_the_same_wherever_the_data_lies(case: Case, tmp_path: Path) -> None:
    moved = Case(tmp_path / "elsewhere")
    assert moved.prepare().plan == case.prepare().plan


def test_finished_stages_and_checkpoints_are_found(case: Case) -> None:
    keys = case.keys(case.prepare())
    published = publish(case.store, keys["feedback-model"])
    write_files(
        case.store.checkpoints(keys["policy"]),
        {
            f"{UID[:8]}-2/step-00000010/state.json": '{"step": 10}',
            f"{UID[:8]}-1/step-00000007/state.json": '{"step": 7}',
            f"{UID[:8]}-3/.step-00000020.tmp/state.json": '{"step": 20}',
            "another1-9/step-00000012/state.json": '{"step": 12}',
        },
    )
    write_files(case.store.checkpoints(keys["evaluation"]), {f"{UID[:8]}-1/{n}.jsonl": "" for n in ("a", "b", "c")})
    found = {stage.name: stage for stage in case.prepare().stages}
    assert (found["feedback-model"].state, found["feedback-model"].digest) == (
        StageState.PRESENT,
        published.artifact.digest,
    )
    assert found["synthesis"].state is StageState.MISSING
    assert (found["policy"].state, found["policy"].step, found["policy"].attempt) == (StageState.CHECKPOINT, 12, 3)
    assert (found["evaluation"].step, found["evaluation"].attempt) == (3, 1)


def test_the_runs_keys_are_written_down_for_garbage_collection(case: Case) -> None:
    keys = case.keys(case.prepare())
    document = json.loads((case.store.root / "refs" / "local" / "default" / f"{UID}.json").read_text())
    assert document["keys"] == sorted(keys.values())


def test_clusters_that_share_a_store_keep_their_refs_apart(case: Case) -> None:
    document = case.document()
    execution = document.execution.model_copy(update={"cluster": "east"})
    prepare(document.model_copy(update={"execution": execution}), cache=case.folder / "cache")
    case.prepare()
    found = {
        path.relative_to(case.store.root / "refs").parts[0] for path in case.store.root.glob("refs/*/default/*.json")
    }
    assert found == {"east", "local"}


def test_an_earlier_pin_still_holds_or_the_source_is_refused(case: Case) -> None:
    pins = case.prepare().pins
    assert case.prepare(*pins).pins == pins
    write_jsonl(case.data, [a_feedback_row(number) for number in range(101)])
    with pytest.raises(
        StageFailure, match=r"feedback: file://.*: found sha256:.*, the first plan says sha256:"
    ) as caught:
        case.prepare(*pins)
    assert caught.value.failure is FailureClass.INVALID_DATA
    assert "boresight pin --update" in caught.value.message
    assert case.prepare().pins != pins


def test_a_digest_in_the_manifest_must_be_true(case: Case) -> None:
    case.spec["data"]["feedback"][0]["digest"] = "sha256:" + "0" * 64
    with pytest.raises(StageFailure, match="the manifest says sha256:0000"):
        case.prepare()


def test_a_tag_is_resolved_once(case: Case) -> None:
    publish(case.store)
    write_tag(case.store, "base", KEY)
    case.spec["model"]["uri"] = "artifact://tags/base"
    pins = case.prepare().pins
    assert pins[0].key == KEY
    publish(case.store, "c" * 64)
    write_tag(case.store, "base", "c" * 64)
    assert case.prepare(*pins).pins[0].key == KEY
    assert case.prepare().pins[0].key == "c" * 64


@pytest.mark.parametrize(
    ("spec", "failure", "message"),
    [
        ({"tsk": "TextToText"}, FailureClass.INVALID_CONFIG, "spec.tsk"),
        ({"task": "TextToTxt"}, FailureClass.INVALID_CONFIG, "spec.task"),
        ({"model": {"uri": "embedded://huge"}}, FailureClass.INVALID_CONFIG, "huge"),
        (
            {"model": {"uri": "file:///nowhere/model"}},
            FailureClass.INVALID_DATA,
            "file:///nowhere/model: found no such",
        ),
        (
            {"data": {"feedback": [{"uri": "file:///nowhere/d.jsonl"}]}},
            FailureClass.INVALID_DATA,
            "nowhere/d.jsonl: found",
        ),
    ],
)
def test_a_manifest_that_cannot_run_is_refused_by_field(
    case: Case, spec: dict[str, Any], failure: FailureClass, message: str
) -> None:
    case.spec.update(spec)
    with pytest.raises(StageFailure, match=message) as caught:
        case.prepare()
    assert caught.value.failure is failure


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "feedback-model: feedback: no row is left to work on"),
        ([{"prompt": "x", "response": "y"}], "d.jsonl row 1: critique: found no such column"),
        ([{"prompt": "x", "critique": "c"}], "d.jsonl row 1: response: found no such column"),
    ],
)
def test_data_is_read_as_the_stages_will_read_it(case: Case, rows: list[Any], message: str) -> None:
    path = write_jsonl(case.folder / "d.jsonl", rows)
    case.spec["data"]["feedback"][0]["uri"] = path.as_uri()
    with pytest.raises(StageFailure, match=message) as caught:
        case.prepare()
    assert caught.value.failure is FailureClass.INVALID_DATA


def test_two_equal_answers_are_found_before_anything_trains(case: Case) -> None:
    rows = [{"prompt": f"x{n}", "chosen": "a", "rejected": "a" if n == 1 else "b"} for n in range(50)]
    case.spec["method"] = {"feedback": "Binary"}
    case.spec["data"] = {
        "feedback": [{"uri": write_jsonl(case.folder / "p.jsonl", rows).as_uri(), "format": "Jsonl"}],
        "maxInvalidPercent": 0,
    }
    case.spec["evaluation"] = {"suites": [{"name": "Verifiable"}]}
    with pytest.raises(StageFailure, match=r"p\.jsonl row 2: chosen, rejected: found two equal answers"):
        case.prepare()


def test_a_constraint_that_no_verifier_knows_is_found_before_anything_trains(case: Case) -> None:
    short = {"kind": "max_words", "limit": 9}
    prompts: list[dict[str, Any]] = [{"id": f"p{n}", "prompt": f"x{n}", "constraints": [short]} for n in range(4)]
    prompts[2]["constraints"] = [short, {"kind": "rhyme"}]
    data = write_jsonl(case.folder / "e.jsonl", prompts)
    case.spec["evaluation"] = {"suites": [{"name": "Verifiable", "data": [{"uri": data.as_uri(), "format": "Jsonl"}]}]}
    said = r'evaluation: prompts: suite "Verifiable": prompt "p2", constraint 2: a constraint has the kind .rhyme., exp'
    with pytest.raises(StageFailure, match=said) as caught:
        case.prepare()
    assert caught.value.failure is FailureClass.INVALID_DATA
    write_jsonl(data, [{**prompt, "constraints": []} for prompt in prompts])
    with pytest.raises(StageFailure, match="4 of 4 prompts have no constraints"):
        case.prepare()


def test_a_model_without_a_chat_template_is_found_before_anything_trains(case: Case) -> None:
    model = case.folder / "model"
    write_files(model, {"tokenizer_config.json": "{}"})
    source = embedded.materialize(embedded.TINY, case.folder / "cache")
    (model / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    case.spec["model"] = {"uri": model.as_uri()}
    with pytest.raises(StageFailure, match=r"found no chat template, expected one; set model\.chatTemplate") as caught:
        case.prepare()
    assert caught.value.failure is FailureClass.INVALID_CONFIG
    case.spec["model"]["chatTemplate"] = (source / "chat_template.jinja").read_text()
    assert len(case.prepare().stages) == 4


def test_a_template_that_drops_the_system_prompt_is_found_before_anything_trains(case: Case) -> None:
    model = case.folder / "model"
    source = embedded.materialize(embedded.TINY, case.folder / "cache")
    write_files(model, {"tokenizer_config.json": "{}"})
    (model / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    template = (source / "chat_template.jinja").read_text()
    template = "{% if messages[0]['role'] == 'system' %}{% set messages = messages[1:] %}{% endif %}" + template
    case.spec["model"] = {"uri": model.as_uri(), "chatTemplate": template}
    case.prepare()
    case.spec["model"]["systemPrompt"] = "Answer in one sentence."
    with pytest.raises(StageFailure, match="drops or rewrites text of the system turn") as caught:
        case.prepare()
    assert caught.value.failure is FailureClass.INVALID_CONFIG


def test_the_recipe_of_the_first_plan_counts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RECIPES["1"]
    monkeypatch.setitem(RECIPES, "2", replace(first, defaults=replace(first.defaults, seed=43)))
    newer = prepare(case.document(recipe="2"), cache=case.folder / "cache")
    assert newer.plan != case.prepare().plan
    run = parse_manifest(case.manifest)
    assert newer.plan == plan(run, {found.id: found for found in newer.pins}, recipe="2").digest


def test_finished_work_with_another_parent_is_refused(case: Case) -> None:
    keys = case.keys(case.prepare())
    publish(case.store, keys["feedback-model"])
    parent = Parent(name="feedbackModel", key=keys["feedback-model"], digest="sha256:" + "0" * 64)
    publish(case.store, keys["synthesis"], parents=(parent,))
    with pytest.raises(StageFailure, match=r"its feedbackModel, artifact .*: found sha256:") as caught:
        case.prepare()
    assert caught.value.failure is FailureClass.MISSING_INPUT


def test_a_store_that_cannot_be_written_is_said_first(case: Case) -> None:
    case.store.root.write_text("a file")
    case.spec["model"]["uri"] = "file:///nowhere"
    with pytest.raises(StageFailure, match="store: could not write a probe") as caught:
        case.prepare()
    assert caught.value.failure is FailureClass.INFRASTRUCTURE


# -- the process -----------------------------------------------------------------------------------------------------


def test_the_process_leaves_an_outcome_with_the_report(case: Case) -> None:
    path = case.folder / "prepare.json"
    path.write_text(case.document().model_dump_json(by_alias=True))
    code = "import sys; from boresight_trainer.recipes.prepare import run_prepare; from pathlib import Path; "
    code += f"code = run_prepare(Path({str(path)!r})); assert 'torch' not in sys.modules; sys.exit(code)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == ExitCode.DONE
    outcome = Outcome.parse((case.folder / "outcome.json").read_bytes())
    assert outcome.stage == "prepare"
    assert outcome.prepare == case.prepare()


def test_a_failure_is_an_outcome_and_an_exit_code(case: Case) -> None:
    case.data.unlink()
    path = case.folder / "prepare.json"
    path.write_text(case.document().model_dump_json(by_alias=True))
    assert run_prepare(path) == ExitCode.INVALID_DATA
    outcome = Outcome.parse((case.folder / "outcome.json").read_bytes())
    assert outcome.failure_class is FailureClass.INVALID_DATA
    assert outcome.message is not None
    assert "feedback.jsonl: found no such file" in outcome.message


@pytest.mark.parametrize("content", ["{", '{"kind": "Stage"}'])
def test_a_document_that_is_none_is_invalid_configuration(tmp_path: Path, content: str) -> None:
    (tmp_path / "prepare.json").write_text(content)
    assert run_prepare(tmp_path / "prepare.json") == ExitCode.INVALID_CONFIG
    assert run_prepare(tmp_path / "nowhere.json") == ExitCode.INVALID_CONFIG
