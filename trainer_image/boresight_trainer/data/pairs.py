"""The files of a pairs artifact: what synthesis writes and preference optimisation reads.

``synthesis.jsonl`` has one line an item with everything that was sampled; ``pairs.jsonl`` has the kept items as
conversational ``prompt``/``chosen``/``rejected``, which ``datasets`` and TRL's ``DPOTrainer`` take as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight_api.outcome import FailureClass, StageFailure

from .filters import KEPT
from .records import Message

SYNTHESIS_NAME = "synthesis.jsonl"
PAIRS_NAME = "pairs.jsonl"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A kept item for scoring: ids exactly as they were generated from and sampled, y* chosen over y, both under x."""

    id: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]


def read_pairs(folder: Path) -> tuple[TokenPair, ...]:
    """The kept items of a pairs artifact. Raises :class:`StageFailure` (InvalidData) naming a line it cannot read."""
    pairs = []
    with (folder / SYNTHESIS_NAME).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                if record["verdict"] == KEPT:
                    pairs.append(_token_pair(record))
            except (ValueError, KeyError, TypeError) as error:
                raise StageFailure(
                    FailureClass.INVALID_DATA,
                    f"{SYNTHESIS_NAME}:{number}: found {error!r}, expected a record of the synthesis stage; "
                    "run that stage again",
                ) from error
    return tuple(pairs)


def conversational(
    pair_id: str, messages: Sequence[Message], chosen: str, rejected: str, system_prompt: str | None
) -> dict[str, Any]:
    """A line of ``pairs.jsonl``. ``system_prompt`` is what the model's input puts before x, so that others see it."""
    if system_prompt is not None and messages[0].role != "system":
        messages = (Message("system", system_prompt), *messages)
    return {
        "id": pair_id,
        "prompt": chat_json(messages),
        "chosen": chat_json([Message("assistant", chosen)]),
        "rejected": chat_json([Message("assistant", rejected)]),
    }


def chat_json(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Messages as the chat format of data files."""
    return [{"role": message.role, "content": message.content} for message in messages]


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line, UTF-8."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)


def _token_pair(record: Mapping[str, Any]) -> TokenPair:
    return TokenPair(
        record["id"], tuple(record["promptIds"]), tuple(record["refinedIds"]), tuple(record["responseIds"])
    )
