"""Handwritten digits of real people, from scikit-learn: which one it is, which of two is the larger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..canvas import png
from ..library import needed
from ..medium import Source
from ..question import ChoiceQuestion, NumberQuestion, Scene, Wrong, different, off_by_one, opposite
from ..sides import Side, side_of
from .kinds import ImageKind

DIGITS = Source(
    "digits",
    "handwritten digits bundled with scikit-learn (load_digits): E. Alpaydin, C. Kaynak, Optical Recognition of "
    "Handwritten Digits, UCI Machine Learning Repository, 1998",
    "CC BY 4.0",
)
_GREYS = 16
"""The darkest value of a pixel in the source."""


@dataclass(frozen=True, slots=True)
class Digit:
    """A digit, its pixels (uint8 [8, 8], white on black), and its name in the split."""

    value: int
    pixels: NDArray[np.uint8]
    key: str


@cache
def digits_of(side: Side) -> tuple[Digit, ...]:
    """All digits of one side. Raises StageFailure(InvalidConfig) without scikit-learn."""
    loaded = needed("sklearn.datasets").load_digits()
    pixels = (loaded.images * 255 / _GREYS).round().astype(np.uint8)
    keys = [f"digit: {index}" for index in range(len(pixels))]
    rows = zip(loaded.target.tolist(), pixels, keys, strict=True)
    return tuple(Digit(*row) for row in rows if side_of(row[-1]) is side)


def picture(size: int, digits: Sequence[Digit], rng: Random) -> bytes:
    """The digits from left to right, white on black, as a PNG of ``size`` pixels a side."""
    image = Image.new("L", (size, size))
    room = size // len(digits)
    width = room * rng.randint(75, 95) // 100
    for index, digit in enumerate(digits):
        enlarged = Image.fromarray(digit.pixels).resize((width, width), Image.Resampling.BICUBIC)
        image.paste(enlarged, (index * room + rng.randint(0, room - width), rng.randint(0, size - width)))
    return png(image)


@dataclass(frozen=True)
class DigitValue(ImageKind, NumberQuestion):
    """Which digit it is."""

    name = "digit"
    forms = ("Which digit is this?", "Read the digit.", "What number is written here?", "Which digit do you see?")
    statements = ("the digit is {answer}", "it is a {word}", "this is a {answer}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:
        digit, other = rng.sample(digits_of(side), 2)
        return Scene(
            keys=(digit.key,),
            answer=digit.value,
            wrong=different(digit.value, *off_by_one(digit.value), Wrong(other.value, "another digit")),
            render=lambda: picture(self.size, [digit], rng),
            source=DIGITS,
        )


@dataclass(frozen=True)
class DigitLarger(ImageKind, ChoiceQuestion):
    """The larger one of two digits."""

    name = "digit_larger"
    options = ("left", "right")
    forms = (
        "Which digit is larger, the left or the right one?",
        "Is the larger number on the left or on the right?",
        "Left or right: where is the larger digit?",
    )
    statements = ("the larger digit is on the {answer}", "the {answer} one is larger", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene | None:
        one, two = rng.sample(digits_of(side), 2)
        if one.value == two.value:
            return None
        answer = "left" if one.value > two.value else "right"
        return Scene(
            keys=(one.key, two.key),
            answer=answer,
            wrong=opposite(("left", "right"), answer),
            render=lambda: picture(self.size, [one, two], rng),
            source=DIGITS,
        )
