"""Prompts made of a topic and constraints, each on one side of the split, none twice."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from boresight_api.outcome import FailureClass, StageFailure

from ..records import MediaReference
from .constraint import InstructionKind, Split
from .topics import FORMS, Topic, topics

_TRIES = 400
Kind = TypeVar("Kind")
Drawn = TypeVar("Drawn")


@dataclass(frozen=True, slots=True)
class Instruction:
    """A prompt x with what a program can verify about its answers. ``topic`` is None for tasks like sums."""

    prompt: str
    constraints: tuple[InstructionKind, ...]
    topic: Topic | None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the constraints' kinds."""
        return tuple(constraint.kind for constraint in self.constraints)

    @property
    def media(self) -> tuple[MediaReference, ...]:
        """None: an instruction is in words alone."""
        return ()

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the answer is about, for measures beside the verifiers."""
        return {} if self.topic is None else {"topic": self.topic.name, "keywords": list(self.topic.keywords)}


class Composer:
    """Draws instructions from one side of the split; remembers prompts, so that none occurs twice in a data set."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken

    def instructions(
        self, count: int, kinds: Sequence[type[InstructionKind]], *, split: Split, compose: int, rng: Random
    ) -> list[Instruction]:
        """``count`` instructions whose first constraints take turns over ``kinds``, with up to ``compose`` constraints.

        Raises StageFailure(InvalidConfig) as :func:`take_turns` does.
        """
        return take_turns(count, kinds, lambda kind: self._new(kind, kinds, split, compose, rng))

    def plain(self, count: int, *, split: Split, rng: Random) -> list[Instruction]:
        """``count`` prompts without constraints, or as many as there are."""
        asked = [
            Instruction(form.format(topic=topic.name), (), topic) for form in FORMS.of(split) for topic in topics(split)
        ]
        drawn = rng.sample(asked, min(count, len(asked)))
        self._taken |= {normalise(instruction.prompt) for instruction in drawn}
        return drawn

    def _new(
        self,
        kind: type[InstructionKind],
        kinds: Sequence[type[InstructionKind]],
        split: Split,
        compose: int,
        rng: Random,
    ) -> Instruction | None:
        for _ in range(_TRIES):
            instruction = _drawn(kind, kinds, split, compose, rng)
            if (normalised := normalise(instruction.prompt)) not in self._taken:
                self._taken.add(normalised)
                return instruction
        return None


def take_turns(count: int, kinds: Sequence[Kind], new: Callable[[Kind], Drawn | None]) -> list[Drawn]:
    """``count`` prompts that ``new`` draws, the kinds one after the other.

    A kind that has no new prompt any more leaves its turns to the others. Raises StageFailure(InvalidConfig) when none
    of them has one.
    """
    drawn: list[Drawn] = []
    turns = deque(kinds)
    while len(drawn) < count:
        if not turns:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"found {len(drawn)} different prompts, expected {count}; ask for fewer rows or more --kinds",
            )
        kind = turns.popleft()
        one = new(kind)
        if one is not None:
            drawn.append(one)
            turns.append(kind)
    return drawn


def normalise(prompt: str) -> str:
    """What two prompts that differ only in case, punctuation or spacing have in common."""
    return " ".join(re.findall(r"[^\W_]+|[^\w\s\"'.,:;]", prompt.casefold()))


def edited(constraints: Sequence[InstructionKind], response: str) -> str | None:
    """``response`` edited by rule until it satisfies all constraints, or None where the rules cannot do that."""
    for _ in range(len(constraints) + 1):
        failing = [constraint for constraint in constraints if not constraint.examine(response).satisfied]
        if not failing:
            return response.strip()
        for constraint in failing:
            followed = constraint.follow(response)
            if followed is None:
                return None
            response = followed
    return None


def _drawn(
    kind: type[InstructionKind], kinds: Sequence[type[InstructionKind]], split: Split, compose: int, rng: Random
) -> Instruction:
    if kind.whole_prompt:
        constraint = kind.draw(rng, split)
        return Instruction(constraint.request(rng, split), (constraint,), None)
    chosen, claimed, wanted = [kind], set(kind.claims), rng.randint(1, compose)
    for other in rng.sample(list(kinds), len(kinds)):
        if len(chosen) < wanted and not other.whole_prompt and not claimed & other.claims:
            chosen.append(other)
            claimed |= other.claims
    topic = rng.choice(topics(split))
    constraints = tuple(each.draw(rng, split) for each in chosen)
    form = rng.choice(FORMS.of(split)).format(topic=topic.name)
    return Instruction(" ".join([form, *(each.request(rng, split) for each in constraints)]), constraints, topic)
