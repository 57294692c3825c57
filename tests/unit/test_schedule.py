"""Which samples form which step."""

from __future__ import annotations

import random

import pytest
from boresight_trainer.data.schedule import optimizer_steps, step_samples, steps_per_epoch
from hypothesis import given
from hypothesis import strategies as st


def epoch_of(ids: list[str], *, seed: int = 7, epoch: int = 0, global_batch: int = 4) -> list[tuple[int, ...]]:
    steps = range(steps_per_epoch(len(ids), global_batch))
    return [step_samples(ids, seed=seed, epoch=epoch, step=k, global_batch=global_batch) for k in steps]


def rows(number: int) -> list[str]:
    return [f"data.jsonl:{i}" for i in range(number)]


@given(number=st.integers(1, 60), global_batch=st.integers(1, 20), seed=st.integers(0, 2**53), epoch=st.integers(0, 5))
def test_an_epoch_holds_every_row_once(number: int, global_batch: int, seed: int, epoch: int) -> None:
    steps = epoch_of(rows(number), seed=seed, epoch=epoch, global_batch=global_batch)
    assert sorted(index for step in steps for index in step) == list(range(number))
    assert all(len(step) == global_batch for step in steps[:-1])
    assert 1 <= len(steps[-1]) <= global_batch


def test_seed_and_epoch_change_the_order() -> None:
    assert len({str(epoch_of(rows(40), seed=s, epoch=e)) for s in (1, 2) for e in (0, 1, 2)}) == 6


def test_the_order_of_rows_in_the_file_does_not_matter() -> None:
    ids = rows(30)
    shuffled = random.Random(3).sample(ids, len(ids))
    names = [[ids[i] for i in step] for step in epoch_of(ids)]
    assert names == [[shuffled[i] for i in step] for step in epoch_of(shuffled)]


def test_the_schedule_never_changes_between_releases() -> None:
    """Keys promise that the same configuration gives the same steps."""
    assert epoch_of(rows(10), seed=7) == [(3, 0, 2, 9), (8, 6, 5, 7), (4, 1)]


@pytest.mark.parametrize(
    ("samples", "epochs", "global_batch", "steps"), [(100, 1, 64, 2), (128, 3, 64, 6), (1, 2, 64, 2), (65, 1, 64, 2)]
)
def test_number_of_steps(samples: int, epochs: int, global_batch: int, steps: int) -> None:
    assert optimizer_steps(samples, epochs, global_batch) == steps


@pytest.mark.parametrize("wrong", [{"num_samples": 0}, {"epochs": 0}, {"global_batch": 0}])
def test_nothing_to_schedule_is_an_error(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: found 0, expected at least 1"):
        optimizer_steps(**{"num_samples": 3, "epochs": 1, "global_batch": 2} | wrong)


def test_a_step_outside_the_epoch_is_an_error() -> None:
    with pytest.raises(ValueError, match="step: found 3, expected 0 to 2"):
        step_samples(rows(10), seed=0, epoch=0, step=3, global_batch=4)


def test_two_rows_with_one_id_are_an_error() -> None:
    with pytest.raises(ValueError, match='row id "b" occurs twice'):
        step_samples(["a", "b", "c", "b"], seed=0, epoch=0, step=0, global_batch=4)
