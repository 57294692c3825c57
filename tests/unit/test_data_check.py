"""``boresight data check``: what it counts, what it finds, how it ends."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from boresight_api.outcome import ExitCode, StageFailure
from boresight_trainer.data.commands import add_check_command
from boresight_trainer.data.lengths import Lengths
from boresight_trainer.models import embedded
from builders_data import a_comparison, a_feedback_row, write_jsonl


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_check_command(parser.add_subparsers(required=True))
    options = parser.parse_args(["check", *map(str, arguments)])
    return int(options.command(options))


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = run(*arguments, "-o", "json")
    return code, json.loads(capsys.readouterr().out)


def test_a_good_file_ends_with_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [a_feedback_row(n, response="y" * (n + 1)) for n in range(100)])
    code, found = report(capsys, path)
    assert code == ExitCode.DONE
    assert (found["rows"], found["invalid_rows"], found["problems"]) == (100, 0, [])
    assert set(found["uses"]) == {"prompts", "demonstrations", "feedback"}
    assert found["uses"]["feedback"] == {"rows": 100, "records": 100, "invalid": 0, "without_pair": 0}
    lengths = found["characters"]["response"]
    assert (lengths["shortest"], lengths["median"], lengths["p90"], lengths["longest"]) == (1, 50, 90, 100)
    assert found["tokens"] == {}
    assert found["holdout_rows"] == len(found["holdout_places"]) > 0


def test_what_is_wrong_is_said_by_kind_with_the_first_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[Any] = [a_feedback_row(number) for number in range(20)]
    rows[3:10] = [a_feedback_row(number, response="") for number in range(7)]
    path = write_jsonl(tmp_path / "d.jsonl", [*rows, "{"])
    code, found = report(capsys, path)
    assert code == ExitCode.INVALID_DATA
    assert found["invalid_rows"] == 8
    first, second = found["problems"]
    assert (first["field"], first["count"], len(first["places"])) == ("response", 7, 5)
    assert first["places"][0] == "d.jsonl:4: found empty text"
    assert (second["field"], second["count"]) == ("line", 1)
    assert run(path) == ExitCode.INVALID_DATA
    text = capsys.readouterr().out
    assert "d.jsonl: 21 rows in 1 file, 8 invalid" in text
    assert "response: 7 rows: expected text" in text
    assert "d.jsonl:4: found empty text" in text


def test_equal_rows_and_equal_prompts_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [a_feedback_row(1), a_feedback_row(2), a_feedback_row(1), a_feedback_row(2, response="other")]
    _, found = report(capsys, write_jsonl(tmp_path / "d.jsonl", rows), "--use", "feedback")
    assert found["duplicate_records"] == {"extra": 1, "groups": [["d.jsonl:1", "d.jsonl:3"]]}
    assert found["duplicate_prompts"]["extra"] == 2
    assert found["duplicate_prompts"]["groups"][0] == ["d.jsonl:1", "d.jsonl:3"]


def test_columns_are_mapped_as_a_manifest_maps_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_jsonl(tmp_path / "llf.jsonl", [{"prompt": "x", "response": "y", "refinement": "y*"}])
    with pytest.raises(StageFailure, match="advice or a rewritten answer"):
        run(path)
    code, found = report(capsys, path, "--columns", "chosen=refinement", "rejected=response")
    assert (code, set(found["uses"])) == (ExitCode.DONE, {"prompts", "preferences"})
    with pytest.raises(SystemExit):
        run(path, "--columns", "chosen")


def test_align_anything_is_checked_by_subset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [a_comparison(1), a_comparison(2, overall_response=0)]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    code, found = report(capsys, path, "--format", "AlignAnything", "--subset", "text-to-text")
    assert code == ExitCode.DONE
    assert found["uses"]["preferences"] == {"rows": 1, "records": 1, "invalid": 0, "without_pair": 1}
    assert found["uses"]["feedback"]["records"] == 4


def test_tokens_are_counted_as_a_stage_counts_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = embedded.materialize(embedded.TINY, tmp_path / "cache")
    rows = [a_feedback_row(1), a_feedback_row(2, response="long " * 200)]
    path = write_jsonl(tmp_path / "d.jsonl", rows)
    code, found = report(capsys, path, "--tokenizer", model, "--max-length", 600)
    assert code == ExitCode.INVALID_DATA
    assert set(found["tokens"]) >= {"prompt", "response", "prompt and response", "request and feedback"}
    assert {problem["places"][0].split(": ")[0] for problem in found["problems"]} == {"d.jsonl:2"}
    assert {problem["problem"] for problem in found["problems"]} == {"expected <= 600"}
    assert run(path, "--tokenizer", model, "--max-length", 100_000) == ExitCode.DONE


def test_a_limit_in_tokens_needs_a_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_jsonl(tmp_path / "d.jsonl", [a_feedback_row(1)]), "--max-length", 9) == ExitCode.INVALID_CONFIG
    assert "needs --tokenizer" in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageFailure, match=r"nowhere\.jsonl: found no such file or folder: correct the uri"):
        run(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize(
    ("values", "median", "p90", "p99"), [([3], 3, 3, 3), ([1, 2], 1, 2, 2), (range(1, 101), 50, 90, 99)]
)
def test_percentiles_are_values_that_occur(values: Any, median: int, p90: int, p99: int) -> None:
    found = Lengths.of(list(values))
    assert (found.median, found.p90, found.p99) == (median, p90, p99)


def test_neither_torch_nor_pyarrow_is_imported_to_check_jsonl(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "d.jsonl", [a_feedback_row(1)])
    code = (
        "import sys; from boresight_trainer.main import main; "
        f"main(['data', 'check', {str(path)!r}]); "
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy', 'tokenizers', 'huggingface_hub'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_rows_is_not_all_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    (tmp_path / "d.jsonl").write_text(content)
    assert run(tmp_path / "d.jsonl") == ExitCode.INVALID_DATA
    assert "d.jsonl: 0 rows in 1 file, expected at least one row" in capsys.readouterr().out
