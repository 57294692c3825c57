"""What ``/metrics`` shows of single runs, read from their statuses: conditions, and the figures of finished stages."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .api import Object
from .plain import epoch, mappings, text

CONDITIONS = frozenset({"Accepted", "Reconciling", "Stalled", "Suspended", "Succeeded", "ProgressAvailable"})
"""Types of conditions that the operator writes."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Of a run."""

    type: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Result:
    """One line of an evaluation, with its 95% interval if it has one."""

    suite: str
    name: str
    candidate: str
    baseline: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class FinishedStage:
    """A stage that is done and has left numbers."""

    name: str
    completed: float
    """Seconds since the epoch."""
    metrics: tuple[tuple[str, float], ...]
    """Headline metrics."""
    results: tuple[Result, ...] = ()
    """Of an evaluation."""


def conditions_of(run: Object) -> tuple[Condition, ...]:
    """The operator's own; what somebody else put beside them would be a series of theirs."""
    listed = mappings(run, "status", "conditions")
    found = (Condition(*(_word(item, name) for name in ("type", "status", "reason"))) for item in listed)
    return tuple(condition for condition in found if condition.type in CONDITIONS)


def finished_stages(run: Object) -> Iterator[FinishedStage]:
    """In the plan's order. A number that is none (a status edited by hand) is left out."""
    for stage in mappings(run, "status", "stages"):
        completed = epoch(stage.get("completionTime"))
        if completed is None:
            continue
        named = ((_word(item, "name"), _number(item, "value")) for item in mappings(stage, "metrics"))
        metrics = {name: value for name, value in named if value is not None}
        results = tuple(_results(run)) if stage.get("name") == "evaluation" else ()
        if metrics or results:
            yield FinishedStage(_word(stage, "name"), completed, tuple(metrics.items()), results)


def _results(run: Object) -> Iterator[Result]:
    for item in mappings(run, "status", "results"):
        value = _number(item, "value")
        if value is not None:
            suite, name, candidate, baseline = (_word(item, n) for n in ("suite", "name", "candidate", "baseline"))
            yield Result(suite, name, candidate, baseline, value, _number(item, "low"), _number(item, "high"))


def _word(holder: Mapping[str, Any], name: str) -> str:
    """The same few words stand in a thousand statuses: each is kept once."""
    return sys.intern(text(holder, name))


def _number(holder: Mapping[str, Any], name: str) -> float | None:
    try:
        value = float(text(holder, name))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
