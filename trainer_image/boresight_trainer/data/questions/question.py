"""A kind of question: scenes that it draws, and for each a prompt, right answers, and answers wrong in a known way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from ..instructions import text
from ..instructions.kinds.facts import Choice, Colour, Fact, Number
from ..records import MediaReference, Modality
from .medium import RENDERED, Medium, Source
from .sides import Side, side_of

TRIES = 1000
_NO_ANSWER = ("I cannot tell.", "That is hard to say.", "I do not know.")


@dataclass(frozen=True, slots=True)
class Wrong:
    """A value that is not the answer, and in what way someone arrives at it."""

    value: str | int
    way: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What a medium is to show, before it is rendered.

    ``keys`` name all that decides its side of the split; what is left to chance (places, sizes, noise) is not in them.
    """

    keys: tuple[str, ...]
    answer: str | int
    wrong: tuple[Wrong, ...]
    render: Callable[[], bytes]
    terms: Mapping[str, str] = field(default_factory=dict)
    """What the placeholders of forms and statements stand for."""
    source: Source = RENDERED


@dataclass(frozen=True, slots=True)
class WrongAnswer:
    """An answer y that does not satisfy the constraint, and in what way it is wrong."""

    text: str
    way: str


@dataclass(frozen=True, slots=True)
class Question:
    """x with its medium, what verifies answers, and answers of both sorts."""

    kind: str
    prompt: str
    medium: Medium
    constraints: tuple[Fact]
    right: tuple[str, ...]
    wrong: tuple[WrongAnswer, ...]

    @property
    def media(self) -> tuple[MediaReference, ...]:
        """The medium as a row names it."""
        return (self.medium.reference,)

    @property
    def meta(self) -> Mapping[str, Any]:
        """Which kind of question it is."""
        return {"question": self.kind}


class QuestionKind(ABC):
    """Subclasses set the texts and draw scenes; what they need to render (a size) are fields of theirs."""

    name: ClassVar[str]
    """In ``--kinds``, in rows and in the results' slices."""
    modality: ClassVar[Modality]
    extension: ClassVar[str]
    """Of the files that scenes render."""
    forms: ClassVar[tuple[str, ...]]
    """Phrasings of the question; ``{term}`` is replaced."""
    statements: ClassVar[tuple[str, ...]]
    """Ways to say ``{answer}`` (a number also as ``{word}``) without a full stop. The first names the subject, too."""

    @abstractmethod
    def draw(self, rng: Random, side: Side) -> Scene | None:
        """A scene, or None if what was drawn does not make one. Only those of ``side`` are used."""

    @abstractmethod
    def constraint(self, scene: Scene, fact: str) -> Fact:
        """What verifies answers."""

    def scene(self, rng: Random, side: Side) -> Scene | None:
        """A scene of ``side``; None if none was found in :data:`TRIES` tries."""
        return self._first(rng, side, lambda _: True)

    def question(self, rng: Random, side: Side) -> Question | None:
        """A question about a scene of ``side``, its medium rendered; None where :meth:`scene` finds none."""
        scene = self.scene(rng, side)
        return None if scene is None else self._ask(rng, scene)

    def _first(self, rng: Random, side: Side, wanted: Callable[[Scene], bool]) -> Scene | None:
        for _ in range(TRIES):
            scene = self.draw(rng, side)
            if scene is not None and wanted(scene) and all(side_of(key) is side for key in scene.keys):
                return scene
        return None

    def _ask(self, rng: Random, scene: Scene) -> Question:
        statements = self.statements
        undecided = f"{scene.answer} or {scene.wrong[0].value}"
        wrong = [
            *(WrongAnswer(said, each.way) for each in scene.wrong for said in self._say(scene, each.value, statements)),
            *(WrongAnswer(said, "two answers") for said in self._say(scene, undecided, statements)),
            *(WrongAnswer(said, "no answer") for said in _NO_ANSWER),
        ]
        return Question(
            kind=self.name,
            prompt=rng.choice(self.forms).format_map(scene.terms),
            medium=Medium(self.modality, self.extension, scene.render(), scene.keys, scene.source),
            constraints=(self.constraint(scene, statements[0].format_map(_terms(scene, scene.answer))),),
            right=self._say(scene, scene.answer, statements),
            wrong=tuple(wrong),
        )

    def _say(self, scene: Scene, value: str | int, statements: Sequence[str]) -> tuple[str, ...]:
        said = (statement.format_map(_terms(scene, value)) for statement in statements)
        return tuple(text.upper_first(each) + "." for each in said)


class ChoiceQuestion(QuestionKind):
    """A question with a few named answers, each of them as frequent as the others: a side may have few scenes, and a
    model should not be right because it knows which answer they mostly have.
    """

    options: ClassVar[tuple[str, ...]]

    def scene(self, rng: Random, side: Side) -> Scene | None:
        """A scene of ``side`` with one of the options, drawn first, as its answer."""
        answer = rng.choice(self.options)
        return self._first(rng, side, lambda scene: scene.answer == answer)

    def constraint(self, scene: Scene, fact: str) -> Fact:
        """The right one of the options."""
        return Choice(self.name, fact, str(scene.answer), ", ".join(self.options))


class ColourQuestion(QuestionKind):
    """A question whose answer is a colour."""

    def constraint(self, scene: Scene, fact: str) -> Fact:
        """The right colour."""
        return Colour(self.name, fact, str(scene.answer))


class NumberQuestion(QuestionKind):
    """A question whose answer is a whole number."""

    def constraint(self, scene: Scene, fact: str) -> Fact:
        """The right number."""
        return Number(self.name, fact, int(scene.answer))


def opposite(options: tuple[str, str], answer: str) -> tuple[Wrong]:
    """The other one of two options."""
    first, second = options
    return (Wrong(second if answer == first else first, "the opposite"),)


def off_by_one(answer: int, least: int = 0) -> tuple[Wrong, ...]:
    """The numbers beside ``answer``, those from ``least`` on."""
    return tuple(Wrong(value, "off by one") for value in (answer + 1, answer - 1) if value >= least)


def different(answer: str | int, *candidates: Wrong) -> tuple[Wrong, ...]:
    """Those of ``candidates`` that are wrong, every value once."""
    return tuple({each.value: each for each in reversed(candidates) if each.value != answer}.values())[::-1]


def _terms(scene: Scene, value: str | int) -> Mapping[str, str]:
    word = text.number_word(value) if isinstance(value, int) else value
    return {**scene.terms, "answer": str(value), "word": word}
