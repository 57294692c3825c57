"""Which samples form which optimizer step: a pure function of row ids, seed, epoch and global batch.

The schedule is semantic: two runs with the same schedule see the same samples in the same steps, whatever their token
budget, world size or interruptions. How one step's samples are laid out in micro-batches is ``data/packing.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache


def optimizer_steps(num_samples: int, epochs: int, global_batch: int) -> int:
    """Number of optimizer steps of a whole training: every epoch ends with a step of its own, full or not.

    Raises ``ValueError`` for a number below 1.
    """
    for name, value in (("num_samples", num_samples), ("epochs", epochs), ("global_batch", global_batch)):
        if value < 1:
            raise ValueError(f"{name}: found {value}, expected at least 1")
    return epochs * steps_per_epoch(num_samples, global_batch)


def steps_per_epoch(num_samples: int, global_batch: int) -> int:
    """Steps of one epoch; the last one holds what is left."""
    return -(-num_samples // global_batch)


def step_samples(row_ids: Sequence[str], *, seed: int, epoch: int, step: int, global_batch: int) -> tuple[int, ...]:
    """Indices into ``row_ids`` of the samples of step ``step`` (counted from 0 within its epoch).

    The order of an epoch is the order of SHA-256(seed, epoch, row id), so it depends on which rows there are and not
    on how they are listed. Over the steps of an epoch every row occurs exactly once.

    Raises ``ValueError`` if ``step`` lies outside the epoch or a row id occurs twice.
    """
    steps = steps_per_epoch(len(row_ids), global_batch)
    if not 0 <= step < steps:
        raise ValueError(
            f"step: found {step}, expected 0 to {steps - 1} ({len(row_ids)} rows, batches of {global_batch})"
        )
    order = _epoch_order(tuple(row_ids), seed, epoch)
    return order[step * global_batch : (step + 1) * global_batch]


@lru_cache(maxsize=2)
def _epoch_order(row_ids: tuple[str, ...], seed: int, epoch: int) -> tuple[int, ...]:
    if len(set(row_ids)) != len(row_ids):
        seen: set[str] = set()
        twice = next(row_id for row_id in row_ids if row_id in seen or seen.add(row_id))  # type: ignore[func-returns-value]
        raise ValueError(f'row id "{twice}" occurs twice; ids of a schedule are unique')
    prefix = hashlib.sha256(f"{seed}/{epoch}/".encode())

    def rank(index: int) -> bytes:
        digest = prefix.copy()
        digest.update(row_ids[index].encode())
        return digest.digest()

    return tuple(sorted(range(len(row_ids)), key=rank))
