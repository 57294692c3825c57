"""The data set: the same seed gives the same bytes, and nothing of the evaluation is ever trained on."""

from __future__ import annotations

import argparse
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.instructions import answers as model_answers
from boresight_trainer.data.instructions.compose import normalise
from boresight_trainer.data.instructions.constraint import Split
from boresight_trainer.data.instructions.critiques import write_feedback
from boresight_trainer.data.instructions.files import jsonl
from boresight_trainer.data.instructions.make import (
    UNSEEN_SLICE,
    AnswerRequest,
    Counts,
    Options,
    choose_kinds,
    make_all,
    make_prompts,
)
from boresight_trainer.data.instructions.registry import NEVER_TRAINED
from boresight_trainer.data.instructions.rows import Answer
from boresight_trainer.data.instructions.topics import FORMS, topics
from boresight_trainer.data.instructions.verifiers import verify
from boresight_trainer.data.making import add_make_command

SMALL = Counts(warm_start=30, plain=10, feedback=40, prompts=40, holdout=20, evaluation=40, never_trained=12)


class Echo:
    """A model that answers in some ways, right and wrong, as the seed has it."""

    def answers(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
        said = ("{} is wide, old and well known.", "Well, {} is great and it is not", "{} is good!", '"{}"')
        about = [request.prompt.split(".")[0] for request in requests]
        return [
            Answer(said[request.seed % 7 % 4].format(topic), request.seed % 11 != 0)
            for request, topic in zip(requests, about, strict=True)
        ]


def options(names: str = "simple", **changes: Any) -> Options:
    trained, never_trained = choose_kinds(names)
    return replace(Options(seed=7, trained=trained, never_trained=never_trained, counts=SMALL), **changes)


def prompt_of(row: dict[str, Any]) -> str:
    return str(row["prompt"] if "prompt" in row else row["messages"][0]["content"])


TRAINED_FILES = ("warm_start.jsonl", "feedback.jsonl", "prompts.jsonl", "preferences.jsonl")
HELD_OUT_FILES = ("holdout.jsonl", "eval.jsonl")


@pytest.fixture(scope="module", params=["simple", "all"])
def data(request: pytest.FixtureRequest) -> dict[str, list[dict[str, Any]]]:
    return make_all(options(request.param, compose=1 if request.param == "simple" else 2), Echo())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def contents(seed: int) -> dict[str, bytes]:
        return {name: jsonl(rows) for name, rows in make_all(options(seed=seed), Echo()).items()}

    assert contents(7) == contents(7)
    different = contents(8)
    assert all(content != different[name] for name, content in contents(7).items())


def test_rows_are_as_many_as_asked_for(data: dict[str, list[dict[str, Any]]]) -> None:
    counts = {name: len(rows) for name, rows in data.items() if name != "preferences.jsonl"}
    assert counts == {
        "warm_start.jsonl": 40, "feedback.jsonl": 40, "prompts.jsonl": 40, "holdout.jsonl": 20, "eval.jsonl": 52,
    }  # fmt: skip
    assert 0 < len(data["preferences.jsonl"]) <= 40


def test_no_prompt_occurs_in_two_files_except_that_preferences_are_about_the_prompts(
    data: dict[str, list[dict[str, Any]]],
) -> None:
    seen = Counter(
        normalise(prompt_of(row)) for name, rows in data.items() if name != "preferences.jsonl" for row in rows
    )
    assert max(seen.values()) == 1
    assert {prompt_of(row) for row in data["preferences.jsonl"]} <= {prompt_of(row) for row in data["prompts.jsonl"]}


def test_no_topic_is_on_both_sides(data: dict[str, list[dict[str, Any]]]) -> None:
    def named(files: Sequence[str]) -> set[str]:
        return {row["meta"]["topic"] for name in files for row in data[name] if "topic" in row["meta"]}

    assert named(TRAINED_FILES)
    assert named(HELD_OUT_FILES)
    assert not named(TRAINED_FILES) & named(HELD_OUT_FILES)


def test_no_phrasing_is_on_both_sides(data: dict[str, list[dict[str, Any]]]) -> None:
    """A phrasing is what is left of a prompt when its topic and parameters are cut out."""

    def phrasings(files: Sequence[str]) -> set[str]:
        found = set()
        for name in files:
            for row in data[name]:
                text = prompt_of(row)
                fillers = [row["meta"].get("topic", "")]
                fillers += [str(value) for c in row["constraints"] for key, value in c.items() if key != "kind"]
                for filler in sorted(filter(None, fillers), key=len, reverse=True):
                    text = text.replace(filler, "_")
                found |= {
                    sentence.strip().casefold()
                    for sentence in text.replace("?", ".").split(". ")
                    if sentence.strip(" ._")
                }
        return found

    assert not phrasings(TRAINED_FILES) & phrasings(HELD_OUT_FILES)


def test_topics_and_forms_of_the_two_sides_differ_whatever_the_seed() -> None:
    train, evaluation = topics(Split.TRAIN), topics(Split.EVALUATION)
    assert not {topic.name for topic in train} & {topic.name for topic in evaluation}
    assert not set(FORMS.train) & set(FORMS.evaluation)
    assert all(topic.keywords for topic in (*train, *evaluation))


def test_an_eval_slice_has_kinds_that_no_training_file_has(data: dict[str, list[dict[str, Any]]]) -> None:
    def kinds(rows: Sequence[dict[str, Any]]) -> set[str]:
        return {constraint["kind"] for row in rows for constraint in row["constraints"]}

    trained = set().union(*(kinds(data[name]) for name in (*TRAINED_FILES, "holdout.jsonl")))
    unseen = kinds([row for row in data["eval.jsonl"] if row["meta"]["slice"] == UNSEEN_SLICE])
    others = kinds([row for row in data["eval.jsonl"] if row["meta"]["slice"] != UNSEEN_SLICE])
    assert unseen <= NEVER_TRAINED
    assert len(unseen) >= 4
    assert not trained & NEVER_TRAINED
    assert others <= trained


def test_dialogues_go_from_a_failing_answer_over_feedback_to_an_edited_one(
    data: dict[str, list[dict[str, Any]]],
) -> None:
    for row in data["warm_start.jsonl"][:30]:
        user, response, request, refined = (message["content"] for message in row["messages"])
        assert [message["role"] for message in row["messages"]] == ["user", "assistant", "user", "assistant"]
        assert not all(verify(row["constraints"], response))
        assert all(verify(row["constraints"], refined))
        feedback = write_feedback(user, row["constraints"], response)
        assert feedback.critique in request
        assert feedback.advice in request


def test_refinement_dialogues_use_the_words_of_the_manifests_template() -> None:
    templates = options().templates.model_copy(update={"refinement_request": "({critique}) Again!"})
    rows = make_all(options(templates=templates), Echo())["warm_start.jsonl"][:30]
    assert all(row["messages"][2]["content"].startswith("(##Critique: ") for row in rows)
    assert all(row["messages"][2]["content"].endswith(") Again!") for row in rows)


def test_plain_rows_are_the_models_own_answers_to_prompts_without_constraints(
    data: dict[str, list[dict[str, Any]]],
) -> None:
    plain = data["warm_start.jsonl"][30:]
    assert len(plain) == 10
    for row in plain:
        user, response = (message["content"] for message in row["messages"])
        assert row["constraints"] == []
        assert user.endswith(f"{row['meta']['topic']}.")
        assert any(keyword in response.casefold() for keyword in row["meta"]["keywords"])


def test_a_quarter_of_the_feedback_is_on_satisfied_answers_edited_by_rule_where_the_model_fails() -> None:
    class Fails(Echo):
        def answers(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
            return [Answer("It is great, and not wide.", True) for _ in requests]

    rows = make_all(options("exclamation,upper_case", counts=replace(SMALL, warm_start=0, plain=0)), Fails())[
        "feedback.jsonl"
    ]
    verdicts = [all(verify(row["constraints"], row["response"])) for row in rows]
    for kind in ("exclamation", "upper_case"):
        of_kind = [ok for row, ok in zip(rows, verdicts, strict=True) if row["constraints"][0]["kind"] == kind]
        assert of_kind.count(True) == len(of_kind) // 4 > 0
    assert all(("edited" in row["meta"]) is ok for row, ok in zip(rows, verdicts, strict=True))
    assert all(row["advice"].startswith("Keep it") is ok for row, ok in zip(rows, verdicts, strict=True))


def test_feedback_on_an_answer_that_no_rule_can_edit_is_on_the_sampled_one() -> None:
    rows = make_all(options("min_words", counts=replace(SMALL, warm_start=0, plain=0)), Echo())["feedback.jsonl"]
    assert all("edited" not in row["meta"] for row in rows)


def test_dialogues_are_about_their_topic_short_and_end() -> None:
    class Rambles(Echo):
        def answers(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
            def ramble(number: int, about: str) -> Answer:
                if number % 2:
                    return Answer(f"{about}. It is wide, and it goes on", False)
                return Answer("I am ready." if number % 4 else "long " * 30 + about, True)

            return [ramble(number, request.prompt.split(".")[0]) for number, request in enumerate(requests)]

    rows = make_all(options("exclamation", counts=replace(SMALL, warm_start=5, plain=0)), Rambles())["warm_start.jsonl"]
    assert {row["messages"][1]["content"] for row in rows} == {
        row["messages"][0]["content"].split(".")[0] + "." for row in rows
    }


def test_without_rows_there_is_no_file() -> None:
    files = make_all(options(counts=replace(SMALL, preferences=0)), Echo())
    assert "preferences.jsonl" not in files


def test_finished_answers_are_preferred_over_cut_ones() -> None:
    class CutFirst(Echo):
        def answers(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
            said = {"0": ("Cut!", False), "1": ("Good!", True), "2": ("cut", False), "3": ("Bad.", True)}
            return [Answer(*said[request.id[-1]]) for request in requests]

    rows = make_all(options("exclamation", counts=replace(SMALL, warm_start=0, plain=0)), CutFirst())[
        "preferences.jsonl"
    ]
    assert {(row["chosen"], row["rejected"]) for row in rows} == {("Good!", "Bad.")}


def test_preferences_are_labelled_by_the_verifiers(data: dict[str, list[dict[str, Any]]]) -> None:
    for row in data["preferences.jsonl"]:
        assert all(verify(row["constraints"], row["chosen"]))
        assert not all(verify(row["constraints"], row["rejected"]))


def test_composed_prompts_hold_up_to_as_many_constraints_as_asked_for() -> None:
    rows = make_prompts(options("all", compose=3))["prompts.jsonl"]
    assert {len(row["constraints"]) for row in rows} == {1, 2, 3}


def test_prompts_and_evaluation_are_the_same_with_and_without_a_model() -> None:
    alone, with_model = make_prompts(options()), make_all(options(), Echo())
    assert alone == {name: with_model[name] for name in ("prompts.jsonl", "eval.jsonl")}


def test_more_rows_than_there_are_prompts_are_refused() -> None:
    with pytest.raises(StageFailure, match="different prompts, expected 500") as failure:
        make_prompts(options("yes_or_no", counts=replace(SMALL, prompts=500)))
    assert failure.value.failure is FailureClass.INVALID_CONFIG


def test_answers_that_no_rule_can_edit_are_too_few() -> None:
    with pytest.raises(
        StageFailure, match="--warm-start: found 0 answers that can serve as demonstrations, expected 30"
    ):
        make_all(options("min_words"), Echo())


@pytest.mark.parametrize(
    ("names", "message"), [("no_such", 'found "no_such"'), ("first_word,last_word", 'found "last_word", which is kept')]
)
def test_kinds_that_cannot_be_trained_are_refused(names: str, message: str) -> None:
    with pytest.raises(StageFailure, match=message):
        choose_kinds(names)


# -- the command -------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_make_command(parser.add_subparsers())
    chosen = parser.parse_args(["make", "instructions", *arguments])
    return int(chosen.command(chosen))


def test_the_manifest_says_how_the_files_came_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(model_answers, "open_model", lambda *_, **__: Echo())
    arguments = [
        "--seed",
        "7",
        "--kinds",
        "simple",
        "--answers-from",
        "embedded://tiny",
        "--warm-start",
        "20",
        "--plain",
        "10",
    ]
    assert run(*arguments, "--out", str(tmp_path / "a"), "--system-prompt", "Be brief, please.") == 0
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert manifest["model"]["digest"].startswith("sha256:")
    assert manifest["files"]["warm_start.jsonl"]["rows"] == 30
    command = shlex.split(manifest["command"])
    assert command[:4] == ["boresight", "data", "make", "instructions"]
    assert str(tmp_path) not in manifest["command"]
    assert run(*command[4:], "--out", str(tmp_path / "b")) == 0
    for name in (*manifest["files"], "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "30 rows" in capsys.readouterr().out


def test_without_a_model_prompts_and_evaluation_are_made_and_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--seed", "1", "--out", str(tmp_path)) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"prompts.jsonl", "eval.jsonl", "manifest.json"}
    assert "--answers-from" in capsys.readouterr().out


def test_a_folder_in_use_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StageFailure, match="in use, expected a new or empty folder"):
        run("--seed", "1", "--out", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(StageFailure, match="could not write to") as failure:
        run("--seed", "1", "--out", str(blocker / "below"))
    assert failure.value.failure is FailureClass.INFRASTRUCTURE


@pytest.mark.parametrize(
    "argument",
    ["--compose=0", "--warm-start=-1", "--samples=two", "--temperature=warm", "--temperature=-1", "--top-p=7"],
)
def test_a_wrong_argument_is_refused(argument: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--seed", "1", "--out", str(tmp_path), argument)
    assert argument.split("=")[0] in capsys.readouterr().err
