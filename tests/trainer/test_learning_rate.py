"""The learning rate is a pure function of the step."""

from __future__ import annotations

import pytest
from boresight_api.enums import LearningRateSchedule
from boresight_api.stages import Training
from boresight_trainer.engine.learning_rate import learning_rate
from hypothesis import given
from hypothesis import strategies as st

PEAK = 1e-3


def training(schedule: LearningRateSchedule = LearningRateSchedule.COSINE, warmup: str = "10") -> Training:
    return Training(learning_rate="0.001", schedule=schedule, warmup_percent=warmup)


def test_warm_up_rises_linearly_to_the_peak() -> None:
    rates = [learning_rate(training(), step, 100) for step in range(10)]
    assert rates == pytest.approx([PEAK * (i + 1) / 10 for i in range(10)])


@pytest.mark.parametrize(
    ("schedule", "halfway"),
    [
        (LearningRateSchedule.CONSTANT, PEAK),
        (LearningRateSchedule.LINEAR, PEAK / 2),
        (LearningRateSchedule.COSINE, PEAK / 2),
    ],
)
def test_the_schedule_after_warm_up(schedule: LearningRateSchedule, halfway: float) -> None:
    assert learning_rate(training(schedule, "0"), 50, 100) == pytest.approx(halfway)
    assert learning_rate(training(schedule, "0"), 0, 100) == pytest.approx(PEAK)


@given(
    st.sampled_from(list(LearningRateSchedule)),
    st.integers(1, 500).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total - 1))),
    st.sampled_from(["0", "3", "50", "100"]),
)
def test_every_step_moves_and_none_exceeds_the_peak(
    schedule: LearningRateSchedule, total_and_step: tuple[int, int], warmup: str
) -> None:
    total, step = total_and_step
    assert 0 < learning_rate(training(schedule, warmup), step, total) <= PEAK * (1 + 1e-12)
