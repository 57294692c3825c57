"""How one optimizer step's samples are laid out in micro-batches: a pure function of lengths, budget and world size.

Packing is execution only. It never moves a sample to another step, so it changes results only by rounding.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Sequence

from boresight_api.outcome import FailureClass, StageFailure

RankPacks = tuple[tuple[int, ...], ...]
"""Micro-batches of one rank, each a tuple of sample indices in ascending order; some may be empty."""


def pack_step(
    lengths: Sequence[int], *, token_budget: int, world_size: int = 1, ids: Sequence[str] | None = None
) -> tuple[RankPacks, ...]:
    """Packs ``[rank][micro-batch] -> sample indices`` in which no pack holds more than ``token_budget`` tokens.

    ``lengths[i]`` is the number of tokens of sample ``i`` with shared prefixes counted once. Every rank gets the same
    number of micro-batches, as few as the two heuristics find (longest processing time first, Graham 1969, which
    balances; best fit decreasing, which fills), and the packs that run at the same time are of similar length.

    Raises ``StageFailure(INVALID_CONFIG)`` if one sample alone exceeds the budget; ``ids`` name it.
    """
    if world_size < 1:
        raise ValueError(f"world_size: found {world_size}, expected at least 1")
    _check_budget(lengths, token_budget, ids)
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    fewest = max(1, -(-sum(lengths) // token_budget))
    bins = -(-fewest // world_size) * world_size
    while (packs := _longest_first(order, lengths, bins, token_budget)) is None and (
        packs := _best_fit(order, lengths, bins, token_budget)
    ) is None:
        bins += world_size
    return _deal(packs, lengths, world_size)


def _check_budget(lengths: Sequence[int], token_budget: int, ids: Sequence[str] | None) -> None:
    for index, length in enumerate(lengths):
        if length > token_budget:
            name = f'sample "{ids[index]}"' if ids is not None else f"sample {index}"
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"{name} has {length} tokens, more than the token budget of {token_budget} for one micro-batch; raise "
                "tokenBudget (or set it to Auto) or lower maxLength",
            )


def _longest_first(order: Sequence[int], lengths: Sequence[int], bins: int, budget: int) -> list[list[int]] | None:
    """Each sample, longest first, into the lightest bin; None if that overflows a bin."""
    packs: list[list[int]] = [[] for _ in range(bins)]
    heap = [(0, number) for number in range(bins)]
    for index in order:
        load, number = heapq.heappop(heap)
        if load + lengths[index] > budget:
            return None
        packs[number].append(index)
        heapq.heappush(heap, (load + lengths[index], number))
    return packs


def _best_fit(order: Sequence[int], lengths: Sequence[int], bins: int, budget: int) -> list[list[int]] | None:
    """Each sample, longest first, into the fullest bin that still has room; None if none has."""
    packs: list[list[int]] = [[] for _ in range(bins)]
    loads = [(0, number) for number in range(bins)]
    for index in order:
        place = bisect.bisect_right(loads, (budget - lengths[index], bins)) - 1
        if place < 0:
            return None
        load, number = loads.pop(place)
        packs[number].append(index)
        bisect.insort(loads, (load + lengths[index], number))
    return packs


def _deal(packs: list[list[int]], lengths: Sequence[int], world_size: int) -> tuple[RankPacks, ...]:
    """Packs by falling length, one to each rank in turn, the direction changing with every micro-batch."""
    by_load = sorted(packs, key=lambda pack: (-sum(lengths[index] for index in pack), pack))
    ranks: list[list[tuple[int, ...]]] = [[] for _ in range(world_size)]
    for micro_batch, start in enumerate(range(0, len(by_load), world_size)):
        group = by_load[start : start + world_size]
        for rank, pack in enumerate(group if micro_batch % 2 == 0 else reversed(group)):
            ranks[rank].append(tuple(sorted(pack)))
    return tuple(tuple(rank) for rank in ranks)
