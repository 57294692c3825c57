"""Which constraints an answer satisfies. A constraint is a JSON object of a row: ``{"kind": ..., parameters...}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from boresight_api.outcome import FailureClass, StageFailure

from ..records import Prompt
from .registry import parse


def check_constraints(where: str, prompts: Sequence[Prompt]) -> None:
    """Every prompt has constraints, and a verifier knows each. Raises StageFailure(InvalidData) naming the prompt."""
    bare = [prompt.id for prompt in prompts if not prompt.constraints]
    if bare:
        raise StageFailure(
            FailureClass.INVALID_DATA,
            f"{where}: {len(bare)} of {len(prompts)} prompts have no constraints (first: "
            f'"{bare[0]}"), expected every prompt to have some; map the column in data.columns.constraints, or use '
            "the suite Pairwise",
        )
    for prompt in prompts:
        for number, constraint in enumerate(prompt.constraints, 1):
            try:
                parse(constraint)
            except StageFailure as failure:
                message = f'{where}: prompt "{prompt.id}", constraint {number}: {failure.message}'
                raise StageFailure(failure.failure, message) from failure


def satisfied(constraint: Mapping[str, Any], response: str) -> bool:
    """Whether ``response`` satisfies ``constraint``. Raises StageFailure(InvalidData) for a malformed constraint."""
    return parse(constraint).examine(response).satisfied


def verify(constraints: Sequence[Mapping[str, Any]], response: str) -> tuple[bool, ...]:
    """:func:`satisfied` for each constraint, in order."""
    return tuple(satisfied(constraint, response) for constraint in constraints)
