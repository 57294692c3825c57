"""Which rows: seeded nested limits, rows held out, rows repeated. Pure functions of seed and content.

A row's place in a subset is decided by a hash, so 25% of the rows is a subset of 50%. What is held out is decided by
the *prompt* (its messages and media), not by the row: two rows with one prompt never stand on both sides, and the same
prompts are held out for the feedback model, for synthesis and for evaluation, whatever else the rows hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal

from boresight_api.stages import HoldoutSplit

from .records import Prompt

_WHOLE = 1 << 64


def rank(purpose: str, seed: int, identity: str) -> int:
    """A uniform number below 2^64 that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{purpose}\0{seed}\0{identity}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def limited(ids: Sequence[str], *, limit: int | None, percent: Decimal | None, seed: int) -> set[str]:
    """The ids that stay: at most ``limit`` of them, or ``percent`` of them (rounded half up)."""
    count = len(ids) if limit is None else min(limit, len(ids))
    if percent is not None:
        count = min(count, share(len(ids), percent))
    if count == len(ids):
        return set(ids)
    return set(sorted(ids, key=lambda identity: rank("limit", seed, identity))[:count])


def share(count: int, percent: Decimal) -> int:
    """``percent`` of ``count``, rounded half up."""
    return int((count * percent / 100).to_integral_value(ROUND_HALF_UP))


def content_of(prompt: Prompt) -> str:
    """What makes two prompts the same prompt."""
    messages = [[message.role, message.content] for message in prompt.messages]
    media = [
        [turn, placed.offset, placed.reference.digest or placed.reference.path]
        for turn, message in enumerate(prompt.messages)
        for placed in message.media
    ]
    return json.dumps([messages, media], ensure_ascii=False)


def held_out(prompts: Sequence[Prompt], split: HoldoutSplit, seed: int) -> set[str]:
    """Contents (:func:`content_of`) of the prompts that are held out.

    A prompt is held out if its rank falls below ``split.percent``. If that is none of several, the lowest is, and if it
    is all, the highest is not: neither an evaluation nor a training on no rows says anything. At most
    ``split.max_rows`` rows, lowest ranks first, a prompt with all its rows.
    """
    rows: dict[str, int] = {}
    for prompt in prompts:
        content = content_of(prompt)
        rows[content] = rows.get(content, 0) + 1
    ranks = {content: rank("holdout", seed, content) for content in rows}
    ordered = sorted(rows, key=lambda content: ranks[content])
    threshold = int(_WHOLE * split.percent / 100)
    below = [content for content in ordered if ranks[content] < threshold]
    if 0 < split.percent < 100:
        below = (below or ordered[:1])[: len(ordered) - 1]
    return _at_most(below, rows, split.max_rows)


def repetitions(ids: Sequence[str], weight: Decimal, seed: int) -> Mapping[str, int]:
    """How often each row counts: the whole part of ``weight``, and once more for a seeded choice of its fraction."""
    whole = int(weight)
    extra = limited(ids, limit=None, percent=(weight - whole) * 100, seed=seed)
    return {identity: whole + (identity in extra) for identity in ids}


def _at_most(contents: Sequence[str], rows: Mapping[str, int], limit: int) -> set[str]:
    chosen: set[str] = set()
    count = 0
    for content in contents:
        if count + rows[content] <= limit:
            chosen.add(content)
            count += rows[content]
    return chosen
