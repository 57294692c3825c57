"""Coloured shapes: their colours, how many there are, where they stand, which one is the largest."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from ..canvas import COLOURS, SHAPES, blank, draw_shape, png
from ..question import ChoiceQuestion, ColourQuestion, NumberQuestion, Scene, Wrong, different, off_by_one, opposite
from ..sides import Side
from .kinds import ImageKind

_CELLS = tuple((column, row) for row in range(3) for column in range(3))
_MOST = 6
"""Of the shapes that are counted."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A shape in a cell (column, row) of a grid of three by three. ``radius`` and ``shift`` are shares of the cell."""

    shape: str
    colour: str
    cell: tuple[int, int]
    radius: float
    shift: tuple[float, float]

    @property
    def name(self) -> str:
        """Colour and shape."""
        return f"{self.colour} {self.shape}"


def placed(rng: Random, shape: str, colour: str, cell: tuple[int, int], radius: float | None = None) -> Placed:
    """A shape somewhere in its cell, of some size unless one is given."""
    radius = radius or rng.uniform(0.22, 0.32)
    room = 0.46 - 1.25 * radius
    return Placed(shape, colour, cell, radius, (rng.uniform(-room, room), rng.uniform(-room, room)))


def picture(size: int, shapes: list[Placed], rng: Random) -> bytes:
    """The shapes on a light ground, as a PNG of ``size`` pixels a side."""
    image, cell = blank(size, rng), size / 3
    for each in shapes:
        x, y = ((place + 0.5 + shift) * cell for place, shift in zip(each.cell, each.shift, strict=True))
        draw_shape(image, each.shape, (x, y), each.radius * cell, COLOURS[each.colour])
    return png(image)


@dataclass(frozen=True)
class ShapeColour(ImageKind, ColourQuestion):
    """The colour of one of two shapes."""

    name = "shape_colour"
    forms = (
        "What colour is the {shape}?",
        "Which colour does the {shape} have?",
        "Name the colour of the {shape}.",
        "The {shape} in this picture: what colour is it?",
    )
    statements = ("the {shape} is {answer}", "it is {answer}", "the colour of the {shape} is {answer}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        shape, other = rng.sample(SHAPES, 2)
        colour, second, third = rng.sample(list(COLOURS), 3)
        shapes = [
            placed(rng, kind, of, cell)
            for kind, of, cell in zip((shape, other), (colour, second), rng.sample(_CELLS, 2), strict=True)
        ]
        return Scene(
            keys=("shapes: " + " and ".join(sorted(each.name for each in shapes)),),
            answer=colour,
            wrong=(Wrong(second, "the colour of the other shape"), Wrong(third, "a colour that is not there")),
            render=lambda: picture(self.size, shapes, rng),
            terms={"shape": shape},
        )


@dataclass(frozen=True)
class ShapeCount(ImageKind, NumberQuestion):
    """How many of the shapes are of one sort."""

    name = "shape_count"
    forms = (
        "How many {shape}s are there?",
        "Count the {shape}s.",
        "How many {shape}s do you see?",
        "What is the number of {shape}s in the picture?",
    )
    statements = ("the number of {shape}s is {answer}", "I count {word}", "I see {word} of them", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        shape, other = rng.sample(SHAPES, 2)
        colour, second = rng.choices(list(COLOURS), k=2)
        count, others = rng.randint(1, _MOST), rng.randint(0, 3)
        cells = iter(rng.sample(_CELLS, count + others))
        shapes = [placed(rng, shape, colour, next(cells)) for _ in range(count)]
        shapes += [placed(rng, other, second, next(cells)) for _ in range(others)]
        beside = f"{others} {second} {other}s" if others else "nothing"
        return Scene(
            keys=(f"shapes: {count} {colour} {shape}s and {beside}",),
            answer=count,
            wrong=different(
                count, *off_by_one(count), Wrong(count + others, "all shapes"), Wrong(others, "the other shapes")
            ),
            render=lambda: picture(self.size, shapes, rng),
            terms={"shape": shape},
        )


@dataclass(frozen=True)
class _ShapeSide(ImageKind, ChoiceQuestion):
    """Where one shape stands seen from another one."""

    def _scene(self, rng: Random, axis: int) -> Scene:
        """``axis``: 0 for left and right, 1 for above and below."""
        first, second = self.options
        shapes, colours = rng.sample(SHAPES, 2), rng.choices(list(COLOURS), k=2)
        lower, upper = sorted(rng.sample(range(3), 2))
        across = rng.choices(range(3), k=2)
        before = rng.random() < 0.5
        along = (lower, upper) if before else (upper, lower)
        cells = [(a, b) if axis == 0 else (b, a) for a, b in zip(along, across, strict=True)]
        one, two = (placed(rng, *of) for of in zip(shapes, colours, cells, strict=True))
        answer = first if before else second
        return Scene(
            keys=("shapes: " + " and ".join(sorted(f"{each.name} at {each.cell}" for each in (one, two))),),
            answer=answer,
            wrong=opposite((first, second), answer),
            render=lambda: picture(self.size, [one, two], rng),
            terms={"one": one.name, "two": two.name},
        )


@dataclass(frozen=True)
class ShapeLeftRight(_ShapeSide):
    """Left or right of another shape."""

    name = "shape_left_right"
    options = ("left", "right")
    forms = (
        "Is the {one} to the left or to the right of the {two}?",
        "On which side of the {two} is the {one}, left or right?",
        "Left or right of the {two}: where is the {one}?",
    )
    statements = ("the {one} is to the {answer} of the {two}", "it is on the {answer} side", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        return self._scene(rng, 0)


@dataclass(frozen=True)
class ShapeAboveBelow(_ShapeSide):
    """Above or below another shape."""

    name = "shape_above_below"
    options = ("above", "below")
    forms = (
        "Is the {one} above or below the {two}?",
        "Above or below the {two}: where is the {one}?",
        "Where is the {one}, above the {two} or below it?",
    )
    statements = ("the {one} is {answer} the {two}", "it is {answer}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        return self._scene(rng, 1)


@dataclass(frozen=True)
class ShapeLargest(ImageKind, ChoiceQuestion):
    """The largest of three shapes."""

    name = "shape_largest"
    options = SHAPES
    forms = (
        "Which shape is the largest?",
        "Which is the largest shape: the circle, the square or the triangle?",
        "Name the largest shape.",
        "What is the biggest thing in this picture?",
    )
    statements = ("the largest shape is the {answer}", "it is the {answer}", "the {answer} is the largest", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        order = rng.sample(SHAPES, 3)
        colours = rng.choices(list(COLOURS), k=3)
        radii = (rng.uniform(0.14, 0.18), rng.uniform(0.20, 0.24), rng.uniform(0.32, 0.36))
        cells = rng.sample(_CELLS, 3)
        shapes = [placed(rng, *of) for of in zip(order, colours, cells, radii, strict=True)]
        smallest, middle, largest = order
        return Scene(
            keys=("shapes by size: " + ", ".join(each.name for each in shapes),),
            answer=largest,
            wrong=(Wrong(smallest, "the smallest"), Wrong(middle, "the one in between")),
            render=lambda: picture(self.size, shapes, rng),
        )
