"""What a constraint is: typed parameters, a verdict with what was found, advice and, where a rule can, an edit."""

from __future__ import annotations

import dataclasses
import re
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, ClassVar, Self

from boresight_api.outcome import FailureClass, StageFailure


class Split(StrEnum):
    """The two sides that share no topic, no phrasing and no word to use. Fixed in the code, so no seed can mix them."""

    TRAIN = "train"
    EVALUATION = "evaluation"


class Aspect(StrEnum):
    """What of an answer a kind rules over; two kinds that share an aspect are never asked for together."""

    OPENING = "opening"
    ENDING = "ending"
    LENGTH = "length"
    LAYOUT = "layout"
    CASING = "casing"
    PUNCTUATION = "punctuation"
    WORDING = "wording"
    MARKS = "marks"
    LANGUAGE = "language"
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Pool:
    """Texts or words to draw from, each on one side of the split."""

    train: tuple[str, ...]
    evaluation: tuple[str, ...]

    def of(self, split: Split) -> tuple[str, ...]:
        """The side of ``split``."""
        return self.train if split is Split.TRAIN else self.evaluation


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict with its reason."""

    satisfied: bool
    found: str
    """A predicate about the answer without a full stop: ``begins with "The"``."""


class Constraint(ABC):
    """One requirement on an answer. Subclasses are frozen dataclasses whose fields are the parameters (str or int).

    To verify requirements of your own, subclass this, set ``kind`` and ``examine``, and name the class in the
    entry-point group ``boresight.verifiers`` (entry-point name = kind).
    """

    kind: ClassVar[str]
    """Name in data: ``{"kind": ..., parameters...}``."""
    advices: ClassVar[tuple[str, ...]] = ("Follow the instruction.",)
    """Imperatives that say what to change; ``{field}`` is replaced."""
    cues: ClassVar[str] = r"(?!)"
    """Regular expression for how a critique speaks of this kind (quoted text is cut out before)."""

    @abstractmethod
    def examine(self, response: str) -> Finding:
        """Whether ``response`` satisfies this, and what was found."""

    def follow(self, response: str) -> str | None:
        """``response`` edited so that it satisfies this, or None where no rule can do that."""
        return plain_if(self.examine(response).satisfied, response)

    def terms(self) -> dict[str, str]:
        """What the placeholders of phrasings and advices stand for: the parameters, unless a kind says more."""
        return {name: str(value) for name, value in self.parameters().items()}

    def parameters(self) -> dict[str, str | int]:
        """The parameters by name."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
        return {field.name: getattr(self, field.name) for field in fields}

    def advice(self, variant: int) -> str:
        """What to change, in one of several phrasings."""
        return self.advices[variant % len(self.advices)].format(**self.terms())

    def to_json(self) -> dict[str, str | int]:
        """The constraint as it stands in a data row."""
        return {"kind": self.kind, **self.parameters()}

    @classmethod
    def from_json(cls, constraint: Mapping[str, Any]) -> Self:
        """The constraint of a data row. Raises StageFailure(InvalidData) naming a missing or wrong parameter."""
        hints = typing.get_type_hints(cls)
        expected = {f.name: hints[f.name] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        given = {name: value for name, value in constraint.items() if name != "kind"}
        for name, kind in expected.items():
            value = given.get(name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise invalid(cls.kind, name, value, f"a parameter of type {kind.__name__}")
        for name in given.keys() - expected.keys():
            raise invalid(cls.kind, name, given[name], f"only {', '.join(expected) or 'no parameters'}")
        return cls(**given)

    def mentioned_in(self, clause: str) -> bool:
        """Whether a clause of a critique (quoted text cut out) speaks of this kind."""
        return re.search(self.cues, clause, re.IGNORECASE) is not None


class InstructionKind(Constraint):
    """A constraint that instructions can be made of."""

    requests: ClassVar[Pool]
    """Phrasings that ask for it; ``{field}`` is replaced."""
    claims: ClassVar[frozenset[Aspect]]
    """The aspects it rules over."""
    whole_prompt: ClassVar[bool] = False
    """Whether the request stands alone (a sum, a spelling) instead of following a topic."""

    @classmethod
    @abstractmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        """Parameters from this side of the split."""

    def request(self, rng: Random, split: Split) -> str:
        """The constraint in words of this side of the split."""
        return rng.choice(self.requests.of(split)).format(**self.terms())


def plain_if(satisfied: bool, response: str) -> str | None:
    """``response`` without white space at its ends if it needs no edit."""
    return response.strip() if satisfied else None


def invalid(kind: str, name: str, found: object, expected: str) -> StageFailure:
    """The failure of a row whose constraint has a wrong parameter."""
    return StageFailure(
        FailureClass.INVALID_DATA,
        f'constraint "{kind}", parameter "{name}": found {found!r}, expected {expected}; correct the row',
    )
