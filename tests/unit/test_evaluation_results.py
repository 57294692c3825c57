"""Result files, status rows and headlines; lineage of models; batches that are kept; what may be asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from boresight_api.artifact import ArtifactKind, ArtifactManifest
from boresight_api.base import semantic_form
from boresight_api.enums import Engine, SuiteName, Task
from boresight_api.outcome import MAX_OUTCOME_METRICS, FailureClass, Metric, StageFailure, SuiteResult
from boresight_api.stages import ModelInput, NamedModel
from boresight_trainer.evaluation import results
from boresight_trainer.evaluation.build import check
from boresight_trainer.evaluation.journal import Journal, batch_name
from boresight_trainer.evaluation.lineage import related_models
from boresight_trainer.evaluation.statistics import Scale, estimate_mean
from boresight_trainer.evaluation.suite import ResultRow, SampleRow, SuiteReport
from builders_evaluation import A_DIGEST, a_model, a_suite, an_evaluation

SHARE = estimate_mean([1.0, 0.0, 1.0, 1.0], scale=Scale.SHARE, invalid=1)


def a_report(name: str = "Verifiable", **changes: Any) -> SuiteReport:
    values: dict[str, Any] = {
        "name": name,
        "suite": "Verifiable",
        "rows": (
            ResultRow("promptShare", "policy", SHARE, higher_is_better=True),
            ResultRow("constraintShare", "policy", SHARE, higher_is_better=True, headline=True),
            ResultRow("constraintShare", "warm-start", SHARE, higher_is_better=True),
            ResultRow("constraintShareDifference", "policy", SHARE, "warm-start", None, True, headline=True),
            ResultRow("constraintShare", "policy", SHARE, None, "kind-x", True),
            ResultRow("answerTokens", "policy", estimate_mean([], scale=Scale.REAL)),
        ),
        "samples": (
            SampleRow(
                0, {"id": "p0"}, "", "policy", {"gen_args_0": {}}, ("yes",), {"constraintShare": 1.0}, {"more": 1}
            ),
            SampleRow(0, {"id": "p0"}, "", "warm-start", {"gen_args_0": {}}, ("no",), {"constraintShare": None}),
        ),
        "comparison": {"seed": 1},
    }
    return SuiteReport(**{**values, **changes})


def document(*reports: SuiteReport) -> dict[str, Any]:
    suites = tuple(a_suite(SuiteName.VERIFIABLE, name=report.name) for report in reports)
    return results.results_document(
        reports,
        configuration=semantic_form(an_evaluation(suites=suites)),
        models={"policy": {"identity": "x"}},
    )


def test_results_follow_the_harness_layout() -> None:
    found = document(a_report())
    assert {"results", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "config"} <= set(found)
    scores = found["results"]["Verifiable"]
    assert scores["alias"] == "Verifiable"
    assert scores["constraintShare,policy"] == 0.75
    assert scores["constraintShare_stderr,policy"] == SHARE.stderr
    assert (scores["constraintShare_low,policy"], scores["constraintShare_high,policy"]) == (SHARE.low, SHARE.high)
    assert (scores["constraintShare_n,policy"], scores["constraintShare_invalid,policy"]) == (4, 1)
    assert scores["constraintShareDifference,policy-vs-warm-start"] == 0.75
    assert found["group_subtasks"] == {"Verifiable": ["Verifiable/kind-x"]}
    assert found["results"]["Verifiable/kind-x"]["constraintShare,policy"] == 0.75
    assert found["higher_is_better"]["Verifiable"] == {
        "promptShare": True,
        "constraintShare": True,
        "constraintShareDifference": True,
    }
    assert found["n-samples"]["Verifiable"] == {"original": 1, "effective": 1}
    assert found["configs"]["Verifiable"]["generation_kwargs"]["maxTokens"] == 8


def test_files_are_json_that_other_tools_can_read(tmp_path: Path) -> None:
    results.write(tmp_path, document(a_report()), [a_report()])
    assert json.loads((tmp_path / "results.json").read_text()) == document(a_report())
    lines = [json.loads(line) for line in (tmp_path / "samples_Verifiable.jsonl").read_text().splitlines()]
    assert [line["filter"] for line in lines] == ["policy", "warm-start"]
    assert lines[0]["resps"] == [["yes"]]
    assert lines[0]["constraintShare"] == 1.0
    assert lines[0]["more"] == 1
    assert lines[0]["doc_hash"] == lines[1]["doc_hash"]
    assert len(lines[0]["prompt_hash"]) == 64


def test_status_rows_put_headlines_first_and_fit_the_contract() -> None:
    rows = results.status_rows([a_report()])
    assert [(row["name"], row["candidate"]) for row in rows] == [
        ("constraintShare", "policy"),
        ("constraintShareDifference", "policy"),
        ("constraintShare", "warm-start"),
        ("promptShare", "policy"),
        ("answerTokens", "policy"),
    ]
    names = ("suite", "name", "candidate", "baseline", "value", "low", "high", "n")
    first = SuiteResult.model_validate({name: rows[0][name] for name in names})
    assert (first.value, first.baseline, first.n) == ("0.7500", "none", 4)
    assert rows[-1]["value"] is None
    assert [row["slice"] for row in results.slice_rows([a_report()])] == ["kind-x"]


def test_headlines_are_numbered_where_two_suites_measure_the_same() -> None:
    metrics = results.headline([a_report(), a_report("Other")])
    assert metrics == tuple(
        Metric(name=name, value="0.7500")
        for name in (
            "constraintShare",
            "constraintShareVsWarmStart",
            "constraintShare2",
            "constraintShareVsWarmStart2",
        )
    )


def test_headlines_are_few_and_their_names_short() -> None:
    baseline = "b" * 16
    row = ResultRow("constraintShareDifference", "policy", SHARE, baseline, headline=True)
    metrics = results.headline([a_report(str(i), rows=(row,)) for i in range(12)])
    assert len(metrics) == MAX_OUTCOME_METRICS
    assert len({metric.name for metric in metrics}) == len(metrics)


def test_an_unfit_suite_is_no_headline() -> None:
    unfit = a_report(unfit=("planted winners found: 10%",))
    assert results.headline([unfit]) == ()
    assert all(row["unfit"] for row in results.status_rows([unfit]))
    assert document(unfit)["fitness"]["Verifiable"]["state"] == "Unfit"


@pytest.mark.parametrize(
    ("number", "text"), [(0.5, "0.5000"), (-0.00001, "0.0000"), (-1.25, "-1.2500"), (12345.678, "12345.6780")]
)
def test_decimals(number: float, text: str) -> None:
    assert results.decimal(number) == text


def test_the_decoding_digest_is_of_decoding_alone() -> None:
    def digest(**changes: Any) -> str:
        return results.decoding_digest(semantic_form(an_evaluation(**changes)))

    assert digest() == digest(candidate=a_model("other"))
    assert digest() != digest(seed=8)


# -- lineage ----------------------------------------------------------------------------------------


@dataclass
class Manifests:
    """Model artifacts by key, each trained from the model input given."""

    started_from: Mapping[str, ModelInput]

    def manifest(self, key: str) -> ArtifactManifest | None:
        if key not in self.started_from:
            return None
        return ArtifactManifest(
            kind=ArtifactKind.MODEL,
            key=key,
            stage="policy",
            recipe="dpo/1",
            config={"model": semantic_form(self.started_from[key])},
            files=(),
            created_at="2026-11-22T00:00:00Z",
        )


BASE = ModelInput(uri="hf://base", digest=A_DIGEST)
OTHER = ModelInput(uri="hf://other", digest="sha256:" + "b" * 64)
WARM = ModelInput(uri="artifact://" + "1" * 64, key="1" * 64)
POLICY = ModelInput(uri="artifact://" + "2" * 64, key="2" * 64)


@pytest.mark.parametrize(
    ("judge", "related"),
    [
        pytest.param(POLICY, ("policy", "warm-start", "initial"), id="the policy itself"),
        pytest.param(BASE, ("policy", "warm-start", "initial"), id="its base"),
        pytest.param(
            BASE.model_copy(update={"uri": "file:///elsewhere"}), ("policy", "warm-start", "initial"), id="moved"
        ),
        pytest.param(OTHER, (), id="a stranger"),
    ],
)
def test_a_judge_related_to_what_it_judges_is_found(judge: ModelInput, related: tuple[str, ...]) -> None:
    store = Manifests({"1" * 64: BASE, "2" * 64: WARM})
    models = [
        NamedModel(name=name, model=model)
        for name, model in (("policy", POLICY), ("warm-start", WARM), ("initial", BASE))
    ]
    assert related_models(store, judge, models) == related


# -- journal ----------------------------------------------------------------------------------------


def test_a_batch_is_found_in_this_and_in_earlier_attempts(tmp_path: Path) -> None:
    Journal(tmp_path / "1").write("a", [["x", 1], ["y", 2]])
    second = Journal(tmp_path / "2", [tmp_path / "1"])
    assert second.read("a") == [["x", 1], ["y", 2]]
    assert second.read("b") is None
    second.write("b", [])
    assert second.read("b") == []
    assert not (tmp_path / "1" / "b.jsonl").exists()


def test_what_was_interrupted_while_writing_is_not_seen(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    class BrokenError(Exception):
        pass

    class Unwritable(list[Any]):
        def __iter__(self) -> Any:
            yield 1
            raise BrokenError

    with pytest.raises(BrokenError):
        journal.write("a", Unwritable())
    assert journal.read("a") is None


def test_a_batch_s_name_depends_on_all_it_is_made_from() -> None:
    name = batch_name("answers", model="m", requests=[["p", [1, 2], 3]])
    assert name == batch_name("answers", requests=[["p", [1, 2], 3]], model="m")
    assert name != batch_name("answers", model="m", requests=[["p", [1, 2], 4]])
    assert name.startswith("answers-")


# -- configuration ----------------------------------------------------------------------------------


def without_data() -> Any:
    return a_suite(SuiteName.VERIFIABLE).model_copy(update={"data": ()})


def weighted(suite: SuiteName) -> Any:
    entry = a_suite(suite)
    return entry.model_copy(update={"data": (entry.data[0].model_copy(update={"weight": 2}),)})


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"task": Task.TEXT_TO_IMAGE}, "evaluation.task", "TextToImage"),
        ({"engine": Engine.VLLM}, "evaluation.engine", "VLLM"),
        ({"baselines": (a_model("policy"),)}, "candidate and baselines", "every name once"),
        ({"suites": (a_suite(SuiteName.VERIFIABLE), a_suite(SuiteName.VERIFIABLE))}, "suites", "every name once"),
        ({"suites": (a_suite(SuiteName.AMU),)}, "suites[0].suite", "Holdout, Verifiable or Pairwise"),
        ({"suites": (without_data(),)}, "suites[0].data", "at least one"),
        ({"suites": (weighted(SuiteName.VERIFIABLE),)}, "suites[0].data[0].weight", "no new evidence"),
        ({"suites": (a_suite(SuiteName.HOLDOUT),)}, "feedbackModel", "none"),
        ({"suites": (a_suite(SuiteName.PAIRWISE),)}, "suites[0].judge", "neither"),
        (
            {"suites": (a_suite(SuiteName.PAIRWISE, judge=BASE, judge_endpoint="http://h/v1", judge_model="m"),)},
            "suites[0].judge",
            "both",
        ),
        ({"suites": (a_suite(SuiteName.PAIRWISE, judge_endpoint="http://h/v1"),)}, "judgeModel", "none"),
        (
            {"suites": (a_suite(SuiteName.PAIRWISE, judge_endpoint="h/v1", judge_model="m"),)},
            "judgeEndpoint",
            "http(s)://",
        ),
        ({"suites": (a_suite(SuiteName.PAIRWISE, judge=BASE),), "baselines": ()}, "baselines", "none"),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_anything_is_read(
    changes: dict[str, Any], field: str, problem: str
) -> None:
    config = an_evaluation(**changes)
    with pytest.raises(StageFailure) as failure:
        check(config)
    assert failure.value.failure is FailureClass.INVALID_CONFIG
    assert field in failure.value.message
    assert problem in failure.value.message


def test_a_sound_configuration_passes() -> None:
    suites = (a_suite(SuiteName.HOLDOUT), a_suite(SuiteName.VERIFIABLE), a_suite(SuiteName.PAIRWISE, judge=BASE))
    check(an_evaluation(suites=suites, feedback_model=OTHER))
