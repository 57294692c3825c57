"""Win rate with the advantage of length taken out (after length-controlled AlpacaEval, arXiv 2404.04475).

A logistic regression explains the outcome of each duel by a constant (which model is better) and by how much longer the
candidate's answer is; the win rate at equal lengths is the constant's. A weak normal prior keeps both finite when one
model wins everything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .statistics import Estimate, Method, interval_from_replicates, resampling_counts

Floats = NDArray[np.float64]
_PRIOR_PRECISION = 1 / 2.5**2  # a logit of 2.5 is a win rate of 92%: rarely seen, not excluded
_NEWTON_STEPS = 12


def length_controlled_win_rate(
    outcomes: ArrayLike, candidate_lengths: ArrayLike, baseline_lengths: ArrayLike, *, invalid: int = 0, seed: int = 0
) -> Estimate:
    """``outcomes`` [n] in [0, 1] (1 the candidate wins, ties 0.5); lengths [n] in any one unit.

    The length term is ``tanh`` of the standardised difference, so that one very long answer does not decide.
    """
    won = np.asarray(outcomes, dtype=np.float64)
    if won.size == 0:
        return Estimate(None, None, None, None, 0, 0, invalid, Method.NONE)
    longer = np.asarray(candidate_lengths, dtype=np.float64) - np.asarray(baseline_lengths, dtype=np.float64)
    spread = float(longer.std())
    covariate = np.tanh(longer / spread) if spread > 0 else np.zeros_like(longer)
    n = won.size
    value = float(_win_rates(won, covariate, np.ones((1, n)))[0])
    if n < 2:
        return Estimate(value, None, None, None, n, n, invalid, Method.NONE)
    replicates = np.concatenate([_win_rates(won, covariate, counts) for counts in resampling_counts(n, seed)])
    jackknife = np.concatenate([_win_rates(won, covariate, 1.0 - rows) for rows in _identity_rows(n)])
    low, high = interval_from_replicates(value, replicates, jackknife, n)
    return Estimate(value, low, high, float(replicates.std(ddof=1)), n, n, invalid, Method.BOOTSTRAP)


def _identity_rows(n: int) -> list[Floats]:
    return [np.eye(n)[start : start + 256] for start in range(0, n, 256)]


def _win_rates(won: Floats, covariate: Floats, counts: Floats) -> Floats:
    """Win rate at equal lengths for each row of ``counts`` [replicates, n], by Newton's method on all rows at once."""
    constant, slope = np.zeros((2, len(counts)))
    for _ in range(_NEWTON_STEPS):
        expected = 1 / (1 + np.exp(-(constant[:, None] + slope[:, None] * covariate)))
        residual, weight = counts * (won - expected), counts * expected * (1 - expected)
        g0 = residual.sum(axis=1) - _PRIOR_PRECISION * constant
        g1 = residual @ covariate - _PRIOR_PRECISION * slope
        h00 = weight.sum(axis=1) + _PRIOR_PRECISION
        h01 = weight @ covariate
        h11 = weight @ covariate**2 + _PRIOR_PRECISION
        determinant = h00 * h11 - h01 * h01
        constant = constant + (h11 * g0 - h01 * g1) / determinant
        slope = slope + (h00 * g1 - h01 * g0) / determinant
    rates: Floats = 1 / (1 + np.exp(-constant))
    return rates
