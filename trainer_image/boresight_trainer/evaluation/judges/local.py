"""A local model as judge: no text is generated, the log-probabilities of the letters A and B are compared.

One forward pass, deterministic, nothing to parse, and it says how sure the judge is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from boresight_api.stages import ModelInput

from ..suite import Context, OpenModel, ScoringItem, Shelf
from .judge import TEMPLATE_DIGEST, Ballot, Duel, Verdict, judge_messages

_TOO_LONG = Ballot(None, "longer than maxLength")


class LocalJudge:
    """Judges by log-probabilities of a model from the shelf."""

    has_probabilities = True

    def __init__(self, shelf: Shelf, model: ModelInput, *, max_length: int) -> None:
        self._shelf = shelf
        self._model = model
        self._max_length = max_length

    @property
    def identity(self) -> Mapping[str, Any]:
        """Kind, URI, revision (key or digest) and template digest."""
        revision = self._model.key or self._model.digest or "unpinned"
        return {"kind": "Local", "model": self._model.uri, "revision": revision, "templateDigest": TEMPLATE_DIGEST}

    def judge(self, duels: Sequence[Duel], *, purpose: str) -> list[Verdict]:
        """Both orders of every duel; a duel longer than ``max_length`` tokens is invalid, not cut."""
        judge = self._shelf.open(self._model)
        items = [self._item(judge, duel) for duel in duels]
        fitting = [item for item in items if item is not None]
        sums = iter(judge.score(fitting, purpose=purpose))
        return [Verdict(_TOO_LONG, _TOO_LONG) if item is None else _verdict(next(sums)) for item in items]

    def _item(self, judge: OpenModel, duel: Duel) -> ScoringItem | None:
        orders = (
            judge.chat.prompt_ids(judge_messages(duel.question, duel.candidate, duel.baseline)),
            judge.chat.prompt_ids(judge_messages(duel.question, duel.baseline, duel.candidate)),
        )
        letters = (tuple(judge.chat.encode_text("A")), tuple(judge.chat.encode_text("B")))
        if max(map(len, orders)) + max(map(len, letters)) > min(self._max_length, judge.max_length):
            return None
        return ScoringItem(duel.id, tuple(Context(tuple(order), letters) for order in orders))


def _verdict(sums: Sequence[float]) -> Verdict:
    a1, b1, a2, b2 = sums
    return Verdict(_ballot(a1, b1), _ballot(a2, b2))


def _ballot(a: float, b: float) -> Ballot:
    """Probability of A among {A, B}, from their log-probabilities."""
    difference = a - b
    first = 1 / (1 + math.exp(-difference)) if difference >= 0 else 1 - 1 / (1 + math.exp(difference))
    return Ballot(first, f"logprob(A)={a:.4f} logprob(B)={b:.4f}")
