"""The API server's clock, found from headers that only have whole seconds."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from boresight_operator.server_clock import ServerClock
from hypothesis import given
from hypothesis import strategies as st


def answered(clock: ServerClock, offset: float, sent: float, took: float, at: float = 0.5) -> None:
    """An answer that the server made after the share ``at`` of the time, when its clock was loop time + ``offset``."""
    clock.observe(formatdate(int(sent + took * at + offset), usegmt=True), sent, sent + took)


@given(
    offset=st.floats(1.7e9, 1.9e9),
    answers=st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 5), st.floats(0, 1)), min_size=1, max_size=30),
)
def test_the_estimate_is_never_further_off_than_the_best_single_answer_allows(
    offset: float, answers: list[tuple[float, float, float]]
) -> None:
    clock = ServerClock()
    for sent, took, at in answers:
        answered(clock, offset, sent, took, at)
    best = min(1 + took for _, took, _ in answers)
    assert abs(clock.at(0.0) - offset) <= best / 2 + 1e-6


def test_many_quick_answers_pin_it_down_to_a_few_hundredths() -> None:
    clock, offset = ServerClock(), 1_795_348_800.37
    for n in range(200):
        answered(clock, offset, 10 + n * 0.317, 0.005)
    assert clock.at(0.0) == pytest.approx(offset, abs=0.02)


def test_a_clock_that_was_set_is_followed() -> None:
    clock, offset = ServerClock(), 1_795_348_800.0
    for n in range(10):
        answered(clock, offset, n * 0.3, 0.01)
    answered(clock, offset - 3600, 20, 0.01)
    assert clock.at(0.0) == pytest.approx(offset - 3600, abs=0.6)


def test_rubbish_is_no_time() -> None:
    clock = ServerClock()
    clock.observe("yesterday", 1, 2)
    with pytest.raises(RuntimeError, match="Date"):
        clock.at(3)
