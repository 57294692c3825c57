"""A run as it was exported from a cluster (``kubectl get arun first -o json``), with its store."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .cluster.record import record_of
from .errors import UserError
from .kept_logs import kept_log
from .records import RunRecord
from .source import LogWanted, chosen_attempt, chosen_stage, rank_at_fault

if TYPE_CHECKING:
    from boresight_trainer.store.base import Store

    from .report.write import Report


@dataclass(frozen=True)
class ObjectRuns:
    """:class:`boresight.source.RunsToRead` of one run in a file (``-``: stdin)."""

    file: str
    option: str | None
    """``--store``."""

    def find(self, name: str | None) -> RunRecord:
        """See :class:`boresight.source.RunsToRead`; there is one."""
        try:
            text = sys.stdin.read() if self.file == "-" else Path(self.file).read_text(encoding="utf-8")
            record = record_of(json.loads(text), time.time())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"--object: {self.file}: found no run ({error!r}), expected one as JSON") from error
        if name not in (None, record.name):
            raise UserError(f"--object: {self.file}: found run {record.name}, expected {name}")
        return record

    def store(self, run: RunRecord) -> Store:
        """See :class:`boresight.source.RunsToRead`."""
        from .artifact import store_at

        return store_at(self.option or run.store or None)

    def report(self, run: RunRecord) -> Report:
        """See :class:`boresight.source.RunsToRead`."""
        from .report.write import make_report

        return make_report(run, self.store(run))

    def report_path(self, run: RunRecord) -> Path:
        """See :class:`boresight.source.RunsToRead`."""
        return Path(f"{run.name}-report") / "report.html"

    def log(self, run: RunRecord, wanted: LogWanted) -> Iterator[bytes]:
        """See :class:`boresight.source.RunsToRead`; as it was kept."""
        stage = chosen_stage(run, wanted.stage)
        number = chosen_attempt(run, stage, wanted)
        return kept_log(self.store(run), run, stage.name, number, wanted.rank or rank_at_fault(stage, number))
