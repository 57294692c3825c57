"""From per-prompt observations of several models to result rows: every model's score, and paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .statistics import Estimate, Scale, estimate_ratio
from .suite import ResultRow

DIFFERENCE = "Difference"
"""Ends the name of a measure's paired difference."""
Observation = tuple[float, float] | None
"""Of one prompt: what was found, out of what was possible (1 for a plain value); None: it could not be scored."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A score, what values it can have, and which direction is better (None: neither)."""

    name: str
    scale: Scale
    higher_is_better: bool | None
    headline: bool = False


def rows_of(
    measure: Measure,
    observed: Mapping[str, Sequence[Observation]],
    *,
    seed: int,
    slice_name: str | None = None,
) -> Iterator[ResultRow]:
    """One row per model of ``observed`` (candidate first), then one paired difference per baseline.

    ``observed[model]`` has one observation per prompt, the same prompts in the same order for every model.
    """
    candidate, *baselines = observed
    for model, observations in observed.items():
        estimate = _estimate(observations, measure.scale, seed)
        headline = measure.headline and model == candidate and slice_name is None
        yield ResultRow(measure.name, model, estimate, None, slice_name, measure.higher_is_better, headline=headline)
    for baseline in baselines:
        differences = [_difference(a, b) for a, b in zip(observed[candidate], observed[baseline], strict=True)]
        scale = Scale.DIFFERENCE if measure.scale is Scale.SHARE else measure.scale
        yield ResultRow(
            f"{measure.name}{DIFFERENCE}",
            candidate,
            _estimate(differences, scale, seed),
            baseline,
            slice_name,
            measure.higher_is_better,
            headline=measure.headline and slice_name is None,
        )


def _estimate(observations: Sequence[Observation], scale: Scale, seed: int) -> Estimate:
    valid = [observation for observation in observations if observation is not None]
    tops, bottoms = [top for top, _ in valid], [bottom for _, bottom in valid]
    return estimate_ratio(tops, bottoms, scale=scale, invalid=len(observations) - len(valid), seed=seed)


def _difference(candidate: Observation, baseline: Observation) -> Observation:
    """Both out of the same number, as both models answered the same prompt."""
    if candidate is None or baseline is None:
        return None
    if candidate[1] != baseline[1]:
        raise ValueError(f"found {candidate[1]} and {baseline[1]} possible, expected the same for one prompt")
    return candidate[0] - baseline[0], candidate[1]
