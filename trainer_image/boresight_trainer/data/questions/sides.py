"""The sides of the split: what a medium shows decides its side, so no seed and no kind can mix them."""

from __future__ import annotations

from enum import StrEnum

from boresight_api.base import sha256_hex


class Side(StrEnum):
    """What a medium may be used for."""

    TRAIN = "train"
    DEV = "dev"
    """For choosing settings."""
    TEST = "test"


_BY_REMAINDER = (Side.TEST, Side.DEV, Side.TRAIN, Side.TRAIN, Side.TRAIN, Side.TRAIN)


def side_of(key: str) -> Side:
    """The side of what ``key`` names (a scene's parameters, a digit, a piece of a photo): a sixth each is dev, test."""
    return _BY_REMAINDER[int(sha256_hex(key.encode())[:8], 16) % len(_BY_REMAINDER)]
