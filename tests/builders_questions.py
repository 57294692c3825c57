"""Questions about media, drawn for tests, and their media decoded by others than those who made them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from boresight_trainer.data.questions.images import image_kinds
from boresight_trainer.data.questions.images.canvas import COLOURS
from boresight_trainer.data.questions.question import Question, QuestionKind
from boresight_trainer.data.questions.sides import Side
from numpy.typing import NDArray
from PIL import Image
from skimage import measure

SIZE = 112
IMAGE_KINDS = image_kinds(SIZE)
DATA_SET_KINDS = {"image-questions": IMAGE_KINDS}
ALL_KINDS = tuple(kind for kinds in DATA_SET_KINDS.values() for kind in kinds)


def kind_named(kinds: Sequence[QuestionKind], name: str) -> QuestionKind:
    return next(kind for kind in kinds if kind.name == name)


def question_of(kind: QuestionKind, seed: int, side: Side = Side.TRAIN) -> Question:
    question = kind.question(Random(seed), side)
    assert question is not None
    return question


def drawn(kinds: Sequence[QuestionKind], name: str, count: int = 25) -> Iterator[Question]:
    kind = kind_named(kinds, name)
    for seed in range(count):
        yield question_of(kind, seed, list(Side)[seed % 3])


def answer_of(question: Question) -> Any:
    return question.constraints[0].parameters()["answer"]


def pixels_of(question: Question) -> NDArray[np.uint8]:
    """uint8 [height, width, 3]."""
    return np.asarray(Image.open(io.BytesIO(question.medium.content)).convert("RGB"))


@dataclass(frozen=True)
class Seen:
    """A coloured shape found in an image."""

    shape: str
    colour: str
    x: float
    y: float
    area: float


def coloured(pixels: NDArray[np.uint8], colour: str, tolerance: int = 0) -> NDArray[np.bool_]:
    """Where ``pixels`` have the colour, bool [height, width]."""
    return np.asarray(np.abs(pixels.astype(int) - np.array(COLOURS[colour])).max(axis=-1) <= tolerance)


def shapes_in(pixels: NDArray[np.uint8], tolerance: int = 0, least: int = 20) -> list[Seen]:
    """The shapes, told apart by how much of their bounding box they fill: a square all, a triangle half."""
    found = []
    for colour in COLOURS:
        for region in measure.regionprops(measure.label(coloured(pixels, colour, tolerance))):
            if region.area < least:
                continue
            y, x = region.centroid
            filled = float(region.extent)
            shape = "square" if filled > 0.93 else "circle" if filled > 0.66 else "triangle"
            found.append(Seen(shape, colour, x, y, float(region.area)))
    return found
