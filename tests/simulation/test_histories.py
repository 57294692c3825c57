"""Random histories. A failure prints the plot; ``tell(lambda told: play(told, Plot(...)))`` plays it again."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from simulation.history import tell
from simulation.random_history import Plot, play, plots

SHARDS = 4
"""Of the short run: 300 histories, on both cores."""
LONG_SHARDS = 40
EACH = 250


def _play(plot: Plot) -> None:
    tell(lambda told: play(told, plot), seed=plot.seed, operator_skew=plot.skew)


def _histories(number: int, count: int) -> None:
    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(plots)
    def histories(plot: Plot) -> None:
        _play(plot)

    histories()


@pytest.mark.parametrize("shard", range(SHARDS))
def test_short(shard: int) -> None:
    _histories(shard, 75)


@pytest.mark.long
@pytest.mark.parametrize("shard", range(SHARDS, SHARDS + LONG_SHARDS))
def test_long(shard: int) -> None:
    _histories(shard, EACH)
