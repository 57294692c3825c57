"""Finished batches on disk: a stopped evaluation goes on where it was, and repeats at most one batch."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boresight_api.base import canonical_json, sha256_hex


class Journal:
    """Batches of one stage under names that say everything their content depends on.

    Written to this attempt's own folder; read from there and from the folders of earlier attempts.
    """

    def __init__(self, folder: Path, previous: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._places = (folder, *previous)

    def read(self, name: str) -> list[Any] | None:
        """The records of a finished batch, or None. A file is only ever seen whole (see :meth:`write`)."""
        for place in self._places:
            path = place / f"{name}.jsonl"
            if path.is_file():
                return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return None

    def write(self, name: str, records: Sequence[Any]) -> None:
        """Keep a finished batch: complete on disk first, then renamed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.jsonl"
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record, allow_nan=False) + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def batch_name(kind: str, **identity: Any) -> str:
    """``<kind>-<digest>`` of what decides a batch's content: model, token ids, decoding settings, seed."""
    return f"{kind}-{sha256_hex(canonical_json(identity))[:32]}"
