"""Builders of data files, inputs and rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from boresight_api.enums import DataFormat
from boresight_api.stages import DataInput, HoldoutSplit
from boresight_trainer.data.mixture import Rows

Row = Mapping[str, Any]


def write_jsonl(path: Path, rows: Iterable[Row | str]) -> Path:
    """One object a line; a string is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def write_json(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: Sequence[Row]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def an_input(path: Path, **fields: Any) -> DataInput:
    """An input that reads ``path`` as Jsonl, unless ``fields`` say otherwise."""
    return DataInput(uri=path.as_uri(), **{"format": DataFormat.JSONL, **fields})


def loaded(
    load: Callable[..., Rows[Any]],
    *inputs: DataInput,
    percent: object = None,
    max_rows: int = 1000,
    seed: int = 7,
    max_invalid_percent: object = 0,
) -> Rows[Any]:
    """What ``load`` makes of ``inputs``; ``percent`` of the prompts are held out."""
    split = None if percent is None else HoldoutSplit(percent=Decimal(str(percent)), max_rows=max_rows)
    return load(
        inputs,
        holdout=split,
        seed=seed,
        max_invalid_percent=Decimal(str(max_invalid_percent)),
        resolve=lambda value: Path(value.uri.removeprefix("file://")),
    )


def a_feedback_row(number: int, **changes: Any) -> dict[str, Any]:
    """A valid Jsonl row; a change to None removes the column."""
    row = {
        "prompt": f"Say {number}.",
        "response": f"It is {number}.",
        "critique": f"##Critique: The answer to {number} is dull.\n##Refinement: Be brief.",
        **changes,
    }
    return {name: value for name, value in row.items() if value is not None}


def a_comparison(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A row as align-anything's text-to-text has it."""
    return {
        "question": f"What is {number}?",
        "response_1": f"{number} is a number.",
        "response_2": f"Nobody knows {number}.",
        "prompt_following_rate_1": 3,
        "prompt_following_rate_2": 1,
        "p_response": 1,
        "p_rationale_1": "It answers.",
        "p_rationale_2": "It evades.",
        "text_critique_1": "##Critique: Right, but thin.\n##Refinement: Give an example.",
        "text_critique_2": "##Critique: Wrong.\n##Refinement: Answer the question.",
        "overall_response": 1,
        **changes,
    }
