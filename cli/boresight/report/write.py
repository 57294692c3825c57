"""Making and writing the report and ``results.json`` of a run."""

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
class Report:
    """On a run."""

    page: str
    results: str | None = None
    """Content of ``results.json``; None where the page alone is to be had."""
    summary: tuple[str, ...] = ()
    """The numbers that matter, as lines for a terminal."""

    def write(self, path: Path) -> None:
        """The page to ``path``, and ``results.json`` next to it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, self.page)
        if self.results is not None:
            replace_text(path.parent / RESULTS_FILE, self.results)


def make_report(record: RunRecord, store: Store) -> Report:
    """From the record and its artifacts."""
    report, top, results = collect(record, store)
    document = {
        "run": to_document(record),
        "results": rows_of(results) if results is not None else [],
        "comparisonDigests": dict(results.comparison) if results is not None else {},
        "unfit": {suite: list(reasons) for suite, reasons in results.unfit.items()} if results is not None else {},
    }
    return Report(render(report), json.dumps(document, indent=1, ensure_ascii=False) + "\n", top.lines)
