"""The data set of questions about media: which rows, from which side of the split, in which file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random

from boresight_api.stages import Templates

from ..instructions.compose import take_turns
from ..seeds import derive_seed
from ..verifiable_rows import Row, answered_row, pair_row, prompt_row, refinement_row, response_row
from .medium import Medium
from .question import TRIES, Question, QuestionKind, WrongAnswer
from .sides import Side


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of each file."""

    prompts: int = 160
    evaluation: int = 128
    dev: int = 64
    feedback: int = 160
    holdout: int = 40
    warm_start: int = 96
    plain: int = 32
    """Right answers in the warm start."""
    preferences: int = 160
    """Pairs on the first prompts of prompts.jsonl, at most as many as there are."""

    @property
    def questions(self) -> int:
        """How many questions have to be drawn."""
        counts: dict[str, int] = asdict(self)
        return sum(counts.values()) - self.preferences


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that decides the rows."""

    seed: int
    kinds: tuple[QuestionKind, ...]
    counts: Counts = field(default_factory=Counts)
    templates: Templates = field(default_factory=Templates)


@dataclass(frozen=True, slots=True)
class Made:
    """The data set: rows by file, and the media that they name by path."""

    files: Mapping[str, list[Row]]
    media: Mapping[str, Medium]


def make_all(options: Options, on_question: Callable[[int], None] | None = None) -> Made:
    """All files that have rows. ``on_question`` is told how many questions have been drawn.

    Raises StageFailure(InvalidConfig) when there are too few different questions.
    """
    drawing = _Drawing(options, on_question)
    counts = options.counts
    prompts = drawing.draw("prompt", counts.prompts, Side.TRAIN)
    evaluation = drawing.draw("eval", counts.evaluation, Side.TEST)
    dev = drawing.draw("dev", counts.dev, Side.DEV)
    feedback = drawing.draw("feedback", counts.feedback, Side.TRAIN)
    holdout = drawing.draw("holdout", counts.holdout, Side.DEV)
    warm_start = drawing.draw("warm-start", counts.warm_start, Side.TRAIN)
    plain = drawing.draw("plain", counts.plain, Side.TRAIN)
    files = {
        "warm_start.jsonl": [
            *(_refinement_row(each, options.templates) for each in warm_start),
            *(answered_row(each.id, each.question, each.right) for each in plain),
        ],
        "feedback.jsonl": _feedback_rows(feedback),
        "prompts.jsonl": [prompt_row(each.id, each.question) for each in prompts],
        "preferences.jsonl": [_preference_row(each) for each in prompts[: counts.preferences]],
        "holdout.jsonl": _feedback_rows(holdout),
        "dev.jsonl": [prompt_row(each.id, each.question) for each in dev],
        "eval.jsonl": [prompt_row(each.id, each.question) for each in evaluation],
    }
    return Made({name: rows for name, rows in files.items() if rows}, drawing.media)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A question with its row's id, one of its right answers and one of its wrong ones."""

    id: str
    question: Question
    right: str
    wrong: WrongAnswer


class _Drawing:
    """Draws questions; remembers them, so that none occurs twice in a data set."""

    def __init__(self, options: Options, on_question: Callable[[int], None] | None) -> None:
        self.media: dict[str, Medium] = {}
        self._options = options
        self._on_question = on_question
        self._asked: set[tuple[str, str]] = set()

    def draw(self, purpose: str, count: int, side: Side) -> list[_Drawn]:
        """``count`` questions of ``side``, the kinds taking turns."""
        rng = Random(derive_seed(self._options.seed, "questions", purpose, 0))
        questions = take_turns(count, self._options.kinds, lambda kind: self._new(kind, side, rng))
        return [
            _Drawn(f"{purpose}-{number:04d}", each, rng.choice(each.right), rng.choice(each.wrong))
            for number, each in enumerate(questions)
        ]

    def _new(self, kind: QuestionKind, side: Side, rng: Random) -> Question | None:
        for _ in range(TRIES):
            question = kind.question(rng, side)
            if question is None:
                return None
            asked = (question.prompt, question.medium.path)
            if asked not in self._asked:
                self._asked.add(asked)
                self.media[question.medium.path] = question.medium
                if self._on_question is not None:
                    self._on_question(len(self._asked))
                return question
        return None


def _refinement_row(drawn: _Drawn, templates: Templates) -> Row:
    return refinement_row(drawn.id, drawn.question, drawn.wrong.text, drawn.right, templates)


def _feedback_rows(drawn: Sequence[_Drawn]) -> list[Row]:
    """Of every kind, each second answer is right; ``meta.wrong`` says in what way the others are not."""
    turns: dict[str, int] = {}
    rows: list[Row] = []
    for each in drawn:
        turn = turns[each.question.kind] = turns.get(each.question.kind, 0) + 1
        if turn % 2:
            rows.append(response_row(each.id, each.question, each.wrong.text, wrong=each.wrong.way))
        else:
            rows.append(response_row(each.id, each.question, each.right))
    return rows


def _preference_row(drawn: _Drawn) -> Row:
    row_id = drawn.id.replace("prompt", "preference")
    return pair_row(row_id, drawn.question, drawn.right, drawn.wrong.text, wrong=drawn.wrong.way)
