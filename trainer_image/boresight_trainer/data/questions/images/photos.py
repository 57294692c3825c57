"""Real photos that scikit-image carries, cut into pieces that share no pixel: a piece is on one side of the split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..canvas import INK, png
from ..library import needed
from ..medium import Source
from ..question import ChoiceQuestion, Scene, Wrong, opposite
from ..sides import Side, side_of
from .kinds import ImageKind

_GRID = 6
"""Pieces along each side of a photo."""
_CONTRAST = 12
"""Grey levels that the halves of a piece differ by at least, on average, where one is to be the brighter one."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A file of scikit-image, what it shows, and whose it is."""

    file: str
    shows: str
    license: str

    @property
    def source(self) -> Source:
        """For the provenance."""
        return Source(
            f"photo: {self.file}", f"{self.shows}; bundled with scikit-image (skimage/data/{self.file})", self.license
        )


SURFACES = {
    "bricks": Photo("brick.png", "a brick wall, CC0Textures Bricks25", "CC0-1.0"),
    "grass": Photo("grass.png", "grass, by linolafett", "CC0-1.0"),
    "gravel": Photo("gravel.png", "gravel, CC0Textures Gravel04", "CC0-1.0"),
    "coins": Photo("coins.png", "Greek coins from Pompeii, Brooklyn Museum", "no known copyright restrictions"),
    "stars": Photo("hubble_deep_field.jpg", "the Hubble eXtreme Deep Field, by NASA", "public domain"),
    "tissue": Photo("ihc.png", "a stained tissue of a colon", "no known copyright restrictions"),
}
"""Photos of which every piece shows the same thing."""
_OTHERS = (
    Photo("astronaut.png", "Eileen Collins, by NASA", "public domain"),
    Photo("camera.png", "a photographer, by Lav Varshney", "CC0-1.0"),
    Photo("chelsea.png", "the cat Chelsea, by Stefan van der Walt", "CC0-1.0"),
    Photo("coffee.png", "a cup of coffee, by Rachel Michetti", "CC0-1.0"),
    Photo("rocket.jpg", "the launch of a rocket, by SpaceX", "public domain"),
)
PHOTOS = (*SURFACES.values(), *_OTHERS)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a photo and its name in the split."""

    photo: Photo
    image: Image.Image
    key: str

    def square(self, size: int, rng: Random) -> Image.Image:
        """A square from somewhere in the piece, mirrored or not, in ``size`` pixels a side."""
        width, height = self.image.size
        side = int(min(width, height) * rng.uniform(0.8, 1))
        left, top = rng.randint(0, width - side), rng.randint(0, height - side)
        part = self.image.crop((left, top, left + side, top + side))
        if rng.random() < 0.5:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return part.resize((size, size), Image.Resampling.LANCZOS)


@cache
def pieces_of(photo: Photo, side: Side) -> tuple[Piece, ...]:
    """The pieces of a photo on one side. Raises StageFailure(InvalidConfig) without scikit-image."""
    needed("skimage")
    with (files("skimage") / "data" / photo.file).open("rb") as file, Image.open(file) as opened:
        image = opened.convert("RGB")
    return tuple(piece for piece in _pieces(photo, image) if side_of(piece.key) is side)


def _pieces(photo: Photo, image: Image.Image) -> Iterable[Piece]:
    width, height = image.width // _GRID, image.height // _GRID
    for row in range(_GRID):
        for column in range(_GRID):
            left, top = column * width, row * height
            part = image.crop((left, top, left + width, top + height))
            yield Piece(photo, part, f"piece of {photo.file} at {column},{row}")


def greys(image: Image.Image) -> NDArray[np.float64]:
    """Brightness, float64 [height, width] from 0 to 255."""
    return np.asarray(image.convert("L"), dtype=np.float64)


@dataclass(frozen=True)
class PhotoSurface(ImageKind, ChoiceQuestion):
    """What a piece of a photo shows."""

    name = "photo_surface"
    options = tuple(SURFACES)
    forms = (
        "What does this piece of a photo show?",
        "What is this: bricks, grass, gravel, coins, stars or tissue?",
        "What has been photographed here?",
    )
    statements = ("the photo shows {answer}", "this is a photo of {answer}", "it shows {answer}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:
        answer, other, third = rng.sample(list(SURFACES), 3)
        piece = rng.choice(pieces_of(SURFACES[answer], side))
        return Scene(
            keys=(piece.key,),
            answer=answer,
            wrong=(Wrong(other, "another surface"), Wrong(third, "another surface")),
            render=lambda: png(piece.square(self.size, rng)),
            source=piece.photo.source,
        )


@dataclass(frozen=True)
class PhotoBrighter(ImageKind, ChoiceQuestion):
    """The brighter half of a piece of a photo."""

    name = "photo_brighter"
    options = ("left", "right")
    forms = (
        "Which half of the photo is brighter, the left or the right one?",
        "Is the left or the right half brighter?",
        "On which side is this photo brighter, left or right?",
    )
    statements = ("the brighter half is on the {answer}", "it is brighter on the {answer}", "the {answer} half")

    def draw(self, rng: Random, side: Side) -> Scene | None:
        piece = rng.choice(pieces_of(rng.choice(PHOTOS), side))
        image = piece.square(self.size, rng)
        left, right = (half.mean() for half in np.array_split(greys(image), 2, axis=1))
        if abs(left - right) < _CONTRAST:
            return None
        answer = "left" if left > right else "right"
        return Scene(
            keys=(piece.key,),
            answer=answer,
            wrong=opposite(("left", "right"), answer),
            render=lambda: png(image),
            source=piece.photo.source,
        )


@dataclass(frozen=True)
class PhotoCovered(ImageKind, ChoiceQuestion):
    """The quarter of a piece of a photo that is covered."""

    name = "photo_covered"
    options = ("top left", "top right", "bottom left", "bottom right")
    forms = (
        "Which quarter of the photo is covered?",
        "Which corner of this photo is black?",
        "A part of the photo is hidden. In which corner?",
    )
    statements = ("the covered quarter is at the {answer}", "it is the {answer} one", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:
        piece = rng.choice(pieces_of(rng.choice(PHOTOS), side))
        answer = rng.choice(self.options)
        high, wide = answer.split()
        half = self.size // 2
        left, top = half * (wide == "right"), half * (high == "bottom")

        def render() -> bytes:
            image = piece.square(self.size, rng)
            ImageDraw.Draw(image).rectangle((left, top, left + half - 1, top + half - 1), fill=INK)
            return png(image)

        mirrored = f"{high} {'left' if wide == 'right' else 'right'}"
        upended = f"{'top' if high == 'bottom' else 'bottom'} {wide}"
        return Scene(
            keys=(piece.key,),
            answer=answer,
            wrong=(Wrong(mirrored, "left for right"), Wrong(upended, "top for bottom")),
            render=render,
            source=piece.photo.source,
        )
