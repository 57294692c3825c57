"""Seeds of sampled outputs: a function of what is sampled, never of rank, clock, order or stage key."""

from __future__ import annotations

import hashlib


def derive_seed(run_seed: int, purpose: str, item_id: str, index: int) -> int:
    """64 bits from the run's seed, what is drawn (such as ``response``), for which item, and which of its samples.

    Arms of an ablation share a run seed, hence their draws; another purpose, item or index has independent ones.
    """
    parts = (str(run_seed), purpose, item_id, str(index))
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
