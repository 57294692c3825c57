"""Generation batches and prefix trees are pure functions; seeds name what is drawn."""

from __future__ import annotations

from itertools import pairwise

import pytest
from boresight_trainer.data.seeds import derive_seed
from boresight_trainer.generation.batches import generation_batches
from boresight_trainer.generation.prefixes import PrefixTree
from hypothesis import given
from hypothesis import strategies as st

lengths = st.lists(st.integers(1, 50), max_size=60)
prompts = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=12).map(tuple), min_size=1, max_size=20)


@given(lengths, st.integers(1, 9))
def test_batches_hold_every_request_once_and_are_full_but_for_the_last(lengths, size):
    batches = generation_batches(lengths, size)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == size for batch in batches[:-1])


@given(lengths, st.integers(1, 9))
def test_like_lengths_go_together_longest_first(lengths, size):
    order = [i for batch in generation_batches(lengths, size) for i in batch]
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)
    assert all(a < b for a, b in pairwise(order) if lengths[a] == lengths[b])


@given(lengths, st.integers(1, 9))
def test_a_batch_generated_alone_is_that_batch(lengths, size):
    """So a shard or a resumed attempt that asks for one batch samples exactly what the whole run would."""
    for batch in generation_batches(lengths, size):
        alone = generation_batches([lengths[i] for i in batch], size)
        assert [tuple(batch[i] for i in again) for again in alone] == [batch]


def test_no_requests_make_no_batches():
    assert generation_batches([], 4) == ()
    with pytest.raises(ValueError, match="found 0"):
        generation_batches([1], 0)


@given(prompts, st.integers(1, 6))
def test_a_prefix_tree_spells_every_prompt(prompts, shortest):
    tree = PrefixTree.of(prompts, shortest)
    for prompt, leaf in zip(prompts, tree.leaf, strict=True):
        assert tuple(token for segment in tree.chain(leaf) for token in tree.segments[segment]) == prompt
    assert all(parent is None or parent < node for node, parent in enumerate(tree.parents))
    assert all(tree.segments)
    assert tree.num_tokens <= sum(map(len, prompts))


@given(prompts)
def test_with_no_shortest_length_every_shared_token_is_computed_once(prompts):
    distinct_prefixes = {prompt[:n] for prompt in prompts for n in range(1, len(prompt) + 1)}
    assert PrefixTree.of(prompts, 1).num_tokens == len(distinct_prefixes)


def test_short_common_prefixes_are_not_worth_a_segment():
    a, b = (1, 2, 3, 4), (1, 2, 5, 6)
    assert PrefixTree.of([a, b], 3).segments == (a, b)
    assert PrefixTree.of([a, b], 2).segments == ((1, 2), (3, 4), (5, 6))
    assert PrefixTree.of([a, a], 16).segments == (a,)


def test_every_part_of_a_seed_matters():
    seeds = [
        derive_seed(7, "response", "a", 0),
        derive_seed(8, "response", "a", 0),
        derive_seed(7, "critique", "a", 0),
        derive_seed(7, "response", "b", 0),
        derive_seed(7, "response", "a", 1),
        derive_seed(7, "responsea", "", 0),
        derive_seed(77, "response", "a", 0),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_seeds_stay_the_same_from_release_to_release():
    assert derive_seed(7, "response", "row:1", 0) == 18340797719499717895
