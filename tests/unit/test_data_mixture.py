"""Several inputs become the rows of a recipe: ids, limits, invalid rows, the holdout, weights."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from boresight_api.enums import DataFormat
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import HoldoutSplit
from boresight_trainer.data.mixture import (
    load_demonstrations,
    load_feedback,
    load_preferences,
    load_prompts,
    source_records,
)
from boresight_trainer.data.records import Message, Prompt
from boresight_trainer.data.selection import held_out, limited, repetitions
from builders_data import a_comparison, a_feedback_row, an_input, loaded, write_jsonl

IDS = [f"row-{number}" for number in range(400)]


def a_file(folder: Path, rows: int = 100, name: str = "feedback.jsonl", **changes: Any) -> Path:
    return write_jsonl(folder / name, [a_feedback_row(number, **changes) for number in range(rows)])


def prompts(count: int, times: int = 1) -> list[Prompt]:
    return [Prompt(f"{n}-{t}", (Message("user", f"Say {n}."),)) for n in range(count) for t in range(times)]


# -- ids -------------------------------------------------------------------------------------------------------------


def test_ids_are_row_numbers_whatever_the_file_is_called_and_are_prefixed_only_on_a_clash(tmp_path: Path) -> None:
    first, other = a_file(tmp_path / "one", rows=2), a_file(tmp_path / "two", rows=2, name="renamed.jsonl")
    alone = loaded(load_prompts, an_input(other))
    assert [row.id for row in alone.train] == [":1", ":2"]
    both = loaded(load_prompts, an_input(first), an_input(other))
    assert [row.id for row in both.train] == [":1", ":2", "1/:1", "1/:2"]


def test_in_a_folder_ids_are_file_and_row_because_its_digest_covers_the_names(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        a_file(tmp_path, rows=1, name=name, prompt=name)
    assert [row.id for row in loaded(load_prompts, an_input(tmp_path)).train] == ["a.jsonl:1", "b.jsonl:1"]


def test_a_renamed_file_gives_the_same_rows_to_the_same_key(tmp_path: Path) -> None:
    rows: list[Any] = [a_feedback_row(number) for number in range(40)]
    rows[3] = {"prompt": ""}
    chosen = []
    for name in ("one.jsonl", "two.jsonl"):
        value = an_input(write_jsonl(tmp_path / name, [*rows, "no JSON"]), limit=20, weight=Decimal("1.5"))
        read = loaded(load_feedback, value, max_invalid_percent=10)
        chosen.append([(row.id, row.prompt.messages) for row in read.train])
    assert chosen[0] == chosen[1]


def test_an_id_that_two_rows_have_makes_the_second_invalid(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [a_feedback_row(n, id="same") for n in range(2)])
    with pytest.raises(
        StageFailure, match=r'd.jsonl row 2: id: found "same", which row d.jsonl:1 has, expected an id of'
    ):
        loaded(load_prompts, an_input(path))


# -- invalid rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "row", "message"),
    [
        (load_demonstrations, {"prompt": "x"}, "response: found no such column"),
        (load_demonstrations, {"prompt": "x", "response": ""}, "response: found empty text, expected text"),
        (
            load_preferences,
            {"prompt": "x", "chosen": "a", "rejected": "a"},
            "chosen, rejected: found two equal answers",
        ),
        (load_feedback, {"prompt": "x", "response": "y", "critique": ""}, "critique: found empty text"),
        (load_prompts, {"response": "y"}, "prompt: found no such column"),
        (load_prompts, "no json", "line: found no JSON"),
    ],
)
def test_a_bad_row_is_named_with_file_row_and_field(tmp_path: Path, load: Any, row: Any, message: str) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [a_feedback_row(1, chosen="a", rejected="b"), row])
    with pytest.raises(StageFailure) as caught:
        loaded(load, an_input(path))
    assert caught.value.failure is FailureClass.INVALID_DATA
    assert "1 of 2 rows are invalid, more than maxInvalidPercent 0" in caught.value.message
    assert f"d.jsonl row 2: {message}" in caught.value.message
    assert "boresight data check" in caught.value.message


@pytest.mark.parametrize(("allowed", "passes"), [("1.9", False), ("2", True), ("100", True)])
def test_invalid_rows_are_left_out_up_to_the_limit(tmp_path: Path, allowed: str, passes: bool) -> None:
    rows = [a_feedback_row(n, response="" if n < 2 else "y") for n in range(100)]
    value = an_input(write_jsonl(tmp_path / "d.jsonl", rows))
    if passes:
        read = loaded(load_feedback, value, max_invalid_percent=allowed)
        assert (len(read.train), [row.number for row in read.invalid]) == (98, [1, 2])
        assert (read.sources[0].read, read.sources[0].valid, read.sources[0].invalid) == (100, 98, 2)
    else:
        with pytest.raises(StageFailure, match="2 of 100 rows are invalid"):
            loaded(load_feedback, value, max_invalid_percent=allowed)


def test_a_broken_source_cannot_hide_in_a_large_mixture(tmp_path: Path) -> None:
    good, bad = a_file(tmp_path, 300), a_file(tmp_path, 2, "bad.jsonl", response="")
    with pytest.raises(StageFailure, match=r"bad.jsonl: 2 of 2 rows are invalid"):
        loaded(load_feedback, an_input(good), an_input(bad), max_invalid_percent=1)


@pytest.mark.parametrize("rows", [[], [a_comparison(overall_response=0)]])
def test_an_empty_split_is_refused_with_counts(tmp_path: Path, rows: list[Any]) -> None:
    write_jsonl(tmp_path / "train.jsonl", rows)
    value = an_input(tmp_path, format=DataFormat.ALIGN_ANYTHING, subset="text-to-text", split="train")
    message = (
        rf"no row is left to work on \(.* split train: {len(rows)} rows, .*{len(rows)} without a winner; 0 held out"
    )
    with pytest.raises(StageFailure, match=message) as caught:
        loaded(load_preferences, value)
    assert caught.value.failure is FailureClass.INVALID_DATA


def test_options_of_one_format_are_refused_by_the_other(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    for fields, message in (
        ({"subset": "text-to-text"}, "Jsonl has no subsets"),
        ({"format": DataFormat.ALIGN_ANYTHING, "subset": "text-to-text", "columns": {"id": "n"}}, "fields are known"),
    ):
        with pytest.raises(StageFailure, match=message) as caught:
            loaded(load_prompts, an_input(path, **fields))
        assert caught.value.failure is FailureClass.INVALID_CONFIG


# -- limits ----------------------------------------------------------------------------------------------------------


def test_limits_are_nested_and_depend_on_the_seed() -> None:
    def part(percent: int, seed: int = 7) -> set[str]:
        return limited(IDS, limit=None, percent=Decimal(percent), seed=seed)

    assert [len(part(percent)) for percent in (25, 50, 75, 100)] == [100, 200, 300, 400]
    assert part(25) < part(50) < part(75) < part(100)
    assert part(50, seed=8) != part(50)
    assert limited(IDS, limit=100, percent=None, seed=7) == part(25)
    assert limited(IDS, limit=9000, percent=None, seed=7) == set(IDS)


def test_a_limit_keeps_the_order_of_the_file_and_is_the_same_for_every_use(tmp_path: Path) -> None:
    value = an_input(a_file(tmp_path), limit=10)
    read = [row.id for row in loaded(load_prompts, value).train]
    assert len(read) == 10
    assert read == sorted(read, key=lambda name: int(name.split(":")[1]))
    assert [row.id for row in loaded(load_feedback, value).train] == read
    percent = an_input(a_file(tmp_path), limit_percent=Decimal(20))
    assert set(read) < {row.id for row in loaded(load_prompts, percent).train}


# -- the holdout -----------------------------------------------------------------------------------------------------


def test_the_same_prompts_are_held_out_for_every_use(tmp_path: Path) -> None:
    rows = [a_feedback_row(n, chosen="a", rejected="b", response="" if n % 7 == 0 else "y") for n in range(200)]
    value = an_input(write_jsonl(tmp_path / "d.jsonl", rows))
    held = {}
    for load in (load_prompts, load_feedback, load_preferences):
        read = loaded(load, value, percent=20, max_invalid_percent=20)
        held[load] = {row.id for row in read.holdout}
        assert held[load].isdisjoint(row.id for row in read.train)
    assert 20 <= len(held[load_prompts]) <= 60
    assert held[load_preferences] == held[load_prompts]
    assert held[load_feedback] < held[load_prompts]


def test_a_held_out_prompt_stays_held_out_whatever_file_order_or_row_it_stands_in(tmp_path: Path) -> None:
    rows = [a_feedback_row(number) for number in range(200)]
    one = loaded(load_feedback, an_input(write_jsonl(tmp_path / "a.jsonl", rows)), percent=10)
    other = loaded(load_feedback, an_input(write_jsonl(tmp_path / "b.jsonl", reversed(rows))), percent=10)
    assert {row.prompt.text for row in one.holdout} == {row.prompt.text for row in other.holdout}


def test_rows_with_one_prompt_are_never_on_both_sides() -> None:
    rows = prompts(100, times=3)
    aside = held_out(rows, HoldoutSplit(percent=Decimal(10)), seed=7)
    assert 0 < len(aside) < 30


@pytest.mark.parametrize(
    ("count", "times", "percent", "max_rows", "expected"),
    [
        (1, 1, 50, 10, 0),  # the only prompt is for training
        (20, 1, "0.001", 10, 1),  # an evaluation on no rows says nothing
        (20, 1, 0, 10, 0),  # nothing wanted
        (400, 1, 50, 10, 10),  # the bound
        (400, 3, 50, 10, 3),  # 3 prompts of 3 rows fit into 10
        (50, 1, 100, 1000, 50),
    ],
)
def test_the_holdout_is_neither_empty_nor_too_large(
    count: int, times: int, percent: object, max_rows: int, expected: int
) -> None:
    split = HoldoutSplit(percent=Decimal(str(percent)), max_rows=max_rows)
    assert len(held_out(prompts(count, times), split, seed=7)) == expected


def test_the_holdout_depends_on_the_seed_and_grows_with_its_share() -> None:
    rows = prompts(400)
    small, large, other = (
        held_out(rows, HoldoutSplit(percent=Decimal(p)), seed=s) for p, s in ((5, 7), (20, 7), (5, 8))
    )
    assert small < large
    assert small != other


def test_holding_out_everything_leaves_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(StageFailure, match=r"no row is left to work on .*100 held out"):
        loaded(load_feedback, an_input(a_file(tmp_path)), percent=100)


# -- weights ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("weight", "rows"), [("1", 400), ("2", 800), ("0.25", 100), ("1.5", 600)])
def test_a_weight_repeats_rows(weight: str, rows: int) -> None:
    times = repetitions(IDS, Decimal(weight), seed=7)
    assert sum(times.values()) == rows
    assert set(times.values()) <= {int(Decimal(weight)), int(Decimal(weight)) + 1}


def test_repeated_rows_have_ids_of_their_own_and_held_out_rows_are_not_repeated(tmp_path: Path) -> None:
    read = loaded(load_feedback, an_input(a_file(tmp_path), weight=Decimal(2)), percent=10)
    ids = [row.id for row in read.train]
    assert len(ids) == len(set(ids)) == 2 * (100 - len(read.holdout))
    assert {name.removesuffix("~2") for name in ids if name.endswith("~2")} == {n for n in ids if not n.endswith("~2")}
    assert not any("~" in row.id for row in read.holdout)


def test_two_responses_of_one_row_are_two_records_with_two_ids(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", [a_comparison()])
    value = an_input(path, format=DataFormat.ALIGN_ANYTHING, subset="text-to-text", weight=Decimal(2))
    ids = [row.id for row in loaded(load_feedback, value).train]
    assert ids == [":1#1", ":1#2", ":1~2#1", ":1~2#2"]


def test_the_manifest_of_an_artifact_names_what_was_read(tmp_path: Path) -> None:
    value = an_input(a_file(tmp_path), digest="sha256:" + "0" * 64)
    (record,) = source_records([value], loaded(load_feedback, value))
    assert (record.uri, record.digest, record.rows) == (value.uri, value.digest, 100)
