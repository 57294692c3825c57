"""The index arrays of both attention kernels against a dense mask written from the definition."""

from __future__ import annotations

import numpy as np
import pytest
from boresight_trainer.models.layout import lay_out, varlen_arrays

TREES = {
    "one segment": ([5], [None]),
    "one token": ([1], [None]),
    "a pair": ([4, 3, 2], [None, 0, 0]),
    "two pairs": ([4, 3, 2, 1, 1, 6], [None, 0, 0, None, 3, 3]),
    "chains of three": ([3, 2, 4, 2, 5, 1], [None, 0, 1, 1, 0, 4]),
    "an empty prompt": ([0, 3, 2], [None, 0, 0]),
    "an empty segment within a chain": ([3, 0, 2, 4], [None, 0, 1, 0]),
    "roots only": ([2, 1, 3], [None, None, None]),
}


def ancestors(segment: int, parents: list[int | None]) -> list[int]:
    parent = parents[segment]
    return [] if parent is None else [*ancestors(parent, parents), parent]


def dense(lengths: list[int], parents: list[int | None], window: int | None = None) -> np.ndarray:
    owners = np.repeat(np.arange(len(lengths)), lengths)
    mask = np.zeros((len(owners), len(owners)), bool)
    for query, owner in enumerate(owners):
        chain = {*ancestors(owner, parents), owner}
        keys = [key for key in range(query + 1) if owners[key] in chain]
        mask[query, keys[-window:] if window else keys] = True
    return mask


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("tree", TREES)
def test_the_variable_length_call_sees_what_the_definition_says(tree: str, window: int | None) -> None:
    lengths, parents = TREES[tree]
    arrays = varlen_arrays(lay_out(lengths, parents).rows)
    seen = np.zeros((sum(lengths), sum(lengths)), bool)
    for row in range(len(arrays.cu_queries) - 1):
        queries = range(arrays.cu_queries[row], arrays.cu_queries[row + 1])
        keys = arrays.key_index[arrays.cu_keys[row] : arrays.cu_keys[row + 1]]
        for number, query in enumerate(queries):
            last = len(keys) - len(queries) + number  # bottom-right causal
            first = 0 if window is None else max(0, last - window + 1)
            seen[query, keys[first : last + 1]] = True
        assert len(queries) <= arrays.max_queries
        assert len(keys) <= arrays.max_keys
    assert (seen == dense(lengths, parents, window)).all()
    assert arrays.cu_queries[-1] == sum(lengths)
    assert {array.dtype for array in (arrays.key_index, arrays.cu_queries, arrays.cu_keys)} == {np.dtype(np.int32)}


@pytest.mark.parametrize("tree", TREES)
def test_positions_continue_the_chain(tree: str) -> None:
    lengths, parents = TREES[tree]
    expected: list[int] = []
    for segment, length in enumerate(lengths):
        before = sum(lengths[ancestor] for ancestor in ancestors(segment, parents))
        expected.extend(range(before, before + length))
    assert lay_out(lengths, parents).positions.tolist() == expected


def test_a_prompt_and_its_first_response_need_no_gathering() -> None:
    rows = lay_out([4, 3, 2], [None, 0, 0]).rows
    assert [(row.start, row.stop, row.num_prefix) for row in rows] == [(0, 7, 0), (7, 9, 4)]


def test_prefixes_of_one_row_are_one_piece() -> None:
    rows = lay_out([4, 3, 2, 5], [None, 0, 1, 1]).rows
    assert [(piece.start, piece.stop) for piece in rows[1].prefix] == [(0, 7)]


@pytest.mark.parametrize("parent", [1, 2, -1])
def test_a_parent_after_its_child_is_an_error(parent: int) -> None:
    with pytest.raises(ValueError, match=f"segment 1: parent {parent}, expected None or a segment before it"):
        lay_out([2, 2, 2], [None, parent, 0])
