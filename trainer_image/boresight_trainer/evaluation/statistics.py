"""Scores with their uncertainty: every number comes with n, the invalid count and a 95% interval.

Resampling is over *clusters* (normally the prompt): several constraints of one prompt, or several answers to it, are
not independent, and an interval that treats them so is too narrow by up to a factor of three. Comparisons are paired:
the two models answered the same prompts, so the difference is taken within a prompt before anything is resampled.

Intervals are bias-corrected and accelerated bootstrap intervals (BCa; Efron 1987, "Better bootstrap confidence
intervals") at levels expanded for the number of clusters (Hesterberg 2015, "What teachers should know about the
bootstrap", section 5.3), because plain percentiles are too narrow below some 50 clusters. Where all observations agree
there is nothing to resample; a share of 0 or 1 then gets Wilson's interval (Wilson 1927).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
REPLICATES = 4000
_CELLS_AT_A_TIME = 2_000_000  # resampled indices held at once: 16 MB

Floats = NDArray[np.float64]
_NORMAL = NormalDist()


class Scale(StrEnum):
    """What values are possible, which decides what an interval means when all observations agree."""

    SHARE = "Share"  # of successes: each observation in [0, 1]
    DIFFERENCE = "Difference"  # of two shares: each observation in [-1, 1]
    REAL = "Real"  # anything: lengths, log-probabilities, losses


class Method(StrEnum):
    """How an interval was made."""

    BOOTSTRAP = "Bootstrap"
    WILSON = "Wilson"
    NONE = "None"  # fewer than two clusters: no interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score and what is known about its precision.

    ``value`` is None without a single valid observation; ``low``, ``high`` and ``stderr`` are None where no interval
    can be made. ``n`` counts the valid observations (constraints, prompts, tokens: what the score is a mean of),
    ``clusters`` the independent units they came from, ``invalid`` what was asked for and could not be scored.
    """

    value: float | None
    low: float | None
    high: float | None
    stderr: float | None
    n: int
    clusters: int
    invalid: int
    method: Method

    def excludes(self, null: float) -> bool:
        """Whether the interval lies wholly on one side of ``null``."""
        return self.low is not None and self.high is not None and (self.low > null or self.high < null)


def wilson(share: float, n: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval for a share observed in ``n`` independent trials; exact limits 0 and 1 at the ends."""
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"found a share of {share} in {n} trials, expected a share in [0, 1] and at least one trial")
    z = _NORMAL.inv_cdf((1 + confidence) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return low, high


def estimate_mean(
    values: ArrayLike,
    *,
    scale: Scale,
    clusters: Sequence[str] | None = None,
    invalid: int = 0,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Mean of ``values`` [n]; ``clusters`` [n] names the unit each came from (absent: each its own)."""
    array = np.asarray(values, dtype=np.float64)
    return estimate_ratio(
        array, np.ones_like(array), scale=scale, clusters=clusters, invalid=invalid, seed=seed, confidence=confidence
    )


def estimate_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    scale: Scale,
    clusters: Sequence[str] | None = None,
    invalid: int = 0,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """``sum(numerators) / sum(denominators)``, as loss per token or the pooled share of constraints; both [n].

    ``n`` of the result is the sum of the denominators, which count tokens, constraints or simply ones.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.asarray(denominators, dtype=np.float64)
    if top.ndim != 1 or top.shape != bottom.shape or (clusters is not None and len(clusters) != len(top)):
        raise ValueError(
            "found numerators, denominators and clusters of different lengths, expected one of each per item"
        )
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        raise ValueError("found a value that is not finite; count it as invalid and leave it out")
    total = float(bottom.sum())
    if total <= 0:
        return Estimate(None, None, None, None, 0, 0, invalid, Method.NONE)
    top, bottom = _by_cluster(top, bottom, clusters)
    units = int(np.count_nonzero(bottom))
    value = float(top.sum() / total)
    interval = _degenerate_interval(value, top, bottom, units, scale, confidence)
    if interval is not None:
        low, high, method = interval
        stderr = None if method is Method.NONE else 0.0
    else:
        replicates = _replicates(top, bottom, seed)
        low, high = interval_from_replicates(value, replicates, _jackknife(top, bottom), len(top), confidence)
        stderr, method = float(replicates.std(ddof=1)), Method.BOOTSTRAP
    return Estimate(value, low, high, stderr, round(total), units, invalid, method)


def estimate_difference(
    candidate: ArrayLike,
    baseline: ArrayLike,
    *,
    scale: Scale,
    clusters: Sequence[str] | None = None,
    invalid: int = 0,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Mean of ``candidate - baseline``, paired item by item (both [n]); ``scale`` is Difference (of shares) or Real."""
    first, second = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"found {first.size} and {second.size} values, expected one pair per item")
    if scale is Scale.SHARE:
        raise ValueError("found the scale Share, expected Difference or Real: a difference of shares may be negative")
    return estimate_mean(
        first - second, scale=scale, clusters=clusters, invalid=invalid, seed=seed, confidence=confidence
    )


def sign_test(differences: ArrayLike) -> float:
    """Exact two-sided p-value of the signs of the non-zero differences [n] if both were equally likely."""
    array = np.asarray(differences, dtype=np.float64)
    positive, negative = int((array > 0).sum()), int((array < 0).sum())
    n, extreme = positive + negative, min(positive, negative)
    tail = sum(math.comb(n, k) for k in range(extreme + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**n)))


def permutation_test(
    differences: ArrayLike, *, clusters: Sequence[str] | None = None, seed: int = 0, replicates: int = REPLICATES
) -> float:
    """Two-sided p-value of the mean paired difference when the signs of whole clusters are flipped at random.

    Monte Carlo with the observed arrangement counted in (Phipson and Smyth 2010), so never exactly 0.
    """
    array = np.asarray(differences, dtype=np.float64)
    sums, _ = _by_cluster(array, np.ones_like(array), clusters)
    observed = abs(sums.sum())
    tolerance = 1e-12 * (1 + np.abs(sums).sum())
    rng = np.random.default_rng(seed)
    as_extreme = 0
    for rows in _chunks(replicates, len(sums)):
        signs = rng.integers(0, 2, size=(rows, len(sums))) * 2 - 1
        as_extreme += int((np.abs(signs @ sums) >= observed - tolerance).sum())
    return (as_extreme + 1) / (replicates + 1)


@dataclass(frozen=True, slots=True)
class SeedsComparison:
    """A paired difference measured under several training seeds."""

    overall: Estimate
    per_seed: Mapping[str, Estimate]

    @property
    def is_win(self) -> bool:
        """Every seed's difference is positive and the interval over seeds and prompts does not touch 0."""
        positive = all(e.value is not None and e.value > 0 for e in self.per_seed.values())
        return positive and self.overall.low is not None and self.overall.low > 0


def compare_across_seeds(
    differences: Mapping[str, Mapping[str, float]], *, scale: Scale, seed: int = 0, confidence: float = CONFIDENCE
) -> SeedsComparison:
    """``differences[training seed][prompt id]`` (candidate minus baseline) -> one comparison.

    Seeds and prompts are crossed, so both are resampled independently in each replicate (pigeonhole bootstrap, Owen
    2007); that is conservative, as it should be with a handful of seeds. Raises ValueError unless there are two seeds
    or more, all with the same prompts.
    """
    if len(differences) < 2:
        raise ValueError(f"found {len(differences)} seeds, expected at least 2: one seed says nothing about others")
    prompts = sorted(next(iter(differences.values())))
    for name, by_prompt in differences.items():
        if sorted(by_prompt) != prompts:
            raise ValueError(f"found other prompts under seed {name}, expected the same prompts under every seed")
    matrix = np.array([[by_prompt[p] for p in prompts] for by_prompt in differences.values()])
    per_seed = {
        name: estimate_mean(row, scale=scale, seed=seed, confidence=confidence)
        for name, row in zip(differences, matrix, strict=True)
    }
    seeds, items = matrix.shape
    rng = np.random.default_rng(seed)
    replicates = np.empty(REPLICATES)
    for r in range(REPLICATES):
        seed_weights = np.bincount(rng.integers(0, seeds, seeds), minlength=seeds) / seeds
        item_weights = np.bincount(rng.integers(0, items, items), minlength=items) / items
        replicates[r] = seed_weights @ matrix @ item_weights
    tail = (1 - confidence) / 2
    low, high = (float(q) for q in np.quantile(replicates, [tail, 1 - tail]))
    overall = Estimate(
        float(matrix.mean()), low, high, float(replicates.std(ddof=1)), matrix.size, seeds, 0, Method.BOOTSTRAP
    )
    return SeedsComparison(overall, per_seed)


def _by_cluster(top: Floats, bottom: Floats, clusters: Sequence[str] | None) -> tuple[Floats, Floats]:
    if clusters is None:
        return top, bottom
    index: dict[str, int] = {}
    position = np.array([index.setdefault(name, len(index)) for name in clusters], dtype=np.int64)
    top_sums: Floats = np.bincount(position, weights=top).astype(np.float64)
    bottom_sums: Floats = np.bincount(position, weights=bottom).astype(np.float64)
    return top_sums, bottom_sums


def _degenerate_interval(
    value: float, top: Floats, bottom: Floats, units: int, scale: Scale, confidence: float
) -> tuple[float | None, float | None, Method] | None:
    """The interval where resampling cannot make one (one cluster, or all agree); None where it can."""
    agree = bool(np.allclose(top, value * bottom, rtol=0, atol=1e-12))
    if agree and scale is Scale.SHARE and value in (0.0, 1.0):
        return *wilson(value, units, confidence=confidence), Method.WILSON
    if agree and scale is Scale.DIFFERENCE and value in (-1.0, 0.0, 1.0):
        # Not one of n pairs deviated; with the chance h that the next does, it may go either way in full.
        h = wilson(0.0, units, confidence=confidence)[1]
        return (1 - h) * value - h, (1 - h) * value + h, Method.WILSON
    if units < 2:
        return None, None, Method.NONE
    return (value, value, Method.BOOTSTRAP) if agree else None


def _chunks(replicates: int, width: int) -> Iterator[int]:
    size = max(1, _CELLS_AT_A_TIME // max(1, width))
    while replicates > 0:
        yield min(size, replicates)
        replicates -= size


def resampling_counts(units: int, seed: int) -> Iterator[Floats]:
    """How often each unit is drawn in each bootstrap sample: blocks [samples, units], :data:`REPLICATES` samples."""
    rng = np.random.default_rng(seed)
    for rows in _chunks(REPLICATES, units):
        yield rng.multinomial(units, np.full(units, 1 / units), size=rows).astype(np.float64)


def _replicates(top: Floats, bottom: Floats, seed: int) -> Floats:
    """The ratio in each bootstrap sample of the clusters; samples without any denominator are left out."""
    rng = np.random.default_rng(seed)
    parts = []
    for rows in _chunks(REPLICATES, len(top)):
        drawn = rng.integers(0, len(top), size=(rows, len(top)))
        tops, bottoms = top[drawn].sum(axis=1), bottom[drawn].sum(axis=1)
        parts.append(tops[bottoms > 0] / bottoms[bottoms > 0])
    return np.concatenate(parts)


def _jackknife(top: Floats, bottom: Floats) -> Floats:
    """The ratio with each cluster left out in turn; clusters that hold the whole denominator are skipped."""
    rest = bottom.sum() - bottom
    ratios: Floats = (top.sum() - top)[rest > 0] / rest[rest > 0]
    return ratios


def interval_from_replicates(
    value: float, replicates: Floats, jackknife: Floats, units: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """BCa interval at levels expanded for ``units`` clusters, from bootstrap [samples] and jackknife [units] values."""
    below = float((replicates < value).mean() + 0.5 * (replicates == value).mean())
    edge = 1 / (2 * len(replicates))
    z0 = _NORMAL.inv_cdf(min(max(below, edge), 1 - edge))
    deviation = jackknife.mean() - jackknife
    spread = float((deviation**2).sum())
    acceleration = float((deviation**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    reach = math.sqrt(units / (units - 1)) * student_quantile((1 + confidence) / 2, units - 1)
    levels = [_NORMAL.cdf(z0 + (z0 + z) / max(1e-9, 1 - acceleration * (z0 + z))) for z in (-reach, reach)]
    low, high = (float(q) for q in np.quantile(replicates, levels))
    return min(low, value), max(high, value)


def student_quantile(level: float, degrees: int) -> float:
    """Quantile of Student's t by inverting its distribution function (regularised incomplete beta) with bisection."""
    if degrees < 1 or not 0 < level < 1:
        raise ValueError(f"found level {level} and {degrees} degrees of freedom, expected 0 < level < 1 and 1 or more")
    if level < 0.5:
        return -student_quantile(1 - level, degrees)
    low, high = 0.0, 1.0
    while _student_cdf(high, degrees) < level:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_cdf(middle, degrees) < level else (low, middle)
    return (low + high) / 2


def _student_cdf(t: float, degrees: int) -> float:
    """For t >= 0, by the finite series in theta = atan(t / sqrt(degrees)) (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    if degrees > 1000:
        return _NORMAL.cdf(t * (1 - 1 / (4 * degrees)) / math.sqrt(1 + t * t / (2 * degrees)))
    theta = math.atan(t / math.sqrt(degrees))
    cosine, sine = math.cos(theta), math.sin(theta)
    odd = degrees % 2
    term = total = cosine if odd else 1.0
    for k in range(2 + odd, degrees - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    within = 2 / math.pi * (theta + (sine * total if degrees > 1 else 0.0)) if odd else sine * total
    return 0.5 + within / 2
