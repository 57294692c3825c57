"""Which constraints an answer satisfies. A constraint is a JSON object of a row: ``{"kind": ..., parameters...}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .registry import parse


def satisfied(constraint: Mapping[str, Any], response: str) -> bool:
    """Whether ``response`` satisfies ``constraint``. Raises StageFailure(InvalidData) for a malformed constraint."""
    return parse(constraint).examine(response).satisfied


def verify(constraints: Sequence[Mapping[str, Any]], response: str) -> tuple[bool, ...]:
    """:func:`satisfied` for each constraint, in order."""
    return tuple(satisfied(constraint, response) for constraint in constraints)
