"""Prompts of a generation batch as segments: what they share stands there once, media where they belong. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.medium import MediaSpan, Medium
from .generator import GenerationRequest
from .prefixes import PrefixTree


@dataclass(frozen=True, slots=True)
class PromptSegments:
    """Segments in the order of the flat axis, and the ones that make up each prompt."""

    tokens: tuple[tuple[int, ...], ...]
    parents: tuple[int | None, ...]
    media: tuple[tuple[MediaSpan, ...], ...]
    chains: tuple[tuple[int, ...], ...]
    """For each request its segments, root first."""


def prompt_segments(requests: Sequence[GenerationRequest]) -> PromptSegments:
    """The segments of ``requests``. Prompts share a prefix only where their media are the same too.

    Placeholders of different media are the same tokens. So each medium's have a number of their own, below all token
    ids, while prompts are compared; where two prompts part, no medium is cut.
    """
    media = {span.medium.id: span.medium for request in requests for span in request.media}
    numbers = {name: -number for number, name in enumerate(media, 1)}
    by_number: dict[int, tuple[Medium, int]] = {}
    keys: list[tuple[int, ...]] = []
    for request in requests:
        key = list(request.prompt_ids)
        for span in request.media:
            number = numbers[span.medium.id]
            by_number[number] = span.medium, key[span.start]
            key[span.start : span.stop] = [number] * span.medium.num_tokens
        keys.append(tuple(key))
    tree = PrefixTree.of(keys)
    return PromptSegments(
        tuple(tuple(by_number[key][1] if key < 0 else key for key in segment) for segment in tree.segments),
        tree.parents,
        tuple(_spans(segment, by_number) for segment in tree.segments),
        tuple(tree.chain(leaf) for leaf in tree.leaf),
    )


def _spans(segment: Sequence[int], by_number: dict[int, tuple[Medium, int]]) -> tuple[MediaSpan, ...]:
    spans: list[MediaSpan] = []
    place = 0
    while place < len(segment):
        if segment[place] < 0:
            spans.append(MediaSpan(place, by_number[segment[place]][0]))
            place = spans[-1].stop
        else:
            place += 1
    return tuple(spans)
