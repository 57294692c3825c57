"""Prompts as a tree of shared prefixes, so that a batch computes each prefix once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

SHORTEST_SHARED = 16
"""Tokens from which a shared prefix becomes a segment of its own; gathering a shorter one costs more than it saves."""


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """Segments of tokens, parents before their children; ``leaf[i]`` is the segment with which prompt i ends."""

    segments: tuple[tuple[int, ...], ...]
    parents: tuple[int | None, ...]
    leaf: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens to compute."""
        return sum(map(len, self.segments))

    def chain(self, segment: int) -> tuple[int, ...]:
        """The segment's ancestors, root first, then itself."""
        parent = self.parents[segment]
        return (segment,) if parent is None else (*self.chain(parent), segment)

    @classmethod
    def of(cls, prompts: Sequence[tuple[int, ...]], shortest: int = SHORTEST_SHARED) -> PrefixTree:
        """The tree of ``prompts``. Equal prompts end with the same segment."""
        segments: list[tuple[int, ...]] = []
        parents: list[int | None] = []
        leaf = [0] * len(prompts)

        def grow(group: list[int], start: int, parent: int | None) -> None:
            """Place the rest (from ``start`` on) of prompts that agree up to there."""
            first, last = prompts[group[0]], prompts[group[-1]]
            shared = _common_length(first, last)  # sorted: what the outermost share, all share
            if first != last and shared - start < shortest:
                for part in _split(prompts, group, shared):
                    grow(part, start, parent)
                return
            node = len(segments)
            segments.append(first[start:shared])
            parents.append(parent)
            for part in _split(prompts, group, shared):
                if len(prompts[part[0]]) == shared:
                    for i in part:
                        leaf[i] = node
                else:
                    grow(part, shared, node)

        everything = sorted(range(len(prompts)), key=lambda i: prompts[i])
        if everything:
            grow(everything, 0, None)
        return cls(tuple(segments), tuple(parents), tuple(leaf))


def _common_length(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _split(prompts: Sequence[tuple[int, ...]], group: list[int], at: int) -> Iterator[list[int]]:
    """``group`` (sorted) divided by the token at position ``at``; prompts that end there come first, together."""
    for _, part in groupby(group, key=lambda i: prompts[i][at : at + 1]):
        yield list(part)
