"""Length control: nothing to correct, a judge that likes length, everything won."""

from __future__ import annotations

import numpy as np
import pytest
from boresight_trainer.evaluation.length_control import length_controlled_win_rate

Lengths = np.ndarray[tuple[int], np.dtype[np.float64]]


def duels(
    n: int, *, better: float, liking_length: float, longer: float, seed: int = 1
) -> tuple[Lengths, Lengths, Lengths]:
    """Outcomes of a judge with a known taste: logit = better + liking_length * tanh(standardised length difference)."""
    rng = np.random.default_rng(seed)
    candidate, baseline = rng.normal(100 + longer, 20, n), rng.normal(100, 20, n)
    difference = candidate - baseline
    logit = better + liking_length * np.tanh(difference / difference.std())
    return (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float), candidate, baseline


def test_a_judge_that_likes_length_is_corrected() -> None:
    outcomes, candidate, baseline = duels(1500, better=0.0, liking_length=2.0, longer=30)
    assert outcomes.mean() > 0.65
    estimate = length_controlled_win_rate(outcomes, candidate, baseline)
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < 0.5 < estimate.high
    assert estimate.value == pytest.approx(0.5, abs=0.05)


def test_a_model_that_is_better_stays_better() -> None:
    outcomes, candidate, baseline = duels(1500, better=1.0, liking_length=2.0, longer=-30)
    estimate = length_controlled_win_rate(outcomes, candidate, baseline)
    assert estimate.value == pytest.approx(1 / (1 + np.exp(-1)), abs=0.06)


def test_equal_lengths_leave_the_raw_rate() -> None:
    outcomes = np.array([1.0] * 60 + [0.0] * 30 + [0.5] * 10)
    same = np.full(100, 50.0)
    assert length_controlled_win_rate(outcomes, same, same).value == pytest.approx(0.65, abs=0.005)


def test_winning_everything_is_finite_and_below_one() -> None:
    rng = np.random.default_rng(2)
    estimate = length_controlled_win_rate(np.ones(50), rng.normal(80, 9, 50), rng.normal(60, 9, 50))
    assert estimate.value is not None
    assert 0.85 < estimate.value < 1
    assert estimate.high is not None
    assert estimate.high <= 1


def test_the_models_change_places() -> None:
    outcomes, candidate, baseline = duels(200, better=0.5, liking_length=1.0, longer=10)
    forward = length_controlled_win_rate(outcomes, candidate, baseline)
    backward = length_controlled_win_rate(1 - outcomes, baseline, candidate)
    assert forward.value == pytest.approx(1 - (backward.value or 0), abs=1e-6)


@pytest.mark.parametrize("outcomes", [[], [1.0]])
def test_too_few_duels_have_no_interval(outcomes: list[float]) -> None:
    lengths = [10.0] * len(outcomes)
    estimate = length_controlled_win_rate(outcomes, lengths, lengths, invalid=3)
    assert (estimate.low, estimate.high, estimate.invalid, estimate.n) == (None, None, 3, len(outcomes))
    assert (estimate.value is None) == (not outcomes)
