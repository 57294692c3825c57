"""Questions about videos: shapes that move, bounce, come and go."""

from __future__ import annotations

from ..question import QuestionKind
from . import coming, motion

KINDS = (
    motion.Direction,
    motion.SpeedChange,
    motion.BounceCount,
    coming.AppearCount,
    coming.FirstColour,
)


def video_kinds(size: int) -> tuple[QuestionKind, ...]:
    """All kinds, with films of ``size`` pixels (an even number) a side."""
    return tuple(kind(size) for kind in KINDS)
