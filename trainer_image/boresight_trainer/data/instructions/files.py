"""Writing the data set: its files, and last of all the manifest that says how they came about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from boresight_api.base import sha256_hex
from boresight_api.outcome import FailureClass, StageFailure

from ..verifiable_rows import Row

MANIFEST = "manifest.json"


def check_folder(folder: Path) -> None:
    """Raises StageFailure(InvalidConfig) if ``folder`` holds anything or is a file: no data set is written over."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f"--out: found {folder} in use, expected a new or empty folder; name another one or remove it first",
        )


def write_data_set(
    folder: Path,
    files: Mapping[str, Sequence[Row]],
    facts: Mapping[str, Any],
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Write what stands ``beside`` the rows, each file as JSON lines, then ``manifest.json``: ``facts``, and the files'
    rows and digests.

    Raises StageFailure(Infrastructure) if the file system refuses.
    """
    contents = {name: jsonl(rows) for name, rows in files.items()}
    described = {
        name: {"rows": len(files[name]), "digest": f"sha256:{sha256_hex(content)}"}
        for name, content in contents.items()
    }
    manifest = json.dumps({**facts, "files": described}, indent=1, ensure_ascii=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in {**beside, **contents}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / MANIFEST).write_text(manifest, encoding="utf-8")
    except OSError as error:
        raise StageFailure(
            FailureClass.INFRASTRUCTURE,
            f"--out: could not write to {folder}: {error}; name a folder with space and rights",
        ) from error


def jsonl(rows: Sequence[Row]) -> bytes:
    """The rows as the bytes of a JSONL file."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
