"""Progress of one stage: a document for people and the operator, and ``metrics.jsonl`` for the artifact."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import metrics

METRICS_NAME = "metrics.jsonl"


@dataclass
class Progress:
    """What a stage has done so far.

    ``file`` (local runs) is replaced whole whenever the document changes, at most every ``interval`` seconds; the
    server serves the same document. ``metrics_path`` receives one JSON line per :meth:`log`.
    """

    stage: str
    key: str | None
    metrics_path: Path | None = None
    file: Path | None = None
    pod_uid: str | None = None
    interval: float = 0.2
    clock: Callable[[], float] = time.monotonic
    _document: dict[str, Any] = field(default_factory=dict)
    _started: float = 0.0
    _written: float = float("-inf")
    _done_before: int = 0

    def __post_init__(self) -> None:
        self._document = {"stage": self.stage, "key": self.key, "podUID": self.pod_uid}
        self.phase("start", 0)

    @property
    def document(self) -> dict[str, Any]:
        """The /progress document: stage, key, phase; its step, totalSteps, remainingSeconds; the last metrics."""
        return self._document

    def phase(self, name: str, total: int, done: int = 0) -> None:
        """Begin a part of the stage, ``total`` steps long, ``done`` of which an earlier attempt has done."""
        self._started = self.clock()
        self._done_before = done
        self._document = {
            **{k: self._document[k] for k in ("stage", "key", "podUID")},
            "phase": name,
            "step": done,
            "totalSteps": total,
        }
        self._write(force=True)

    def advance(self, done: int, **values: float) -> None:
        """``done`` steps of the phase are complete; ``values`` are shown beside the bar."""
        total = int(self._document["totalSteps"])
        fresh = done - self._done_before
        elapsed = self.clock() - self._started
        document = {**self._document, "step": done, **values}
        if fresh > 0 and total:
            document["remainingSeconds"] = round(elapsed / fresh * (total - done), 1)
        self._document = document
        self._write(force=done >= total)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl`` and set the gauges of the same names."""
        for name, gauge in metrics.GAUGES.items():
            value = record.get(name)
            if isinstance(value, int | float):
                gauge.set(value)
        if self.metrics_path is not None:
            with self.metrics_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(record), ensure_ascii=False, allow_nan=False) + "\n")

    def _write(self, *, force: bool) -> None:
        if self.file is None:
            return
        now = self.clock()
        if not force and now - self._written < self.interval:
            return
        self._written = now
        temporary = self.file.with_name(self.file.name + ".tmp")
        temporary.write_text(json.dumps(self._document), encoding="utf-8")
        temporary.replace(self.file)
