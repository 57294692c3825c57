"""Intervals: closed forms where there are any, coverage by simulation where there are none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import pytest
from boresight_trainer.evaluation import statistics
from boresight_trainer.evaluation.statistics import (
    Method,
    Scale,
    compare_across_seeds,
    estimate_difference,
    estimate_mean,
    estimate_ratio,
    interval_from_replicates,
    permutation_test,
    sign_test,
    student_quantile,
    wilson,
)

Draw = Callable[[np.random.Generator], tuple[Sequence[float], Sequence[str] | None]]


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [
        # z^2 / (n + z^2) at the ends; the published value of 15 in 30 (Newcombe 1998: 81 of 263 below)
        (0.0, 10, 0.0, 3.8415 / 13.8415),
        (1.0, 10, 10 / 13.8415, 1.0),
        (81 / 263, 263, 0.2553, 0.3662),
        (15 / 148, 148, 0.0624, 0.1605),
        (0.5, 1, 0.0546, 0.9454),
    ],
)
def test_wilson_has_its_closed_form(share: float, n: int, low: float, high: float) -> None:
    assert wilson(share, n) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("share", "n"), [(0.5, 0), (-0.1, 5), (1.1, 5)])
def test_wilson_refuses_what_is_no_share(share: float, n: int) -> None:
    with pytest.raises(ValueError, match="expected a share"):
        wilson(share, n)


@pytest.mark.parametrize(
    ("level", "degrees", "quantile"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.975, 5, 2.5706),
        (0.975, 30, 2.0423),
        (0.975, 5000, 1.9604),
        (0.95, 10, 1.8125),
        (0.025, 10, -2.2281),
    ],
)
def test_students_quantiles_are_those_of_the_tables(level: float, degrees: int, quantile: float) -> None:
    assert student_quantile(level, degrees) == pytest.approx(quantile, abs=1e-4)


def normal(n: int) -> Draw:
    return lambda rng: (rng.normal(1, 2, n).tolist(), None)


def skewed(n: int) -> Draw:
    return lambda rng: (rng.exponential(1, n).tolist(), None)


def coin(n: int, p: float) -> Draw:
    return lambda rng: ((rng.random(n) < p).astype(float).tolist(), None)


def paired(n: int) -> Draw:
    return lambda rng: (rng.choice([-1.0, 0.0, 1.0], n, p=[0.1, 0.7, 0.2]).tolist(), None)


def clustered(n: int) -> Draw:
    """Prompts differ in difficulty and in their number of constraints."""

    def draw(rng: np.random.Generator) -> tuple[Sequence[float], Sequence[str]]:
        difficulty, sizes = rng.beta(1, 1, n), rng.integers(1, 7, n)
        prompts = np.repeat(np.arange(n), sizes)
        return (rng.random(len(prompts)) < difficulty[prompts]).astype(float).tolist(), [str(p) for p in prompts]

    return draw


@pytest.mark.parametrize(
    ("draw", "truth", "scale"),
    [
        pytest.param(normal(12), 1.0, Scale.REAL, id="normal, 12"),
        pytest.param(normal(64), 1.0, Scale.REAL, id="normal, 64"),
        pytest.param(skewed(64), 1.0, Scale.REAL, id="exponential, 64"),
        pytest.param(coin(20, 0.5), 0.5, Scale.SHARE, id="share 0.5 of 20"),
        pytest.param(coin(64, 0.9), 0.9, Scale.SHARE, id="share 0.9 of 64"),
        pytest.param(coin(20, 0.99), 0.99, Scale.SHARE, id="share 0.99 of 20, often Wilson"),
        pytest.param(paired(64), 0.1, Scale.DIFFERENCE, id="paired difference of 64"),
        pytest.param(clustered(40), 0.5, Scale.SHARE, id="40 clusters"),
    ],
)
def test_intervals_cover_the_truth_about_as_often_as_they_say(
    draw: Draw, truth: float, scale: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "REPLICATES", 1000)
    rng = np.random.default_rng(20)
    simulations, covered = 300, 0
    for number in range(simulations):
        values, clusters = draw(rng)
        estimate = estimate_mean(values, scale=scale, clusters=clusters, seed=number)
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= truth <= estimate.high
    # 95% of 300 with three standard errors; discrete shares may only be wider
    assert covered / simulations >= 0.91
    assert covered / simulations <= (0.99 if scale is Scale.REAL else 1.0)


def test_treating_clustered_items_as_independent_is_too_narrow() -> None:
    rng = np.random.default_rng(3)
    values = np.repeat((rng.random(40) < 0.5).astype(float), 9)
    clusters = [str(i // 9) for i in range(360)]
    right = estimate_mean(values, scale=Scale.SHARE, clusters=clusters)
    naive = estimate_mean(values, scale=Scale.SHARE)
    assert right.value == naive.value
    assert (right.n, right.clusters, naive.clusters) == (360, 40, 360)
    assert right.low is not None
    assert right.high is not None
    assert naive.low is not None
    assert naive.high is not None
    assert right.high - right.low == pytest.approx(3 * (naive.high - naive.low), rel=0.15)


def test_a_skewed_sample_moves_its_interval_towards_the_long_tail() -> None:
    symmetric = np.array([NormalDist().inv_cdf((i + 0.5) / 4000) for i in range(4000)])
    sample = np.random.default_rng(2).exponential(1, 60)
    jackknife = (sample.sum() - sample) / 59
    low, high = interval_from_replicates(0.0, symmetric, jackknife, 60)
    assert high > -low + 0.1
    low, high = interval_from_replicates(0.0, symmetric, -jackknife, 60)
    assert -low > high + 0.1


def test_a_bootstrap_standard_error_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(0, 1, 100)
    estimate = estimate_mean(values, scale=Scale.REAL)
    assert estimate.stderr == pytest.approx(values.std() / math.sqrt(100), rel=0.05)


@pytest.mark.parametrize(
    ("values", "scale", "expected"),
    [
        ([1.0] * 8, Scale.SHARE, (1.0, *wilson(1.0, 8), Method.WILSON)),
        ([0.0] * 8, Scale.SHARE, (0.0, *wilson(0.0, 8), Method.WILSON)),
        ([0.0] * 8, Scale.DIFFERENCE, (0.0, -wilson(0.0, 8)[1], wilson(0.0, 8)[1], Method.WILSON)),
        ([1.0] * 8, Scale.DIFFERENCE, (1.0, 1 - 2 * wilson(0.0, 8)[1], 1.0, Method.WILSON)),
        ([0.5] * 8, Scale.SHARE, (0.5, 0.5, 0.5, Method.BOOTSTRAP)),
        ([3.5] * 8, Scale.REAL, (3.5, 3.5, 3.5, Method.BOOTSTRAP)),
        ([3.5], Scale.REAL, (3.5, None, None, Method.NONE)),
        ([1.0], Scale.SHARE, (1.0, *wilson(1.0, 1), Method.WILSON)),
        ([], Scale.SHARE, (None, None, None, Method.NONE)),
    ],
)
def test_where_nothing_varies_the_interval_still_says_how_little_is_known(
    values: list[float], scale: Scale, expected: tuple[object, ...]
) -> None:
    estimate = estimate_mean(values, scale=scale, invalid=2)
    found = (estimate.value, estimate.low, estimate.high, estimate.method)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == (pytest.approx(theirs) if isinstance(theirs, float) else theirs)
    assert estimate.invalid == 2


def test_wilsons_n_is_the_number_of_clusters() -> None:
    estimate = estimate_mean([1.0] * 30, scale=Scale.SHARE, clusters=[str(i // 10) for i in range(30)])
    assert (estimate.n, estimate.low) == (30, wilson(1.0, 3)[0])


def test_a_ratio_pools_before_it_divides() -> None:
    estimate = estimate_ratio([1.0, 9.0, 4.0], [1.0, 99.0, 10.0], scale=Scale.REAL)
    assert (estimate.value, estimate.n) == (14 / 110, 110)
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < 14 / 110 < estimate.high


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(5)
    difficulty = rng.normal(0, 10, 50)
    candidate, baseline = difficulty + 1 + rng.normal(0, 0.1, 50), difficulty
    paired_ = estimate_difference(candidate, baseline, scale=Scale.REAL)
    assert paired_.value == pytest.approx(1, abs=0.1)
    assert paired_.excludes(0)
    assert not estimate_mean(candidate, scale=Scale.REAL).excludes(0)


def test_a_difference_is_antisymmetric() -> None:
    rng = np.random.default_rng(6)
    a, b = (rng.random(40) < 0.6).astype(float), (rng.random(40) < 0.4).astype(float)
    forward = estimate_difference(a, b, scale=Scale.DIFFERENCE)
    backward = estimate_difference(b, a, scale=Scale.DIFFERENCE)
    assert forward.value == pytest.approx(-(backward.value or 0))
    assert forward.low == pytest.approx(-(backward.high or 0), abs=0.03)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: estimate_ratio([1.0], [1.0, 2.0], scale=Scale.REAL), "different lengths"),
        (lambda: estimate_mean([1.0, math.nan], scale=Scale.REAL), "not finite"),
        (lambda: estimate_mean([1.0], scale=Scale.REAL, clusters=["a", "b"]), "different lengths"),
        (lambda: estimate_difference([1.0], [1.0, 0.0], scale=Scale.DIFFERENCE), "one pair per item"),
        (lambda: estimate_difference([1.0], [0.0], scale=Scale.SHARE), "Difference or Real"),
    ],
)
def test_mistakes_are_refused(call: Callable[[], object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        call()


def test_the_same_seed_gives_the_same_interval_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(8).normal(0, 1, 37)
    whole = estimate_mean(values, scale=Scale.REAL, seed=4)
    assert estimate_mean(values, scale=Scale.REAL, seed=4) == whole
    assert estimate_mean(values, scale=Scale.REAL, seed=5) != whole
    monkeypatch.setattr(statistics, "_CELLS_AT_A_TIME", 37 * 100)
    assert estimate_mean(values, scale=Scale.REAL, seed=4) == whole


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 1, 1, 1, 1], 2 / 32),
        ([1, 1, 1, 1, -1, 0, 0], 2 * 6 / 32),
        ([1, -1], 1.0),
        ([0, 0, 0], 1.0),
        ([1.0] * 2000, 0.0),
    ],
)
def test_the_sign_test_is_exact(differences: list[float], p: float) -> None:
    assert sign_test(differences) == pytest.approx(p, abs=1e-12)


def test_the_permutation_test_agrees_with_all_arrangements() -> None:
    differences = np.array([0.3, 1.2, -0.4, 0.9, 0.8, 0.1, 1.5, -0.2])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1).T
    exact = float((np.abs(signs @ differences) >= differences.sum() - 1e-12).mean())
    assert permutation_test(differences, seed=1) == pytest.approx(exact, abs=0.02)


def test_the_permutation_test_flips_clusters_whole() -> None:
    differences, clusters = [1.0] * 12, [str(i // 4) for i in range(12)]
    assert permutation_test(differences) < 0.01
    assert permutation_test(differences, clusters=clusters) == pytest.approx(0.25, abs=0.03)  # 2 of 2^3
    assert permutation_test([0.0] * 5) == 1.0


def seeds(*means: float, noise: float = 0.1) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(9)
    return {str(i): {f"p{k}": m + float(rng.normal(0, noise)) for k in range(30)} for i, m in enumerate(means)}


@pytest.mark.parametrize(
    ("differences", "win"),
    [
        pytest.param(seeds(0.3, 0.25, 0.35), True, id="all seeds agree"),
        pytest.param(seeds(0.9, 0.9, -0.05), False, id="one seed loses"),
        pytest.param(seeds(-0.3, -0.2, -0.3), False, id="a loss is no win"),
        pytest.param(
            {"1": {"a": 1.0, "b": -0.9}, "2": {"a": 0.9, "b": 0.9}}, False, id="all positive, but the interval holds 0"
        ),
        pytest.param(seeds(0.02, 0.01, 0.03, noise=0.5), False, id="within noise"),
    ],
)
def test_a_win_needs_every_seed_and_an_interval_without_zero(
    differences: dict[str, dict[str, float]], win: bool
) -> None:
    comparison = compare_across_seeds(differences, scale=Scale.REAL)
    assert comparison.is_win is win
    assert comparison.per_seed.keys() == differences.keys()


def test_seeds_that_differ_widen_the_interval_beyond_that_of_prompts() -> None:
    comparison = compare_across_seeds(seeds(0.1, 0.5, 0.9), scale=Scale.REAL)
    assert comparison.overall.low is not None
    assert comparison.overall.high is not None
    assert comparison.overall.high - comparison.overall.low > 0.5
    assert comparison.overall.value == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("differences", "problem"),
    [({"1": {"a": 1.0}}, "at least 2"), ({"1": {"a": 1.0}, "2": {"b": 1.0}}, "other prompts under seed 2")],
)
def test_seeds_must_be_comparable(differences: dict[str, dict[str, float]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        compare_across_seeds(differences, scale=Scale.REAL)
