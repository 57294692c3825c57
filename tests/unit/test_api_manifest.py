"""Strict loading: what is wrong is named by field, with what was found, what was expected and what to do."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from boresight_api import sources
from boresight_api.kinds import AlignmentRun
from boresight_api.manifest import parse_manifest, rebase
from boresight_api.problems import ManifestError, Problem, closest
from boresight_trainer.data import jsonl
from builders_manifests import GOLDEN, Refused, a_synthesis, an_alignment_run, an_eval_run, refused


@pytest.mark.parametrize("case", list(refused()), ids=lambda case: case.name)
def test_a_faulty_manifest_is_refused_by_field(case: Refused) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(case.document)
    assert case.message in str(caught.value)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_good_manifest_is_read(name: str) -> None:
    assert parse_manifest(GOLDEN[name]).kind == GOLDEN[name]["kind"]


def test_all_faults_are_named_at_once() -> None:
    document = an_alignment_run(seed=-1, policy={"trainng": {}}, synthesis={"engine": "vllm"})
    with pytest.raises(ManifestError) as caught:
        parse_manifest(document)
    assert [problem.path for problem in caught.value.problems] == [
        "spec.seed",
        "spec.synthesis.engine",
        "spec.policy.trainng",
    ]


def test_a_fault_inside_a_list_does_not_make_the_list_too_short() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(an_alignment_run(data={"feedback": [{"uri": "nowhere"}]}))
    assert [problem.path for problem in caught.value.problems] == ["spec.data.feedback[0].uri"]


@pytest.mark.parametrize("document", [None, [], "text", 3])
def test_what_is_no_mapping_is_refused(document: object) -> None:
    with pytest.raises(ManifestError, match="expected a mapping with apiVersion, kind, metadata and spec"):
        parse_manifest(document)


def test_kubernetes_own_metadata_and_a_status_of_any_form_pass() -> None:
    document = an_alignment_run()
    document["metadata"] |= {
        "uid": "7d3a",
        "generation": 3,
        "resourceVersion": "12",
        "managedFields": [{"manager": "x"}],
    }
    document["status"] = {"writtenByANewerOperator": True}
    run = parse_manifest(document)
    assert run.metadata.generation == 3
    assert run.status is None


def test_null_is_absence_as_the_api_server_has_it() -> None:
    run = parse_manifest(an_alignment_run(seed=None, policy=None, data={"holdout": None}))
    assert isinstance(run, AlignmentRun)
    assert run.spec.seed is None
    assert run.spec.data.holdout == ()


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("file:data/a.jsonl", "file:///home/me/data/a.jsonl"),
        ("file:./a.jsonl", "file:///home/me/a.jsonl"),
        ("file:../a.jsonl", "file:///home/me/../a.jsonl"),
        ("file:///data/a.jsonl", "file:///data/a.jsonl"),
        ("hf://a/b", "hf://a/b"),
    ],
)
def test_relative_files_are_below_the_manifest(uri: str, absolute: str) -> None:
    document = an_alignment_run(data={"feedback": [{"uri": uri}]})
    assert rebase(document, "file:///home/me")["spec"]["data"]["feedback"][0]["uri"] == absolute


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("learning_rate", ["learningRate", "seed"], "learningRate"),
        ("LEARNINGRATE", ["learningRate"], "learningRate"),
        ("epoch", ["epochs", "seed"], "epochs"),
        ("zebra", ["epochs", "seed"], None),
    ],
)
def test_the_closest_name_is_suggested(word: str, known: list[str], expected: str | None) -> None:
    assert closest(word, known) == expected


@pytest.mark.parametrize(
    ("abbreviation", "task"),
    [
        ("T2T", "TextToText"),
        ("TI2T", "TextImageToText"),
        ("ti2ti", "TextImageToTextImage"),
        ("T2I", "TextToImage"),
        ("TA2T", "TextAudioToText"),
        ("T2A", "TextToAudio"),
        ("T2V", "TextToVideo"),
        ("TV2T", "TextVideoToText"),
    ],
)
@pytest.mark.parametrize("builder", [an_alignment_run, a_synthesis, an_eval_run])
def test_align_anythings_names_of_tasks_are_understood(builder: Any, abbreviation: str, task: str) -> None:
    with pytest.raises(ManifestError, match=rf"did you mean {task}\?"):
        parse_manifest(builder(task=abbreviation))


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (
            Problem("spec.seed", "1.5", "a whole number", "round it"),
            "spec.seed: found 1.5, expected a whole number, round it",
        ),
        (Problem("", "a list", "a mapping"), "manifest: found a list, expected a mapping"),
        (Problem("spec", "", advice="remove it"), "spec: remove it"),
    ],
)
def test_a_problem_is_one_line(problem: Problem, line: str) -> None:
    assert str(problem) == line


def test_the_roles_of_columns_are_those_that_the_trainer_reads() -> None:
    assert set(get_args(sources.ColumnRole)) == {role.value for role in jsonl.ColumnRole}
