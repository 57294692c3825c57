"""Samples and packs: targets as triples, shared prefixes, and the shapes at the edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from boresight_trainer.models.batch import Sample, Segment, build_pack
from boresight_trainer.models.medium import Grid, ImageShape, MediaSpan, Medium
from builders_scoring import a_chain_of_three, dense_attention, samples_of_every_shape


def segment(tokens: list[int], parent: int | None = None, scored_from: int = 0) -> Segment:
    return Segment(np.array(tokens, np.int32), parent, scored_from)


def triples(samples: list[Sample]) -> list[tuple[int, int, int]]:
    pack = build_pack(samples)
    responses = np.repeat(np.arange(len(pack.response_lengths)), pack.response_lengths)
    return list(zip(pack.target_positions.tolist(), pack.target_ids.tolist(), responses.tolist(), strict=True))


def test_one_position_predicts_the_first_token_of_every_continuation() -> None:
    assert triples([Sample.of_pair("p", [10, 11, 12], [20, 21], [30])]) == [(2, 20, 0), (3, 21, 0), (2, 30, 1)]


def test_targets_continue_through_samples() -> None:
    samples = [Sample.of_response("a", [1, 2], [3]), Sample.of_pair("b", [4], [5], [6, 7])]
    assert triples(samples) == [(1, 3, 0), (3, 5, 1), (3, 6, 2), (5, 7, 2)]


def test_only_the_scored_part_of_a_segment_is_a_target() -> None:
    sample = Sample(
        "turns", (segment([1, 2], None, 2), segment([3, 4, 5], 0, 1), segment([6, 7], 1, 2), segment([8], 2))
    )
    assert triples([sample]) == [(2, 4, 0), (3, 5, 0), (6, 8, 1)]
    assert (sample.num_tokens, sample.num_targets, sample.response_lengths) == (8, 3, (2, 1))


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (Sample.of_response("s", [], [5, 6, 7]), [(0, 6, 0), (1, 7, 0)]),
        (Sample.of_pair("s", [], [5, 6], [7, 8]), [(0, 6, 0), (2, 8, 1)]),
        (Sample("s", (segment([1], None, 1), segment([], 0), segment([2], 1))), [(0, 2, 0)]),
    ],
    ids=["empty prompt", "empty prompt of a pair", "empty segment within a chain"],
)
def test_the_first_token_of_all_has_nothing_to_predict_it(sample: Sample, expected: list[tuple[int, int, int]]) -> None:
    assert triples([sample]) == expected
    assert sample.num_targets == len(expected)


def test_counts_agree_with_the_pack() -> None:
    samples = samples_of_every_shape()
    pack = build_pack(samples)
    assert pack.num_tokens == sum(sample.num_tokens for sample in samples)
    assert pack.num_targets == sum(sample.num_targets for sample in samples)
    assert pack.response_lengths == tuple(n for sample in samples for n in sample.response_lengths)
    assert pack.lengths.tolist() == list(pack.response_lengths)
    assert pack.sample_ids == tuple(sample.id for sample in samples)


def test_positions_count_what_a_token_can_see() -> None:
    samples = samples_of_every_shape()
    visible = dense_attention(samples).sum(axis=1)
    assert build_pack(samples).position_ids.tolist() == (visible - 1).tolist()


def test_a_shared_prompt_is_there_once() -> None:
    pack = build_pack([Sample.of_pair("p", [1, 2, 3], [4], [5])])
    assert pack.input_ids.tolist() == [1, 2, 3, 4, 5]
    assert pack.position_ids.tolist() == [0, 1, 2, 3, 3]


def test_a_chain_knows_its_responses() -> None:
    assert a_chain_of_three().response_lengths == (5, 9, 6, 5)


def test_no_samples_make_one_token_without_targets() -> None:
    pack = build_pack([])
    assert (pack.num_tokens, pack.num_targets, pack.response_lengths, pack.lengths.shape) == (1, 0, (), torch.Size([0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sample.of_response("row 3", [1], []), 'sample "row 3": the response has no tokens'),
        (lambda: Sample.of_pair("row 3", [1], [2], []), 'sample "row 3": the rejected response has no tokens'),
        (lambda: Sample.of_response("row 3", [], [2]), 'sample "row 3": segment 1 is one token after an empty prompt'),
        (lambda: Sample("s", (segment([1], 0),)), "segment 0 has parent 0, expected one before it"),
        (lambda: Sample("s", (segment([1], None, 2),)), "segment 0 is scored from token 2, expected 0 to 1"),
    ],
)
def test_what_cannot_be_scored_is_an_error(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def a_medium(name: str, tokens: int = 4, grid: Grid | None = None) -> Medium:
    return Medium(name, f"digest of {name}", ImageShape(8, 8), tokens, grid)


def test_a_medium_that_stands_in_several_places_has_its_features_once() -> None:
    first, second = a_medium("first", 2), a_medium("second", 3)
    samples = [
        Sample.of_pair("a", range(9), [1], [2], media=[MediaSpan(1, first), MediaSpan(5, second)]),
        Sample.of_response("text", [1, 2], [3]),
        Sample.of_response("b", range(8), [4, 5], media=[MediaSpan(0, second), MediaSpan(4, first)]),
    ]
    media = build_pack(samples).media
    assert media is not None
    assert [medium.id for medium in media.distinct] == ["first", "second"]
    assert media.tokens.tolist() == [1, 2, 5, 6, 7, 14, 15, 16, 18, 19]
    assert media.features.tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 0, 1]


def test_responses_continue_behind_a_medium_on_a_grid() -> None:
    """Two frames, five positions apart, of two by three tokens; the text goes on at the medium's extent."""
    medium = a_medium("video", 12, Grid((0, 5), 2, 3, 7))
    sample = Sample.of_pair("p", range(15), [1, 2], [3], media=[MediaSpan(2, medium)])
    times, rows, columns = build_pack([sample, Sample.of_response("t", [1], [2])]).position_ids.tolist()
    assert times == [0, 1, *[2] * 6, *[7] * 6, 9, 10, 11, 10, 0, 1]
    assert rows == [0, 1, *[2, 2, 2, 3, 3, 3] * 2, 9, 10, 11, 10, 0, 1]
    assert columns == [0, 1, *[2, 3, 4] * 4, 9, 10, 11, 10, 0, 1]


def test_without_a_grid_media_count_positions_as_text_does() -> None:
    sample = Sample.of_pair("p", range(6), [1], [2], media=[MediaSpan(1, a_medium("sound"))])
    assert build_pack([sample]).position_ids.tolist() == [0, 1, 2, 3, 4, 5, 6, 6]


@pytest.mark.parametrize(
    ("starts", "found"),
    [
        ((3,), "3 to 7, expected .* within tokens 0 to 6"),
        ((0, 2), "2 to 6, expected .* within tokens 4 to 6"),
        ((-1,), "-1 to 3"),
    ],
)
def test_a_medium_that_is_cut_or_covered_is_an_error(starts: tuple[int, ...], found: str) -> None:
    media = [MediaSpan(start, a_medium("cut")) for start in starts]
    with pytest.raises(ValueError, match=f'sample "row 3": segment 0 has image at tokens {found}'):
        Sample.of_response("row 3", range(6), [1], media=media)
