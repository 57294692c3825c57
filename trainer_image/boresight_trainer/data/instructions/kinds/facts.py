"""Answers to questions about media: the right choice, colour or number, and no other beside it.

A program cannot look at the medium; the row's constraint holds what is so, because who made the medium knows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, ClassVar, Self

from .. import text
from ..constraint import Constraint, Finding, invalid, plain_if

COLOURS: tuple[str, ...] = (
    "red", "green", "blue", "yellow", "purple", "orange", "black", "white", "grey", "brown", "pink",
)  # fmt: skip
_SAME_COLOUR = {"gray": "grey", "violet": "purple"}


@dataclass(frozen=True)
class Fact(Constraint):
    """What a question of the kind ``question`` asks for. ``fact`` says it: a sentence without a full stop."""

    question: str
    fact: str

    advices = ("Say that {fact}.", "Correct it: {fact}.", "The answer has to be that {fact}.")

    def follow(self, response: str) -> str | None:
        return plain_if(self.examine(response).satisfied, response) or text.upper_first(self.fact) + "."

    def _finding(self, said: Sequence[str], answer: str, what: str) -> Finding:
        """The verdict on an answer that says ``said`` of what can be said: ``answer`` alone is right."""
        different = list(dict.fromkeys(said))
        if different == [answer]:
            return Finding(True, f'says "{answer}", and {self.fact}')
        if not different:
            return Finding(False, f"names no {what}, but {self.fact}")
        if len(different) > 1:
            return Finding(False, f"names {_quoted(different)}, which is more than one {what}, but {self.fact}")
        return Finding(False, f'says "{different[0]}", but {self.fact}')


@dataclass(frozen=True)
class Choice(Fact):
    """One of ``options`` (separated by commas), as whole words in any case. No option is part of another."""

    answer: str
    options: str

    kind = "choice"
    cues = r"\bsays\b|\bnames\b|\bchoice\b|\boptions?\b|\banswer"

    @classmethod
    def from_json(cls, constraint: Mapping[str, Any]) -> Self:
        parsed = super().from_json(constraint)
        options = parsed.choices()
        if parsed.answer not in options:
            raise invalid(cls.kind, "answer", parsed.answer, f"one of {parsed.options}")
        if any(text.count_word(longer, shorter) for shorter, longer in permutations(options, 2)):
            raise invalid(cls.kind, "options", parsed.options, "options of which none is part of another")
        return parsed

    def choices(self) -> list[str]:
        """The options one by one."""
        return [option.strip() for option in self.options.split(",")]

    def examine(self, response: str) -> Finding:
        said = [option for option in self.choices() if text.count_word(response, option)]
        return self._finding(said, self.answer, "choice")


@dataclass(frozen=True)
class Colour(Fact):
    """A colour by its name, whichever of :data:`COLOURS` it is."""

    answer: str

    kind = "colour"
    cues = r"\bsays\b|\bnames\b|\bcolou?r"
    _named: ClassVar[re.Pattern[str]] = re.compile(rf"\b(?:{'|'.join((*COLOURS, *_SAME_COLOUR))})\b")

    @classmethod
    def from_json(cls, constraint: Mapping[str, Any]) -> Self:
        parsed = super().from_json(constraint)
        if parsed.answer not in COLOURS:
            raise invalid(cls.kind, "answer", parsed.answer, f"one of {', '.join(COLOURS)}")
        return parsed

    def examine(self, response: str) -> Finding:
        named = self._named.findall(text.fold(text.prose(response)))
        return self._finding([_SAME_COLOUR.get(name, name) for name in named], self.answer, "colour")


@dataclass(frozen=True)
class Number(Fact):
    """A whole number, in digits or, up to ten, in words; no other number beside it."""

    answer: int

    kind = "number"
    cues = r"\bsays\b|\bnames\b|\bnumber\b|\bcount"

    def examine(self, response: str) -> Finding:
        return self._finding([str(said) for said in text.numbers(response)], str(self.answer), "number")


def _quoted(said: Sequence[str]) -> str:
    return text.listing([f'"{each}"' for each in said], "and")
