"""What a report says, as plain values: collected by :mod:`.collect`, drawn by :mod:`.page`."""

from __future__ import annotations

from dataclasses import dataclass

from .charts import Interval, Series


@dataclass(frozen=True)
class Notice:
    """A sentence at the top that the reader must not miss. ``kind``: ``bad``, ``warn`` or ``good``."""

    kind: str
    text: str


@dataclass(frozen=True)
class Figure:
    """One number that matters, large, with its interval."""

    label: str
    value: str
    interval: str = ""
    note: str = ""


@dataclass(frozen=True)
class StageView:
    """A stage in the pipeline."""

    name: str
    what: str
    state: str
    key: str | None
    seconds: float | None
    """Of the attempt that published the artifact, whenever that was."""
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """One chart of a stage's ``metrics.jsonl``."""

    stage: str
    title: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Step:
    """One text of an example: prompt x, response y, critique c, refined response y*, an answer of a model."""

    label: str
    text: str
    role: str
    """``prompt``, ``response``, ``critique``, ``refined`` or ``final``: its colour."""
    satisfied: tuple[int, int] | None = None
    """Constraints satisfied, of how many."""


@dataclass(frozen=True)
class Example:
    """One prompt and everything that was made of it, side by side."""

    id: str
    steps: tuple[Step, ...]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption. Cells of numeric columns (``numeric``: their indices) align right."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Forest:
    """A forest plot."""

    title: str
    rows: tuple[Interval, ...]
    zero: float | None = None
    percent: bool = True
    note: str = ""


@dataclass(frozen=True)
class Report:
    """One page."""

    title: str
    subtitle: str
    state: str
    notices: tuple[Notice, ...] = ()
    figures: tuple[Figure, ...] = ()
    stages: tuple[StageView, ...] = ()
    results: tuple[Forest, ...] = ()
    measures: tuple[Table, ...] = ()
    filters: tuple[Table, ...] = ()
    curves: tuple[Curve, ...] = ()
    synthesis_examples: tuple[Example, ...] = ()
    final_examples: tuple[Example, ...] = ()
    digests: tuple[Table, ...] = ()
    manifest: str = ""
    """The manifest as YAML."""
    footer: str = ""
