"""How a step's samples are laid out in micro-batches."""

from __future__ import annotations

import random

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.packing import pack_step
from hypothesis import given
from hypothesis import strategies as st

LENGTHS = st.lists(st.integers(1, 100), min_size=0, max_size=60)


@given(lengths=LENGTHS, budget=st.integers(100, 400), world_size=st.integers(1, 5))
def test_every_sample_once_within_budget_and_as_many_packs_on_every_rank(
    lengths: list[int], budget: int, world_size: int
) -> None:
    ranks = pack_step(lengths, token_budget=budget, world_size=world_size)
    packs = [pack for rank in ranks for pack in rank]
    assert sorted(index for pack in packs for index in pack) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in pack) <= budget for pack in packs)
    assert len(ranks) == world_size
    assert len({len(rank) for rank in ranks}) == 1
    assert all(rank for rank in ranks)


@given(lengths=LENGTHS, budget=st.integers(100, 400), world_size=st.integers(1, 4), seed=st.integers(0, 99))
def test_only_lengths_decide_and_not_the_order_of_samples(
    lengths: list[int], budget: int, world_size: int, seed: int
) -> None:
    def shape(of: list[int]) -> list[list[list[int]]]:
        ranks = pack_step(of, token_budget=budget, world_size=world_size)
        return [[sorted(of[i] for i in pack) for pack in rank] for rank in ranks]

    shuffled = random.Random(seed).sample(lengths, len(lengths))
    loads = [[sum(pack) for pack in rank] for rank in shape(lengths)]
    assert loads == [[sum(pack) for pack in rank] for rank in shape(shuffled)]


@given(lengths=LENGTHS, budget=st.integers(100, 400))
def test_packs_are_more_than_half_full_on_average(lengths: list[int], budget: int) -> None:
    packs = pack_step(lengths, token_budget=budget)[0]
    assert len(packs) == 1 or (len(packs) - 1) * budget < 2 * sum(lengths)


def test_packs_that_run_together_are_of_similar_length() -> None:
    ranks = pack_step([90, 10, 50, 50, 80, 20, 60, 40], token_budget=100, world_size=2)
    loads = [[sum([90, 10, 50, 50, 80, 20, 60, 40][i] for i in pack) for pack in rank] for rank in ranks]
    assert loads == [[100, 100], [100, 100]]


def test_balance_comes_before_filling() -> None:
    assert [len(pack) for pack in pack_step([10] * 6, token_budget=40)[0]] == [3, 3]


def test_a_full_budget_is_found_where_balancing_alone_fails() -> None:
    """Longest first would put 6+5, 6+5 and the 4s nowhere."""
    lengths = [7, 6, 5, 4, 4, 4]
    assert len(pack_step(lengths, token_budget=15)[0]) == 2


def test_ranks_without_samples_get_empty_packs() -> None:
    assert pack_step([5, 4], token_budget=10, world_size=3) == (((0,),), ((1,),), ((),))


def test_a_sample_above_the_budget_is_named() -> None:
    with pytest.raises(StageFailure, match='sample "row 1" has 30 tokens, more than the token budget of 20') as failure:
        pack_step([5, 30], token_budget=20, ids=["row 0", "row 1"])
    assert failure.value.failure is FailureClass.INVALID_CONFIG
