"""Where the keys of each query lie when segments with shared prefixes sit on one flat token axis. NumPy only.

Segments form trees: a segment may continue another one, its parent. The keys of a token are the chain of ancestors of
its segment, then its own segment up to itself. Neighbours on the axis of which each continues the one before (a prompt
and its first response) need no gathering at all: together they are one causal sequence, here called a *row*. Every
other segment starts a row whose keys are gathered from the rows that hold its ancestors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of prefix keys: flat positions ``start`` to ``stop``, which lie in row ``row``."""

    row: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Row:
    """Queries at flat positions ``start`` to ``stop``; their keys are the prefix, then themselves, causally."""

    start: int
    stop: int
    prefix: tuple[Piece, ...]

    @property
    def num_queries(self) -> int:
        """Number of queries, which are the row's own tokens."""
        return self.stop - self.start

    @property
    def num_prefix(self) -> int:
        """Number of keys before the row's own."""
        return sum(piece.stop - piece.start for piece in self.prefix)

    @property
    def num_keys(self) -> int:
        """Prefix keys and own keys."""
        return self.num_prefix + self.num_queries


@dataclass(frozen=True, slots=True)
class Layout:
    """All rows of a pack; together their queries cover the flat axis once, in order."""

    rows: tuple[Row, ...]
    positions: IntArray
    """``[tokens]`` position of each token in its own chain, from 0."""


@dataclass(frozen=True, slots=True)
class VarlenArrays:
    """Arguments of one variable-length attention call: one sequence a row, bottom-right causal."""

    key_index: IntArray
    """``[keys]`` flat position of every key, row after row."""
    cu_queries: IntArray
    """``[rows + 1]`` cumulated query counts."""
    cu_keys: IntArray
    """``[rows + 1]`` cumulated key counts."""
    max_queries: int
    max_keys: int


def lay_out(lengths: Sequence[int], parents: Sequence[int | None]) -> Layout:
    """The rows of segments of ``lengths`` tokens that lie one after the other; ``parents[i] < i``, or None for a root.

    Segments without tokens are legal; they stand for nothing in their descendants' chains.
    """
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    chains = _chains(lengths, parents)
    members: list[list[int]] = []
    row_of: dict[int, int] = {}
    for segment, length in enumerate(lengths):
        if length == 0:
            continue
        continues = bool(members) and chains[segment] == (*chains[members[-1][0]], *members[-1])
        if continues:
            members[-1].append(segment)
        else:
            members.append([segment])
        row_of[segment] = len(members) - 1
    rows = tuple(
        Row(
            start=int(starts[row[0]]),
            stop=int(starts[row[-1] + 1]),
            prefix=_pieces([(row_of[s], int(starts[s]), int(starts[s + 1])) for s in chains[row[0]]]),
        )
        for row in members
    )
    positions = [np.arange(row.num_prefix, row.num_keys, dtype=np.int32) for row in rows]
    return Layout(rows, np.concatenate(positions) if positions else np.zeros(0, np.int32))


def varlen_arrays(rows: Sequence[Row]) -> VarlenArrays:
    """The index arrays with which one variable-length attention call computes all rows."""
    queries = [row.num_queries for row in rows]
    keys = [row.num_keys for row in rows]
    runs: list[tuple[int, int]] = []
    for row in rows:
        runs.extend((piece.start, piece.stop) for piece in row.prefix)
        runs.append((row.start, row.stop))
    return VarlenArrays(
        key_index=np.concatenate([np.arange(start, stop, dtype=np.int32) for start, stop in runs]),
        cu_queries=np.concatenate([[0], np.cumsum(queries)]).astype(np.int32),
        cu_keys=np.concatenate([[0], np.cumsum(keys)]).astype(np.int32),
        max_queries=max(queries),
        max_keys=max(keys),
    )


def _chains(lengths: Sequence[int], parents: Sequence[int | None]) -> list[tuple[int, ...]]:
    """For each segment its ancestors that have tokens, root first."""
    chains: list[tuple[int, ...]] = []
    for segment, parent in enumerate(parents):
        if parent is not None and not 0 <= parent < segment:
            raise ValueError(f"segment {segment}: parent {parent}, expected None or a segment before it")
        own = () if parent is None else chains[parent] + ((parent,) if lengths[parent] else ())
        chains.append(own)
    return chains


def _pieces(runs: list[tuple[int, int, int]]) -> tuple[Piece, ...]:
    """Runs as pieces; neighbours within one row become one piece."""
    pieces: list[Piece] = []
    for row, start, stop in runs:
        if pieces and pieces[-1].row == row and pieces[-1].stop == start:
            pieces[-1] = Piece(row, pieces[-1].start, stop)
        else:
            pieces.append(Piece(row, start, stop))
    return tuple(pieces)
