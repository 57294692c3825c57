"""Charts: which bar is the highest or the lowest, what its value is, whether a line rises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFont

from ..canvas import COLOURS, INK, RGB, blank, png
from ..question import ChoiceQuestion, NumberQuestion, Scene, Wrong, different, off_by_one, opposite
from ..sides import Side
from .kinds import ImageKind

LABELS = ("K", "L", "M", "N")
HIGHEST = 8
"""The top of the axis of values, which begins at 0."""
_GRID: RGB = (190, 190, 190)


@dataclass(frozen=True, slots=True)
class Plot:
    """An image with axes, and where in it values stand."""

    image: Image.Image
    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def empty(cls, size: int, rng: Random) -> Plot:
        """Axes on a light ground, a thin line at each even value, with the value beside it."""
        image = blank(size, rng)
        plot = cls(image, size * 0.16, size * 0.08, size * 0.96, size * 0.84)
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(size * 0.1)
        for value in range(0, HIGHEST + 1, 2):
            y = plot.y(value)
            draw.line((plot.left, y, plot.right, y), fill=_GRID)
            draw.text((plot.left - size * 0.03, y), str(value), fill=INK, font=font, anchor="rm")
        draw.line((plot.left, plot.top, plot.left, plot.bottom), fill=INK)
        draw.line((plot.left, plot.bottom, plot.right, plot.bottom), fill=INK)
        return plot

    def x(self, share: float) -> float:
        """Pixels from the left for a share of the width."""
        return self.left + (self.right - self.left) * share

    def y(self, value: float) -> float:
        """Pixels from the top for a value."""
        return self.bottom - (self.bottom - self.top) * value / HIGHEST


def bar_chart(size: int, values: Sequence[int], colour: str, rng: Random) -> bytes:
    """Bars over :data:`LABELS`, as a PNG."""
    plot = Plot.empty(size, rng)
    draw, font = ImageDraw.Draw(plot.image), ImageFont.load_default(size * 0.12)
    for index, (label, value) in enumerate(zip(LABELS, values, strict=True)):
        left, right = plot.x((index + 0.2) / len(LABELS)), plot.x((index + 0.8) / len(LABELS))
        draw.rectangle((left, plot.y(value), right, plot.bottom - 1), fill=COLOURS[colour])
        draw.text(((left + right) / 2, size * 0.97), label, fill=INK, font=font, anchor="ms")
    return png(plot.image)


def line_chart(size: int, values: Sequence[int], colour: str, rng: Random) -> bytes:
    """A line through ``values`` from left to right, as a PNG."""
    plot = Plot.empty(size, rng)
    points = [(plot.x((index + 0.5) / len(values)), plot.y(value)) for index, value in enumerate(values)]
    ImageDraw.Draw(plot.image).line(points, fill=COLOURS[colour], width=max(2, size // 40))
    return png(plot.image)


def _key(values: Sequence[int]) -> str:
    return "bars: " + ", ".join(map(str, values))


@dataclass(frozen=True)
class _BarOfAll(ImageKind, ChoiceQuestion):
    """One bar that stands out among all."""

    options = LABELS

    def _scene(self, rng: Random, wanted: int, opposite_end: str) -> Scene:
        """``wanted``: -1 for the highest, 0 for the lowest."""
        values = rng.sample(range(1, HIGHEST + 1), len(LABELS))
        colour = rng.choice(list(COLOURS))
        ordered = [bar for _, bar in sorted(zip(values, self.options, strict=True))]
        answer, other_end = ordered[wanted], ordered[-1 - wanted]
        return Scene(
            keys=(_key(values),),
            answer=answer,
            wrong=(Wrong(other_end, opposite_end), Wrong(ordered[1], "one in between")),
            render=lambda: bar_chart(self.size, values, colour, rng),
        )


@dataclass(frozen=True)
class BarHighest(_BarOfAll):
    """The highest bar."""

    name = "bar_highest"
    forms = (
        "Which bar is the highest?",
        "Which bar has the largest value?",
        "Name the tallest bar of this chart.",
        "Which of the bars K, L, M and N is the highest?",
    )
    statements = ("the highest bar is {answer}", "it is {answer}", "bar {answer} is the highest", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        return self._scene(rng, -1, "the lowest")


@dataclass(frozen=True)
class BarLowest(_BarOfAll):
    """The lowest bar."""

    name = "bar_lowest"
    forms = (
        "Which bar is the lowest?",
        "Which bar has the smallest value?",
        "Name the shortest bar of this chart.",
        "Which of the bars K, L, M and N is the lowest?",
    )
    statements = ("the lowest bar is {answer}", "it is {answer}", "bar {answer} is the lowest", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        return self._scene(rng, 0, "the highest")


@dataclass(frozen=True)
class BarValue(ImageKind, NumberQuestion):
    """The value of a bar, read from the axis."""

    name = "bar_value"
    forms = (
        "What is the value of bar {label}?",
        "How high is bar {label}?",
        "Read the value of bar {label}.",
        "Which value does bar {label} have?",
    )
    statements = ("the value of bar {label} is {answer}", "bar {label} stands at {word}", "it is {answer}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        values = rng.sample(range(1, HIGHEST + 1), len(LABELS))
        colour = rng.choice(list(COLOURS))
        asked, other = rng.sample(range(len(LABELS)), 2)
        answer = values[asked]
        return Scene(
            keys=(_key(values),),
            answer=answer,
            wrong=different(answer, Wrong(values[other], f"the value of bar {LABELS[other]}"), *off_by_one(answer)),
            render=lambda: bar_chart(self.size, values, colour, rng),
            terms={"label": LABELS[asked]},
        )


@dataclass(frozen=True)
class LineTrend(ImageKind, ChoiceQuestion):
    """Whether a line goes up or down."""

    name = "line_trend"
    options = ("up", "down")
    forms = (
        "Does the line go up or down?",
        "From left to right, where does the line go: up or down?",
        "Say whether the line goes up or down.",
    )
    statements = ("the line goes {answer}", "it goes {answer}", "from left to right it goes {answer}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        rising = sorted(rng.sample(range(HIGHEST + 1), 5))
        rises = rng.random() < 0.5
        values = rising if rises else rising[::-1]
        colour = rng.choice(list(COLOURS))
        answer = "up" if rises else "down"
        return Scene(
            keys=("line: " + ", ".join(map(str, values)),),
            answer=answer,
            wrong=opposite(("up", "down"), answer),
            render=lambda: line_chart(self.size, values, colour, rng),
        )
