"""The numbers that matter: what base, warm-started and aligned model achieve, what feedback brought, y against y*."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..results import DIFFERENCE, Results, Score
from .model import Figure, Notice

PASSED = "promptShare"
"""Share of prompts whose constraints are all satisfied."""
MODEL_WORDS = {"initial": "base", "warm-start": "warm-started", "policy": "aligned"}


@dataclass(frozen=True)
class Headline:
    """The numbers, on the page (``figures``, ``notices``) and on the terminal (``lines``)."""

    figures: tuple[Figure, ...] = ()
    notices: tuple[Notice, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Share:
    """A share with its 95% interval."""

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Refinement:
    """What refining did on the synthesis prompts: share of y and of y* that satisfy every constraint."""

    response: Share
    refined: Share
    difference: Share


def model_word(name: str) -> str:
    """``base``, ``warm-started``, ``aligned``; other names as they are."""
    return MODEL_WORDS.get(name, name)


def percent(value: float) -> str:
    """``57%``; one decimal below 10%."""
    return f"{value * 100:.0f}%" if value == 0 or abs(value) >= 0.0995 else f"{value * 100:.1f}%"


def points(value: float) -> str:
    """A difference of shares in percentage points, signed: ``+9``, ``−2.5``, ``0``."""
    number = f"{abs(value) * 100:.1f}".removesuffix(".0")
    return number if number == "0" else ("+" if value > 0 else "−") + number


def percent_interval(low: float | None, high: float | None) -> str:
    """``[49%, 65%]``; empty without an interval."""
    return "" if low is None or high is None else f"[{percent(low)}, {percent(high)}]"


def points_interval(low: float | None, high: float | None) -> str:
    """``[+2, +16]``; empty without an interval."""
    return "" if low is None or high is None else f"[{points(low)}, {points(high)}]"


def candidate_of(results: Results, suite: str) -> str:
    """The model that is judged in ``suite``: that of its comparisons, or the first where nothing is compared."""
    scores = [score for score in results.scores if score.suite == suite]
    return next((s.candidate for s in scores if s.baseline is not None), scores[0].candidate if scores else "")


def compared_models(results: Results, suite: str, name: str = PASSED) -> list[Score]:
    """Whole-data scores of every model in ``suite``, the candidate last."""
    candidate = candidate_of(results, suite)
    scores = [s for s in results.scores if (s.suite, s.name, s.slice, s.baseline) == (suite, name, None, None)]
    order = ["initial", "warm-start"]
    ranked = sorted(scores, key=lambda s: order.index(s.candidate) if s.candidate in order else len(order))
    return sorted(ranked, key=lambda s: s.candidate == candidate)


def differences(results: Results, suite: str, name: str = PASSED) -> list[Score]:
    """Paired differences of the candidate to each baseline, the closest baseline (the warm-started model) first."""
    wanted = (suite, name + DIFFERENCE, None)
    found = [s for s in results.scores if (s.suite, s.name, s.slice) == wanted and s.baseline is not None]
    return sorted(found, key=lambda s: s.baseline != "warm-start")


def read_refinement(metrics: Mapping[str, Any]) -> Refinement | None:
    """y against y* from the metrics of a synthesis artifact; None where prompts have nothing a program can verify."""
    document = metrics.get("refinement")
    if not isinstance(document, Mapping):
        return None
    return Refinement(*(_share(document[name]) for name in ("response", "refined", "difference")))


def headline(results: Results | None, refinement: Refinement | None) -> Headline:
    """Everything to say before all else, whatever it is."""
    figures: list[Figure] = []
    notices: list[Notice] = []
    lines: list[str] = []
    if refinement is not None:
        text = refinement_text(refinement)
        if refinement.difference.value <= 0:
            notices.append(
                Notice(
                    "bad",
                    f"The refined responses y* are not better than the responses y they replace: {text}. The pairs "
                    "do not carry what the feedback asked for.",
                )
            )
        elif refinement.difference.low is not None and refinement.difference.low <= 0:
            notices.append(Notice("warn", f"Whether y* is better than y is not certain: {text}."))
    if results is not None:
        for suite in results.suites("Verifiable"):
            more_figures, more_lines = _pass_rates(results, suite)
            figures += more_figures
            lines += more_lines
        notices += [
            Notice("warn", f"Suite {suite} is unfit, its numbers are shown but are no evidence: {'; '.join(reasons)}.")
            for suite, reasons in results.unfit.items()
        ]
        notices += [Notice("warn", warning) for warning in results.warnings]
    if refinement is not None:
        lines.append(f"on the synthesis prompts: {refinement_text(refinement)}")
        lines += [notice.text for notice in notices if notice.kind == "bad"]
    return Headline(tuple(figures), tuple(notices), tuple(lines))


def refinement_text(refinement: Refinement) -> str:
    """y against y* in one line."""
    d = refinement.difference
    return (
        f"y passes {percent(refinement.response.value)}, y* {percent(refinement.refined.value)}, "
        f"difference {points(d.value)} points {points_interval(d.low, d.high)}, n = {d.n}".replace(" ,", ",")
    )


def _pass_rates(results: Results, suite: str) -> tuple[list[Figure], list[str]]:
    models = [score for score in compared_models(results, suite) if score.value is not None]
    if not models:
        return [], []
    figures = [
        Figure(
            f"{model_word(score.candidate).capitalize()} model",
            percent(score.value or 0.0),
            f"95% interval {percent_interval(score.low, score.high)}",
            "of the prompts, every constraint satisfied" if number == 0 else "",
        )
        for number, score in enumerate(models)
    ]
    width = max(len(model_word(score.candidate)) for score in models)
    lines = [f"pass rate: prompts with every constraint satisfied, n = {models[0].n}, with 95% intervals"]
    lines += [
        f"  {model_word(s.candidate):{width}}  {percent(s.value or 0.0):>5}  {percent_interval(s.low, s.high)}"
        for s in models
    ]
    for score in differences(results, suite)[:1]:
        against = f"{model_word(score.candidate)} minus {model_word(score.baseline or '')}"
        difference = points(score.value or 0.0)
        interval = points_interval(score.low, score.high)
        figures.append(
            Figure(
                "What the feedback brought", f"{difference} points", f"95% interval {interval}", f"{against}, paired"
            )
        )
        lines.append(f"what the feedback brought ({against}): {difference} points {interval}")
    return figures, lines


def _share(document: Mapping[str, Any]) -> Share:
    return Share(float(document["value"]), document.get("low"), document.get("high"), int(document["n"]))
