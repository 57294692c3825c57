"""The data set of verifiable instructions: which rows, from which side of the split, in which file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from random import Random
from typing import Protocol

from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import Templates

from ..seeds import derive_seed
from ..verifiable_rows import Row, prompt_row
from .compose import Composer, Instruction
from .constraint import InstructionKind, Split
from .registry import KINDS, NEVER_TRAINED, SIMPLE, SIMPLE_NEVER_TRAINED, kinds_named
from .rows import Answer, feedback_row, plain_row, preference_row, warm_start_row

TRAINED_SLICE = "trained kinds"
UNSEEN_SLICE = "kinds never trained"
_SPARE = 3
"""Instructions drawn per demonstration: not every answer fails, ends, is on its topic, or can be edited by rule."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of each file."""

    warm_start: int = 96
    plain: int = 32
    """Prompts without constraints in the warm start, answered by the model itself, so that it does not unlearn that."""
    feedback: int = 160
    prompts: int = 160
    preferences: int = 160
    """Prompts, of those in prompts.jsonl, that preferences are looked for on."""
    holdout: int = 40
    evaluation: int = 128
    never_trained: int = 32


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that decides the rows, but for the answers."""

    seed: int
    trained: tuple[type[InstructionKind], ...]
    never_trained: tuple[type[InstructionKind], ...]
    compose: int = 1
    samples: int = 4
    """Answers per prompt that a preference is looked for among."""
    counts: Counts = field(default_factory=Counts)
    templates: Templates = field(default_factory=Templates)


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """One answer y to be sampled: for which prompt, with which seed."""

    id: str
    prompt: str
    seed: int


class AnswerSource(Protocol):
    """Where the answers y come from."""

    def answers(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
        """One answer per request, in order."""


def choose_kinds(names: str) -> tuple[tuple[type[InstructionKind], ...], tuple[type[InstructionKind], ...]]:
    """The trained and the never trained kinds of ``simple``, ``all``, or names separated by commas.

    Raises StageFailure(InvalidConfig) for a name that does not exist, or that evaluation keeps to itself.
    """
    if names == "simple":
        return kinds_named(SIMPLE), kinds_named(SIMPLE_NEVER_TRAINED)
    unseen = tuple(kind for kind in KINDS if kind.kind in NEVER_TRAINED)
    if names == "all":
        return tuple(kind for kind in KINDS if kind.kind not in NEVER_TRAINED), unseen
    trained = kinds_named([name.strip() for name in names.split(",")])
    for kind in trained:
        if kind.kind in NEVER_TRAINED:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f'--kinds: found "{kind.kind}", which is kept for evaluation and never trained; leave it out',
            )
    return trained, unseen


def make_prompts(options: Options) -> dict[str, list[Row]]:
    """The files that need no model: ``prompts.jsonl`` and ``eval.jsonl``."""
    drawn = _Drawn.of(options)
    return {"prompts.jsonl": drawn.prompt_rows(), "eval.jsonl": drawn.evaluation_rows()}


def make_all(options: Options, source: AnswerSource) -> dict[str, list[Row]]:
    """All files that have rows, their answers sampled from ``source``.

    Raises StageFailure(InvalidConfig) when too few refinement dialogues can be made.
    """
    drawn = _Drawn.of(options)
    sampled = _sample(options, drawn, source)
    files = {
        "warm_start.jsonl": _warm_start_rows(options, drawn, sampled),
        "feedback.jsonl": _feedback_rows("feedback", drawn.feedback, sampled),
        "prompts.jsonl": drawn.prompt_rows(),
        "preferences.jsonl": _preference_rows(drawn.prompts[: options.counts.preferences], sampled),
        "holdout.jsonl": _feedback_rows("holdout", drawn.holdout, sampled),
        "eval.jsonl": drawn.evaluation_rows(),
    }
    return {name: rows for name, rows in files.items() if rows}


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The instructions of all files. What needs no model is drawn first, so it is the same with and without one."""

    prompts: list[Instruction]
    evaluation: list[Instruction]
    never_trained: list[Instruction]
    feedback: list[Instruction]
    holdout: list[Instruction]
    warm_start: list[Instruction]
    plain: list[Instruction]

    @classmethod
    def of(cls, options: Options) -> _Drawn:
        composer, counts = Composer(taken=set()), options.counts

        def draw(
            purpose: str, count: int, split: Split, kinds: Sequence[type[InstructionKind]] = options.trained
        ) -> list[Instruction]:
            rng = Random(derive_seed(options.seed, "instructions", purpose, 0))
            return composer.instructions(count, kinds, split=split, compose=options.compose, rng=rng) if kinds else []

        return cls(
            prompts=draw("prompts", counts.prompts, Split.TRAIN),
            evaluation=draw("evaluation", counts.evaluation, Split.EVALUATION),
            never_trained=draw("never-trained", counts.never_trained, Split.EVALUATION, options.never_trained),
            feedback=draw("feedback", counts.feedback, Split.TRAIN),
            holdout=draw("holdout", counts.holdout, Split.EVALUATION),
            warm_start=draw("warm-start", counts.warm_start * _SPARE, Split.TRAIN),
            plain=composer.plain(
                counts.plain * _SPARE,
                split=Split.TRAIN,
                rng=Random(derive_seed(options.seed, "instructions", "plain", 0)),
            ),
        )

    def prompt_rows(self) -> list[Row]:
        return [prompt_row(_row_id("prompt", number), each) for number, each in enumerate(self.prompts)]

    def evaluation_rows(self) -> list[Row]:
        named = [(each, TRAINED_SLICE) for each in self.evaluation] + [
            (each, UNSEEN_SLICE) for each in self.never_trained
        ]
        return [prompt_row(_row_id("eval", number), each, slice=part) for number, (each, part) in enumerate(named)]


def _sample(options: Options, drawn: _Drawn, source: AnswerSource) -> dict[str, list[Answer]]:
    """Answers by prompt."""
    requests = [
        AnswerRequest(f"{each.prompt}#{index}", each.prompt, derive_seed(options.seed, "response", each.prompt, index))
        for part, samples in (
            (drawn.feedback, 1),
            (drawn.holdout, 1),
            (drawn.warm_start, 1),
            (drawn.plain, 1),
            (drawn.prompts[: options.counts.preferences], options.samples),
        )
        for each in part
        for index in range(samples)
    ]
    answers: dict[str, list[Answer]] = {}
    for request, answer in zip(requests, source.answers(requests), strict=True):
        answers.setdefault(request.prompt, []).append(answer)
    return answers


def _warm_start_rows(options: Options, drawn: _Drawn, sampled: dict[str, list[Answer]]) -> list[Row]:
    """Refinement dialogues (kinds take turns; where one runs out, there are more of the others), then plain rows."""
    made = dict[str, list[Row]]()
    for number, each in enumerate(drawn.warm_start):
        row = warm_start_row(_row_id("warm-start", number), each, sampled[each.prompt][0], options.templates)
        if row is not None:
            made.setdefault(each.kinds[0], []).append(row)
    dialogues = [row for turn in zip_longest(*made.values()) for row in turn if row is not None]
    answered = (
        plain_row(_row_id("plain", number), each, sampled[each.prompt][0]) for number, each in enumerate(drawn.plain)
    )
    plain = [row for row in answered if row is not None]
    counts = options.counts
    return _first(dialogues, counts.warm_start, "--warm-start") + _first(plain, counts.plain, "--plain")


def _first(rows: list[Row], wanted: int, option: str) -> list[Row]:
    if len(rows) < wanted:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f"{option}: found {len(rows)} answers that can serve as demonstrations, expected {wanted}; ask for fewer "
            "rows, or for kinds that rules can follow (--kinds)",
        )
    return rows[:wanted]


def _feedback_rows(name: str, drawn: Sequence[Instruction], sampled: dict[str, list[Answer]]) -> list[Row]:
    """Of every kind, each fourth answer is preferred to be a satisfied one."""
    turns, rows = Counter[str](), list[Row]()
    for number, each in enumerate(drawn):
        prefer_satisfied = turns[each.kinds[0]] % 4 == 3
        rows.append(
            feedback_row(_row_id(name, number), each, sampled[each.prompt][0], prefer_satisfied=prefer_satisfied)
        )
        turns[each.kinds[0]] += 1
    return rows


def _preference_rows(drawn: Sequence[Instruction], sampled: dict[str, list[Answer]]) -> list[Row]:
    rows = (
        preference_row(_row_id("preference", number), each, sampled[each.prompt]) for number, each in enumerate(drawn)
    )
    return [row for row in rows if row is not None]


def _row_id(name: str, number: int) -> str:
    return f"{name}-{number:04d}"
