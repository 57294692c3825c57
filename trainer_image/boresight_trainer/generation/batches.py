"""Generation batches: which requests are sampled together. Pure; the atom of sharding and of resuming."""

from __future__ import annotations

from collections.abc import Sequence


def generation_batches(lengths: Sequence[int], batch_size: int) -> tuple[tuple[int, ...], ...]:
    """Indices of the requests of each batch, a function of prompt ``lengths`` (tokens) alone.

    Like lengths go together, so little is padded; the longest come first, so running out of memory shows at once.
    Equal lengths stay in order, which keeps the samples of one prompt in neighbouring places. Every shard takes whole
    batches, and an interrupted batch is repeated whole: then the rounding that depends on a batch's composition is the
    same however the work is split.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: found {batch_size}, expected at least 1")
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return tuple(tuple(order[i : i + batch_size]) for i in range(0, len(order), batch_size))
