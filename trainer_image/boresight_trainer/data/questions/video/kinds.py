"""What all kinds of questions about videos have in common."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from PIL import Image

from ...records import Modality
from ..canvas import COLOURS, draw_shape
from ..question import QuestionKind

SHAPE_RADIUS = 0.13
"""Of the shapes in a film, as a share of its side."""


@dataclass(frozen=True)
class VideoKind(QuestionKind):
    """A question about a film of three seconds, ``size`` pixels (an even number) a side."""

    size: int

    modality = Modality.VIDEO
    extension = "mp4"


@dataclass(frozen=True, slots=True)
class Actor:
    """A coloured shape."""

    colour: str
    shape: str

    @property
    def name(self) -> str:
        """Colour and shape."""
        return f"{self.colour} {self.shape}"

    def drawn_on(self, ground: Image.Image, x: float, y: float) -> Image.Image:
        """The ground with the shape around a place given in shares of its side."""
        image, size = ground.copy(), ground.width
        draw_shape(image, self.shape, (x * size, y * size), SHAPE_RADIUS * size, COLOURS[self.colour])
        return image


def lane(rng: Random) -> float:
    """Where across its way a shape moves, as a share of the side."""
    return rng.uniform(0.25, 0.75)
