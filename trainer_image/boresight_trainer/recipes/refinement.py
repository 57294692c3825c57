"""Did refining help? y against y* on the prompts whose constraints a program can verify. Reported, never a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.records import Prompt
from ..evaluation.statistics import Estimate, Scale, estimate_difference, estimate_mean


@dataclass(frozen=True, slots=True)
class Verified:
    """Which constraints of the prompt y and y* satisfy, in order; ``refined`` is None without y*."""

    response: tuple[bool, ...]
    refined: tuple[bool, ...] | None


def verify_item(prompt: Prompt, response: str, refined: str | None) -> Verified | None:
    """The verifiers' findings; None if the prompt carries no constraints."""
    if not prompt.constraints:
        return None
    from ..data.instructions.verifiers import verify

    return Verified(
        verify(prompt.constraints, response), None if refined is None else verify(prompt.constraints, refined)
    )


def refinement_report(
    prompt_ids: Sequence[str], verified: Sequence[Verified | None], seed: int
) -> dict[str, Mapping[str, Any]] | None:
    """Shares of y and of y* that satisfy every constraint, and their paired difference, with 95% intervals.

    Over the items that have a y*; None if there are none. Resampled by prompt: samples of one prompt are not
    independent.
    """
    both = [(i, v.response, v.refined) for i, v in enumerate(verified) if v is not None and v.refined is not None]
    if not both:
        return None
    clusters = [prompt_ids[i] for i, _, _ in both]
    response = [float(all(satisfied)) for _, satisfied, _ in both]
    refined = [float(all(satisfied)) for _, _, satisfied in both]
    return {
        "response": _interval(estimate_mean(response, scale=Scale.SHARE, clusters=clusters, seed=seed)),
        "refined": _interval(estimate_mean(refined, scale=Scale.SHARE, clusters=clusters, seed=seed)),
        "difference": _interval(
            estimate_difference(refined, response, scale=Scale.DIFFERENCE, clusters=clusters, seed=seed)
        ),
    }


def _interval(estimate: Estimate) -> Mapping[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}
