"""Which files a source has, and raw rows from JSONL, JSON and parquet."""

from __future__ import annotations

from pathlib import Path

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.sources import DataFile, InvalidRow, RawRow, find_files, read_rows, split_of
from builders_data import write_json, write_jsonl, write_parquet


def a_folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", "train"),
        ("train_40k.parquet", "train"),
        ("val_1k.parquet", "val"),
        ("validation.json", "val"),
        ("train-00000-of-00002.parquet", "train"),
        ("train/part-0.parquet", "train"),
        ("text-to-text/test.parquet", "test"),
        ("feedback.jsonl", None),
        ("trainers.jsonl", None),
    ],
)
def test_a_files_name_says_its_split(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("split", "files", "expected"),
    [
        (None, (), ["train-0.parquet", "train-1.parquet"]),
        ("train", (), ["train-0.parquet", "train-1.parquet"]),
        ("val", (), ["validation.parquet"]),
        ("dev", (), ["validation.parquet"]),
        (None, ("validation.parquet", "train-0.parquet"), ["validation.parquet", "train-0.parquet"]),
    ],
)
def test_a_folder_is_read_by_split_or_by_files(
    tmp_path: Path, split: str | None, files: tuple[str, ...], expected: list[str]
) -> None:
    root = a_folder(tmp_path, "train-1.parquet", "train-0.parquet", "validation.parquet", ".hidden.jsonl", "README.md")
    assert [file.name for file in find_files(root, split=split, files=files)] == expected


def test_a_folder_without_splits_is_read_whole(tmp_path: Path) -> None:
    root = a_folder(tmp_path, "b.jsonl", "a.jsonl")
    assert [file.name for file in find_files(root, split=None)] == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize(
    ("names", "split", "files", "message"),
    [
        ((), None, (), "found no .jsonl, .json, .parquet file"),
        (("a.csv",), None, (), "found no .jsonl, .json, .parquet file"),
        (("train.jsonl",), "test", (), r'no file of the split "test" \(files: train.jsonl; splits: train\)'),
        (("train.jsonl",), None, ("tain.jsonl",), 'files: found no "tain.jsonl" in .*, which has train.jsonl'),
        (("data/train.jsonl",), None, ("../data/train.jsonl",), "files: found no"),
        (("a.jsonl", "a.csv"), None, ("a.csv",), "a.csv: found a file of unknown kind"),
        (
            ("train.json", "train.parquet"),
            "train",
            (),
            "several kinds of file .train.json, train.parquet.*name the `files`",
        ),
        (("new/train.jsonl", "train.jsonl"), None, (), "several folders"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(
    tmp_path: Path, names: tuple[str, ...], split: str | None, files: tuple[str, ...], message: str
) -> None:
    with pytest.raises(StageFailure, match=message) as caught:
        find_files(a_folder(tmp_path, *names), split=split, files=files)
    assert caught.value.failure is FailureClass.INVALID_DATA


def test_a_missing_file_and_options_beside_a_single_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageFailure, match=r"nowhere\.jsonl: found no such file or folder"):
        find_files(tmp_path / "nowhere.jsonl", split=None)
    file = write_jsonl(tmp_path / "a.jsonl", [])
    with pytest.raises(StageFailure, match="found `split` beside a single file"):
        find_files(file, split="train")
    with pytest.raises(StageFailure, match="found `files` beside a single file"):
        find_files(file, split=None, files=("a.jsonl",))


def rows_of(path: Path) -> list[RawRow | InvalidRow]:
    return list(read_rows(DataFile(path, path.name), set))


def test_the_three_kinds_of_file_give_the_same_rows(tmp_path: Path) -> None:
    rows = [{"prompt": "x", "n": 1, "parts": [{"kind": "k"}]}, {"prompt": "ü", "n": None, "parts": []}]
    for path in (
        write_jsonl(tmp_path / "r.jsonl", rows),
        write_json(tmp_path / "r.json", rows),
        write_parquet(tmp_path / "r.parquet", rows),
    ):
        read = rows_of(path)
        assert [dict(row.values) for row in read if isinstance(row, RawRow)] == rows
        assert [row.place for row in read if isinstance(row, RawRow)] == [f"{path.name}:1", f"{path.name}:2"]


def test_of_a_parquet_file_only_the_needed_columns_are_read(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "r.parquet", [{"prompt": "x", "image": b"large"}])
    (row,) = read_rows(DataFile(path, path.name), lambda names: {"prompt"} & set(names))
    assert isinstance(row, RawRow)
    assert dict(row.values) == {"prompt": "x"}


def test_a_bad_line_is_one_invalid_row_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"a": \n[1]\n{"a": "\xff"}\n{"a": 2}')
    rows = rows_of(path)
    assert [type(row).__name__ for row in rows] == ["RawRow", "InvalidRow", "InvalidRow", "InvalidRow", "RawRow"]
    assert [row.number for row in rows] == [1, 3, 4, 5, 6]
    messages = [str(row) for row in rows if isinstance(row, InvalidRow)]
    assert "r.jsonl row 3: line: found no JSON" in messages[0]
    assert messages[1] == "r.jsonl row 4: row: found [1], expected a JSON object"
    assert messages[2] == "r.jsonl row 5: line: found byte 0xff at 8, expected UTF-8 text"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.json", b'{"a": 1}\n{"a": 2}', "r.json: found no JSON .* one object a line is named .jsonl"),
        ("r.json", b'{"a": 1}', 'r.json: found {"a": 1}, expected an array of objects'),
        ("r.json", b"[" * 100_000, "r.json: found JSON nested too deeply"),
        ("r.parquet", b"PAR1 not really", "r.parquet: found no parquet .*: download the file again"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StageFailure, match=message) as caught:
        rows_of(tmp_path / name)
    assert caught.value.failure is FailureClass.INVALID_DATA


def test_json_nested_too_deeply_is_one_invalid_row(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"[" * 100_000 + b"\n")
    first, second = rows_of(path)
    assert isinstance(first, RawRow)
    assert str(second) == "r.jsonl row 2: line: found JSON nested too deeply to be read, expected one JSON object"


@pytest.mark.parametrize(("name", "content"), [("r.jsonl", '{"a": 1}'), ("r.json", '[{"a": 1}]')])
def test_the_mark_that_some_editors_put_first_is_no_content(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8-sig")
    assert [row.values for row in rows_of(tmp_path / name) if isinstance(row, RawRow)] == [{"a": 1}]
