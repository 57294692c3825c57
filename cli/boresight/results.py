"""Results of an evaluation: read from its ``results.json`` (lm-evaluation-harness' layout), shown, and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import UserError

RESULTS_FILE = "results.json"
"""Of an evaluation's artifact, and beside a report."""
SUFFIXES = ("_stderr", "_low", "_high", "_n", "_clusters", "_invalid", "_interval")
DIFFERENCE = "Difference"
"""End of the name of a paired difference between candidate and baseline."""


@dataclass(frozen=True)
class Score:
    """One number of one suite, with its 95% interval. ``baseline`` is set for comparisons, ``slice`` for parts."""

    suite: str
    name: str
    candidate: str
    baseline: str | None
    slice: str | None
    value: float | None
    low: float | None
    high: float | None
    n: int
    invalid: int
    higher_is_better: bool | None

    @property
    def identity(self) -> tuple[str, str, str, str | None, str | None]:
        """What the number is of."""
        return self.suite, self.name, self.candidate, self.baseline, self.slice


@dataclass(frozen=True)
class Results:
    """A results file."""

    scores: tuple[Score, ...]
    comparison: Mapping[str, str]
    """Suite -> digest of what must be equal for two results to be comparable."""
    unfit: Mapping[str, tuple[str, ...]]
    """Suite -> why it must not be a headline; only unfit ones."""
    warnings: tuple[str, ...]
    kinds: Mapping[str, str]
    """Name of a suite's entry -> which suite it is: Holdout, Verifiable, Pairwise."""
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def find(self, suite: str, name: str, candidate: str, baseline: str | None = None) -> Score | None:
        """The score of the whole data set, if it was measured."""
        identity = (suite, name, candidate, baseline, None)
        return next((score for score in self.scores if score.identity == identity), None)

    def suites(self, kind: str) -> list[str]:
        """Names of the entries of one suite."""
        return [name for name, suite in self.kinds.items() if suite == kind]


def read_results(path: Path) -> Results:
    """The results in the file at ``path``. Raises :class:`UserError` if it holds none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return parse_results(document)
    except FileNotFoundError as error:
        raise UserError(f"{path}: found no such file, expected a results.json") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: found no results in it ({error!r}), expected a results.json of an evaluation"
        ) from error


def parse_results(document: Mapping[str, Any]) -> Results:
    """The results in a document. Raises KeyError, TypeError or ValueError if it is not one of ours."""
    if "comparisonDigests" in document:
        return _of_a_report(document)
    fitness = document["fitness"]
    return Results(
        scores=tuple(_scores(document)),
        comparison=dict(document["comparison_digest"]),
        unfit={suite: tuple(f["reasons"]) for suite, f in fitness.items() if f["state"] != "Fit"},
        warnings=tuple(f"{suite}: {warning}" for suite, f in fitness.items() for warning in f.get("warnings", ())),
        kinds={name: config["metadata"]["suite"]["suite"] for name, config in document["configs"].items()},
        details=dict(document.get("details", {})),
    )


def _of_a_report(document: Mapping[str, Any]) -> Results:
    """From the ``results.json`` next to a report: the rows of :func:`rows_of`, and what makes them comparable."""
    return Results(
        scores=tuple(
            Score(**{name: value for name, value in row.items() if name != "fit"}, higher_is_better=None)
            for row in document["results"]
        ),
        comparison=dict(document["comparisonDigests"]),
        unfit={suite: tuple(reasons) for suite, reasons in document["unfit"].items()},
        warnings=(),
        kinds={},
    )


def _scores(document: Mapping[str, Any]) -> Iterator[Score]:
    for task, values in document["results"].items():
        suite, _, part = task.partition("/")
        directions = document["higher_is_better"].get(suite, {})
        for label, value in values.items():
            name, comma, where = label.partition(",")
            if not comma or name.endswith(SUFFIXES):
                continue
            candidate, versus, baseline = where.partition("-vs-")
            yield Score(
                suite=suite,
                name=name,
                candidate=candidate,
                baseline=baseline if versus else None,
                slice=part or None,
                value=value,
                low=values.get(f"{name}_low,{where}"),
                high=values.get(f"{name}_high,{where}"),
                n=int(values.get(f"{name}_n,{where}") or 0),
                invalid=int(values.get(f"{name}_invalid,{where}") or 0),
                higher_is_better=directions.get(name),
            )


def rows_of(results: Results) -> list[dict[str, Any]]:
    """Scores as flat rows: for tables, JSON and CSV."""
    return [
        {
            "suite": score.suite,
            "name": score.name,
            "slice": score.slice,
            "candidate": score.candidate,
            "baseline": score.baseline,
            "value": _rounded(score.value),
            "low": _rounded(score.low),
            "high": _rounded(score.high),
            "n": score.n,
            "invalid": score.invalid,
            "fit": score.suite not in results.unfit,
        }
        for score in results.scores
    ]


def compare(named: Sequence[tuple[str, Results]]) -> list[dict[str, Any]]:
    """Scores side by side, one column a result, for suites that all have.

    Raises :class:`UserError` if a suite was measured differently (other prompts, decoding, engine): such numbers must
    not stand side by side.
    """
    shared = [suite for suite in named[0][1].comparison if all(suite in results.comparison for _, results in named)]
    if not shared:
        have = "; ".join(f"{name}: {', '.join(results.comparison) or 'none'}" for name, results in named)
        raise UserError(f"no suite is in all of them ({have})")
    for suite in shared:
        digests = {results.comparison[suite] for _, results in named}
        if len(digests) > 1:
            found = "; ".join(f"{name}: {results.comparison[suite][:19]}" for name, results in named)
            raise UserError(
                f'suite "{suite}" cannot be compared: prompts, decoding settings or engine differ ({found}); '
                "evaluate the models with one EvalRun"
            )
    tables = [{score.identity: score for score in results.scores} for _, results in named]
    rows = []
    for identity, score in tables[0].items():
        if identity[0] not in shared or not all(identity in table for table in tables):
            continue
        row: dict[str, Any] = {
            "suite": score.suite,
            "name": score.name,
            "slice": score.slice,
            "candidate": score.candidate,
            "baseline": score.baseline,
        }
        for (name, _), table in zip(named, tables, strict=True):
            other = table[identity]
            row[name] = _rounded(other.value)
            row[f"{name} interval"] = _interval(other)
        rows.append(row)
    return rows


def _interval(score: Score) -> str:
    if score.low is None or score.high is None:
        return ""
    return f"[{score.low:.3f}, {score.high:.3f}]"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
