"""How scores are shown: which become plots, which become tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..results import Results, Score
from .charts import Interval
from .headline import (
    Refinement,
    Share,
    candidate_of,
    compared_models,
    differences,
    model_word,
    percent,
    percent_interval,
    points,
    points_interval,
)
from .model import Forest, Table

MEASURES = {
    "onTopicShare": "on topic, share of answers",
    "fluency": "fluency: log-probability per token under the initial model",
    "answerTokens": "length in tokens",
    "distinctShare": "distinct answers, share",
    "finishedShare": "ended by itself, share",
}


def forests(results: Results) -> Iterator[Forest]:
    """Pass rates, paired differences and win rates with their intervals."""
    for suite in results.suites("Verifiable"):
        rows = compared_models(results, suite)
        title = f"{suite}: prompts with every constraint satisfied"
        candidate = candidate_of(results, suite)
        yield Forest(title, tuple(_share_row(score, candidate) for score in rows if score.value is not None))
        gaps = [score for score in differences(results, suite) if score.value is not None]
        note = "Intervals that cross 0 leave open which model is better." if gaps else ""
        yield Forest(
            f"{suite}: paired differences, in percentage points", tuple(map(_difference_row, gaps)), zero=0.0, note=note
        )
    for suite in results.suites("Pairwise"):
        rows = [s for s in _whole(results, suite) if s.name in {"winRate", "lengthControlledWinRate"}]
        unfit = "The judge failed its check set: these numbers are no evidence." if suite in results.unfit else ""
        yield Forest(
            f"{suite}: win rate, ties count half; 50% is no difference",
            tuple(_win_row(score) for score in rows if score.value is not None),
            zero=0.5,
            note=unfit,
        )


def refinement_forest(refinement: Refinement) -> Forest:
    """y against y* on the synthesis prompts."""
    rows = [
        Interval(label, share.value, share.low, share.high, _share_note(share), detail=detail)
        for label, detail, share in (
            ("y", "answers of the initial model", refinement.response),
            ("y*", "after its critique", refinement.refined),
        )
    ]
    d = refinement.difference
    note = f"Paired difference: {points(d.value)} points {points_interval(d.low, d.high)}."
    return Forest("Synthesis prompts with every constraint satisfied", tuple(rows), note=note)


def _share_note(share: Share | Score) -> str:
    return f"{percent(share.value or 0)}  {percent_interval(share.low, share.high)}  n = {share.n}"


def _share_row(score: Score, candidate: str) -> Interval:
    strong = score.candidate == candidate
    return Interval(model_word(score.candidate), score.value or 0, score.low, score.high, _share_note(score), strong)


def _difference_row(score: Score) -> Interval:
    label = f"{model_word(score.candidate)} − {model_word(score.baseline or '')}"
    note = f"{points(score.value or 0)}  {points_interval(score.low, score.high)}"
    strong = score.baseline == "warm-start"
    detail = "what language feedback brought" if strong else ""
    return Interval(label, score.value or 0, score.low, score.high, note, strong, detail)


def _win_row(score: Score) -> Interval:
    label = f"{model_word(score.candidate)} against {model_word(score.baseline or '')}"
    detail = "length-controlled" if score.name.startswith("length") else ""
    return Interval(label, score.value or 0, score.low, score.high, _share_note(score), not detail, detail)


def tables(results: Results) -> Iterator[Table]:
    """Everything else that was measured: second measures, slices, the feedback model, the judge."""
    for suite in results.suites("Verifiable"):
        models = [score.candidate for score in compared_models(results, suite)]
        scores = {(s.name, s.candidate): s for s in _whole(results, suite) if s.baseline is None}
        rows = [
            (words, *(_cell(scores.get((name, model))) for model in models))
            for name, words in MEASURES.items()
            if any((name, model) in scores for model in models)
        ]
        yield Table(
            f"{suite}: second measures, for form can be satisfied by answers that are short, dull or beside the point",
            ("", *(model_word(model) for model in models)),
            tuple(rows),
            tuple(range(1, len(models) + 1)),
        )
        yield from _slices(results, suite, models)
    for suite in results.suites("Holdout"):
        scores_of_suite = _whole(results, suite)
        yield Table(
            f"{suite}: the feedback model on held-out feedback",
            ("measure", "value", "95% interval", "n"),
            tuple((s.name, _number(s.value), _interval(s), f"{s.n:,}") for s in scores_of_suite),
            (1, 2, 3),
        )
    for suite in results.suites("Pairwise"):
        rest = [s for s in _whole(results, suite) if s.name not in {"winRate", "lengthControlledWinRate"}]
        yield Table(
            f"{suite}: how the judge behaved",
            ("measure", "of", "value", "95% interval", "n"),
            tuple((s.name, _who(s), _number(s.value), _interval(s), f"{s.n:,}") for s in rest),
            (2, 3, 4),
        )


def _slices(results: Results, suite: str, models: Sequence[str]) -> Iterator[Table]:
    parts = [s for s in results.scores if s.suite == suite and s.slice is not None and s.name == "constraintShare"]
    names = sorted({s.slice for s in parts if s.slice is not None})
    by_place = {(s.slice, s.candidate): s for s in parts}
    rows = []
    for name in names:
        first = by_place.get((name, models[0]))
        cells = [percent(s.value) if (s := by_place.get((name, m))) and s.value is not None else "-" for m in models]
        rows.append((name, f"{first.n if first else 0:,}", *cells))
    if rows:
        headers = ("kind", "n", *(model_word(model) for model in models))
        caption = f"{suite}: constraints satisfied, by kind"
        yield Table(caption, headers, tuple(rows), tuple(range(1, len(headers))))


def _whole(results: Results, suite: str) -> list[Score]:
    return [s for s in results.scores if s.suite == suite and s.slice is None]


def _cell(score: Score | None) -> str:
    if score is None or score.value is None:
        return "-"
    if score.name.endswith("Share"):
        return f"{percent(score.value)} {percent_interval(score.low, score.high)}"
    return f"{_number(score.value)} {_interval(score)}"


def _interval(score: Score) -> str:
    return "" if score.low is None or score.high is None else f"[{_number(score.low)}, {_number(score.high)}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}".replace("-", "−")


def _who(score: Score) -> str:
    return f"{model_word(score.candidate)} against {model_word(score.baseline)}" if score.baseline else score.candidate
