"""Writing the report and ``results.json`` of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from boresight_trainer.store.base import Store

from ..files import replace_text
from ..records import RunRecord, to_document
from ..results import RESULTS_FILE, rows_of
from .collect import collect
from .page import render


@dataclass(frozen=True)
class Written:
    """Where the report lies, and the numbers that matter as lines for a terminal."""

    path: Path
    summary: tuple[str, ...]


def write_report(record: RunRecord, store: Store, path: Path) -> Written:
    """Write the page to ``path``, and ``results.json`` next to it."""
    report, top, results = collect(record, store)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, render(report))
    document = {
        "run": to_document(record),
        "results": rows_of(results) if results is not None else [],
        "comparisonDigests": dict(results.comparison) if results is not None else {},
        "unfit": {suite: list(reasons) for suite, reasons in results.unfit.items()} if results is not None else {},
    }
    replace_text(path.parent / RESULTS_FILE, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return Written(path, top.lines)


def page(record: RunRecord, store: Store) -> str:
    """The page alone."""
    return render(collect(record, store)[0])
