"""Writing the report and ``results.json`` of a run beside its record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from boresight_trainer.store.file import FileStore

from ..files import replace_text
from ..records import RunFolder, RunRecord, to_document
from ..results import rows_of
from .collect import collect
from .page import render


@dataclass(frozen=True)
class Written:
    """Where the report lies, and the numbers that matter as lines for a terminal."""

    path: Path
    summary: tuple[str, ...]


def write_report(folder: RunFolder, record: RunRecord, path: Path | None = None) -> Written:
    """Write the page to ``path`` (default: into the run's folder), and ``results.json`` next to it."""
    report, top, results = collect(record, FileStore(folder.store.as_uri()))
    target = path or folder.report_path
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_text(target, render(report))
    document = {
        "run": to_document(record),
        "results": rows_of(results) if results is not None else [],
        "comparisonDigests": dict(results.comparison) if results is not None else {},
        "unfit": {suite: list(reasons) for suite, reasons in results.unfit.items()} if results is not None else {},
    }
    replace_text(target.parent / "results.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return Written(target, top.lines)
