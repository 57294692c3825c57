"""A judge says which of two answers is better, asked in both orders; one order alone measures where an answer stood."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...data.records import Message

JUDGE_TEMPLATE = (
    "Compare two answers. The better one does what the request asks, follows its instructions and is correct; length "
    "and order do not matter.\n\n"
    "[Request]\n{question}\n\n[Answer A]\n{a}\n\n[Answer B]\n{b}\n\n"
    "Which answer is better? Reply with one letter only: A or B."
)
TEMPLATE_DIGEST = "sha256:" + hashlib.sha256(JUDGE_TEMPLATE.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Duel:
    """Two answers to one question; ``candidate`` stands first in the first order and second in the second."""

    id: str
    question: str
    candidate: str
    baseline: str


@dataclass(frozen=True, slots=True)
class Ballot:
    """One reply of the judge: how likely it finds the answer in first place better, and what it said.

    ``first`` is 1 or 0 from a judge that only names a letter, a probability from one whose log-probabilities are read,
    and None if the reply could not be parsed.
    """

    first: float | None
    raw: str

    @property
    def letter(self) -> str | None:
        """``A``, ``B``, or None for a reply that names neither or finds both exactly as likely."""
        if self.first is None or self.first == 0.5:
            return None
        return "A" if self.first > 0.5 else "B"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Both orders of one duel."""

    candidate_first: Ballot
    baseline_first: Ballot

    @property
    def valid(self) -> bool:
        """Whether both replies were understood."""
        return self.candidate_first.first is not None and self.baseline_first.first is not None

    @property
    def consistent(self) -> bool:
        """Whether both orders name the same answer."""
        letters = (self.candidate_first.letter, self.baseline_first.letter)
        return letters in {("A", "B"), ("B", "A")}

    @property
    def outcome(self) -> float | None:
        """1 the candidate wins, 0 the baseline wins, 0.5 the orders disagree; None if a reply was not understood."""
        if not self.valid:
            return None
        if not self.consistent:
            return 0.5
        return 1.0 if self.candidate_first.letter == "A" else 0.0

    @property
    def probability(self) -> float | None:
        """Mean over both orders of the probability that the candidate is better."""
        first, second = self.candidate_first.first, self.baseline_first.first
        return None if first is None or second is None else (first + 1 - second) / 2


class Judge(Protocol):
    """Something that compares answers."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Who judges, with revision and template digest, as it stands in results."""

    @property
    def has_probabilities(self) -> bool:
        """Whether ballots carry probabilities (a soft win rate exists)."""

    def judge(self, duels: Sequence[Duel], *, purpose: str) -> list[Verdict]:
        """Both orders of every duel, in the order given."""


def judge_messages(question: str, a: str, b: str) -> tuple[Message, ...]:
    """The judge's prompt. The slots are filled in one pass, so braces in an answer stay as they are."""
    before, rest = JUDGE_TEMPLATE.split("{question}")
    middle, rest = rest.split("{a}")
    last, end = rest.split("{b}")
    return (Message("user", f"{before}{question}{middle}{a}{last}{b}{end}"),)
