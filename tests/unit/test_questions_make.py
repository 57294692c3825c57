"""The data sets of questions about media: the same command gives the same bytes, and no medium is on two sides."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from boresight_api.base import sha256_hex
from boresight_api.enums import DataFormat
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import DataInput, HoldoutSplit
from boresight_trainer.data.check import check
from boresight_trainer.data.instructions.critiques import write_feedback
from boresight_trainer.data.instructions.files import jsonl
from boresight_trainer.data.instructions.verifiers import verify
from boresight_trainer.data.making import add_make_command
from boresight_trainer.data.questions import library
from boresight_trainer.data.questions.commands import choose_kinds
from boresight_trainer.data.questions.data_sets import DATA_SETS, DataSet
from boresight_trainer.data.questions.images import digits, photos, shapes
from boresight_trainer.data.questions.make import Counts, Made, Options, make_all
from boresight_trainer.data.questions.question import Scene
from boresight_trainer.data.questions.sides import Side, side_of
from boresight_trainer.data.uses import Use
from builders_questions import DATA_SET_KINDS, IMAGE_KINDS, SPEAKER
from PIL import Image

SMALL = Counts(prompts=16, evaluation=16, dev=12, feedback=16, holdout=8, warm_start=12, plain=6, preferences=10)
SIDES = {
    "warm_start.jsonl": "train",
    "feedback.jsonl": "train",
    "prompts.jsonl": "train",
    "preferences.jsonl": "train",
    "holdout.jsonl": "dev",
    "dev.jsonl": "dev",
    "eval.jsonl": "test",
}
NAMES = [data_set.name for data_set in DATA_SETS]


def made_of(name: str, seed: int = 7, **changes: Any) -> Made:
    return make_all(replace(Options(seed, DATA_SET_KINDS[name], SMALL), **changes))


@pytest.fixture(scope="module", params=NAMES)
def made(request: pytest.FixtureRequest) -> Made:
    return made_of(request.param)


def media_of(row: dict[str, Any]) -> list[str]:
    return [path for column in ("images", "audios", "videos") for path in row.get(column, [])]


def prompt_of(row: dict[str, Any]) -> str:
    if "prompt" in row:
        return str(row["prompt"])
    return str(row["messages"][0]["content"][1]["text"])


def test_rows_are_as_many_as_asked_for(made: Made) -> None:
    assert {name: len(rows) for name, rows in made.files.items()} == {
        "warm_start.jsonl": 18, "feedback.jsonl": 16, "prompts.jsonl": 16, "preferences.jsonl": 10,
        "holdout.jsonl": 8, "dev.jsonl": 12, "eval.jsonl": 16,
    }  # fmt: skip


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def contents(seed: int) -> dict[str, bytes]:
        data = made_of("image-questions", seed)
        rows = {name: jsonl(rows) for name, rows in data.files.items()}
        return rows | {path: medium.content for path, medium in data.media.items()}

    assert contents(7) == contents(7)
    other = contents(8)
    assert all(other[name] != content for name, content in contents(7).items() if name in SIDES)


def test_no_medium_and_nothing_that_decides_it_is_on_two_sides(made: Made) -> None:
    media: dict[str, set[str]] = {"train": set(), "dev": set(), "test": set()}
    keys: dict[str, set[str]] = {"train": set(), "dev": set(), "test": set()}
    for name, rows in made.files.items():
        for row in rows:
            for path in media_of(row):
                media[SIDES[name]].add(path)
                keys[SIDES[name]] |= set(made.media[path].keys)
                assert {side_of(key).value for key in made.media[path].keys} == {SIDES[name]}
    for found in (media, keys):
        assert all(found.values())
        assert not found["train"] & found["dev"]
        assert not found["train"] & found["test"]
        assert not found["dev"] & found["test"]


def test_no_question_occurs_twice_except_that_preferences_are_about_the_prompts(made: Made) -> None:
    asked = {name: Counter((prompt_of(row), *media_of(row)) for row in rows) for name, rows in made.files.items()}
    pairs = asked.pop("preferences.jsonl")
    assert max(sum(asked.values(), Counter()).values()) == 1
    assert set(pairs) <= set(asked["prompts.jsonl"])


def test_every_row_has_its_medium_and_every_medium_its_row(made: Made) -> None:
    named = [path for rows in made.files.values() for row in rows for path in media_of(row)]
    assert set(named) == set(made.media)
    assert all(len(media_of(row)) == 1 for rows in made.files.values() for row in rows)
    for path, medium in made.media.items():
        assert path == f"media/{sha256_hex(medium.content)}.{medium.extension}"


def test_kinds_take_turns(made: Made) -> None:
    counts = Counter(row["meta"]["question"] for row in made.files["prompts.jsonl"])
    assert max(counts.values()) - min(counts.values()) <= 1


def test_feedback_is_half_on_right_answers_and_written_by_the_rules(made: Made) -> None:
    for name in ("feedback.jsonl", "holdout.jsonl"):
        rows = made.files[name]
        verdicts = [all(verify(row["constraints"], row["response"])) for row in rows]
        assert all(("wrong" in row["meta"]) is not ok for row, ok in zip(rows, verdicts, strict=True))
        for row in rows:
            feedback = write_feedback(row["prompt"], row["constraints"], row["response"])
            assert (row["critique"], row["advice"]) == (feedback.critique, feedback.advice)


def test_of_every_kind_each_second_answer_is_right() -> None:
    (kind, *_) = IMAGE_KINDS
    rows = make_all(Options(7, (kind,), SMALL)).files["feedback.jsonl"]
    assert [all(verify(row["constraints"], row["response"])) for row in rows] == [False, True] * 8


def test_dialogues_go_from_a_wrong_answer_over_feedback_to_a_right_one_and_hold_the_medium(made: Made) -> None:
    for row in made.files["warm_start.jsonl"][:12]:
        user, response, request, refined = (message["content"] for message in row["messages"])
        assert user == [{"type": user[0]["type"]}, {"type": "text", "text": prompt_of(row)}]
        assert f"{user[0]['type']}s" in row
        assert not all(verify(row["constraints"], response))
        assert all(verify(row["constraints"], refined))
        feedback = write_feedback(prompt_of(row), row["constraints"], response)
        assert feedback.critique in request
        assert feedback.advice in request


def test_plain_rows_are_right_answers(made: Made) -> None:
    plain = made.files["warm_start.jsonl"][12:]
    assert len(plain) == 6
    for row in plain:
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        assert all(verify(row["constraints"], row["messages"][1]["content"]))


def test_preferences_are_labelled_by_the_verifiers(made: Made) -> None:
    for row in made.files["preferences.jsonl"]:
        assert all(verify(row["constraints"], row["chosen"]))
        assert not all(verify(row["constraints"], row["rejected"]))


def test_without_rows_there_is_no_file() -> None:
    files = made_of("image-questions", counts=replace(SMALL, dev=0)).files
    assert "dev.jsonl" not in files


class OneScene(shapes.ShapeColour):
    """A kind that has one scene alone."""

    def draw(self, rng: Random, side: Side) -> Scene:
        return super().draw(Random(2), side)


def test_more_rows_than_there_are_questions_are_refused() -> None:
    side = side_of(OneScene(64).draw(Random(0), Side.TRAIN).keys[0])
    assert side is Side.TRAIN
    with pytest.raises(StageFailure, match=f"found {len(OneScene.forms)} different prompts, expected 16") as failure:
        make_all(Options(7, (OneScene(64),), SMALL))
    assert failure.value.failure is FailureClass.INVALID_CONFIG


# -- the command -------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_make_command(parser.add_subparsers())
    chosen = parser.parse_args(["make", *arguments])
    return int(chosen.command(chosen))


def few() -> list[str]:
    """Six rows in every file."""
    return [word for name in Counts.__dataclass_fields__ for word in (f"--{name.replace('_', '-')}", "6")]


@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.name)
def test_the_recorded_command_makes_the_same_folder_again(
    data_set: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(data_set.name, "--seed", "7", *few(), "--out", str(tmp_path / "a")) == 0
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    command = shlex.split(manifest["command"])
    assert command[:4] == ["boresight", "data", "make", data_set.name]
    assert str(tmp_path) not in manifest["command"]
    assert run(*command[3:], "--out", str(tmp_path / "b")) == 0
    assert folder_of(tmp_path / "a") == folder_of(tmp_path / "b")
    shown = capsys.readouterr()
    assert "[#######.......................] 10 of 42 questions" in shown.err
    assert shown.err.endswith("] 42 of 42 questions\n")
    assert f"{tmp_path / 'b' / 'eval.jsonl'}: 6 rows" in shown.out


def folder_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.name)
def test_the_folder_holds_what_its_rows_name_and_says_where_it_comes_from(data_set: DataSet, tmp_path: Path) -> None:
    run(data_set.name, "--seed", "7", *few(), "--out", str(tmp_path / "made"))
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_text())
    readme = (tmp_path / "made" / "README.md").read_text()
    for name, described in manifest["files"].items():
        content = (tmp_path / "made" / name).read_bytes()
        assert described == {"rows": len(content.splitlines()), "digest": f"sha256:{sha256_hex(content)}"}
        assert name in readme
        for line in content.splitlines():
            for path in media_of(json.loads(line)):
                assert sha256_hex((tmp_path / "made" / path).read_bytes()) in path
                assert manifest["media"][path]["side"] == SIDES[name]
    assert {path.name for path in (tmp_path / "made" / "media").iterdir()} == {
        path.removeprefix("media/") for path in manifest["media"]
    }
    for medium in manifest["media"].values():
        source = manifest["sources"][medium["source"]]
        assert f"| {source['origin']} | {source['license']} |" in readme
    assert manifest["command"] in readme
    assert manifest["versions"]


@pytest.mark.parametrize(
    ("name", "uses"),
    [
        ("feedback.jsonl", {Use.PROMPTS, Use.DEMONSTRATIONS, Use.FEEDBACK}),
        ("warm_start.jsonl", {Use.PROMPTS, Use.DEMONSTRATIONS}),
        ("preferences.jsonl", {Use.PROMPTS, Use.PREFERENCES}),
        ("eval.jsonl", {Use.PROMPTS}),
    ],
)
def test_data_check_finds_nothing_wrong(name: str, uses: set[Use], tmp_path: Path) -> None:
    """In a folder of its own with the media, which the folder's digest covers."""
    made, scratch = tmp_path / "made", tmp_path / "scratch"
    run("image-questions", "--seed", "3", *few(), "--out", str(made))
    for other in [path for path in made.glob("*.json*") if path.name != name]:
        other.unlink()
    scratch.mkdir()
    value = DataInput(uri=made.as_uri(), format=DataFormat.JSONL)
    report = check(value, made, holdout=HoldoutSplit(), seed=1, scratch=scratch, decode_all=True)
    assert (report.invalid_rows, report.duplicate_prompts.extra) == (0, 0)
    assert set(report.uses) == uses
    assert {counts.records for counts in report.uses.values()} == {report.rows}


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_in_use_is_never_written_over(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StageFailure, match="in use, expected a new or empty folder"):
        run(name, "--seed", "1", "--out", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.name)
def test_the_kinds_are_listed_with_a_question_of_each(
    data_set: DataSet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(SPEAKER.parent), prepend=os.pathsep)
    speech = ["--speech"] if data_set.name == "audio-questions" else []
    with pytest.raises(SystemExit) as exit_:
        run(data_set.name, *speech, "--list-kinds")
    assert exit_.value.code == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed == {kind.name: kind.forms[0] for kind in DATA_SET_KINDS[data_set.name]}


def test_speech_is_refused_without_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageFailure, match="--speech: found no program espeak-ng on PATH; install it") as failure:
        run("audio-questions", "--seed", "1", "--speech", "--out", str(tmp_path / "made"))
    assert failure.value.failure is FailureClass.INVALID_CONFIG
    assert not (tmp_path / "made").exists()


def test_with_its_program_speech_is_part_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(SPEAKER.parent), prepend=os.pathsep)
    run("audio-questions", "--seed", "1", "--speech", *few(), "--out", str(tmp_path / "made"), "--prompts", "18")
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_text())
    assert {"speech_number", "speech_word"} <= set(manifest["kinds"])
    assert "--speech" in shlex.split(manifest["command"])
    assert manifest["versions"]["espeak-ng"] == "eSpeak NG text-to-speech: 0.0"
    assert "| speech |" in (tmp_path / "made" / "README.md").read_text()


def test_a_kind_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(StageFailure, match='found "no_such", expected all or names from shape_colour, ') as failure:
        choose_kinds("digit,no_such", IMAGE_KINDS)
    assert failure.value.failure is FailureClass.INVALID_CONFIG


def test_the_side_of_a_video_is_even(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("video-questions", "--seed", "1", "--out", str(tmp_path), "--size=65")
    assert "found 65, expected an even number" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--size=8", "--size=big", "--dev=-1"])
def test_a_wrong_argument_is_refused(argument: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("image-questions", "--seed", "1", "--out", str(tmp_path), argument)
    assert "expected an integer of at least" in capsys.readouterr().err


def test_the_size_of_images_is_that_of_the_option(tmp_path: Path) -> None:
    run("image-questions", "--seed", "1", "--size", "64", *few(), "--out", str(tmp_path / "made"))
    sizes = {Image.open(path).size for path in (tmp_path / "made" / "media").iterdir()}
    assert sizes == {(64, 64)}


@pytest.mark.parametrize(("missing", "kind"), [("skimage", "photo_surface"), ("sklearn.datasets", "digit")])
def test_without_the_package_of_a_source_its_name_and_the_way_to_get_it_are_told(
    missing: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> Any:
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return importlib.import_module(name)

    monkeypatch.setattr(library, "import_module", absent)
    photos.pieces_of.cache_clear()
    digits.digits_of.cache_clear()
    with pytest.raises(StageFailure, match=r"install boresight\[questions\], or choose other kinds") as failure:
        run("image-questions", "--seed", "1", "--kinds", kind, "--out", str(tmp_path))
    assert failure.value.failure is FailureClass.INVALID_CONFIG
    assert missing in failure.value.message
    assert run("image-questions", "--seed", "1", "--kinds", "shape_colour", *few(), "--out", str(tmp_path)) == 0
