"""Films of shapes that come and go: how many, and which colour comes first."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from PIL import Image

from ..canvas import COLOURS, SHAPES, blank
from ..question import ColourQuestion, NumberQuestion, Scene, Wrong, different, off_by_one
from ..sides import Side
from .film import film
from .kinds import Actor, VideoKind

_PLACES = tuple((x, y) for y in (0.2, 0.5, 0.8) for x in (0.2, 0.5, 0.8))
_MOST = 6
_PRESENT = 0.6
"""For which part of its turn a shape that comes and goes is there."""


@dataclass(frozen=True)
class AppearCount(VideoKind, NumberQuestion):
    """How many shapes come and go, one after the other."""

    name = "appear_count"
    forms = (
        "How many {shape}s appear, one after the other?",
        "Count the {shape}s that come and go.",
        "How many times does a {shape} appear?",
    )
    statements = ("the number of {shape}s that appear is {answer}", "I count {word}", "I see {word}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        actor = Actor(rng.choice(list(COLOURS)), rng.choice(SHAPES))
        count = rng.randint(1, _MOST)

        def render() -> bytes:
            ground, places = blank(self.size, rng), rng.sample(_PLACES, count)

            def frame(time: float) -> Image.Image:
                turn, into = divmod(min(time, 1 - 1e-9) * count, 1)
                return actor.drawn_on(ground, *places[int(turn)]) if into < _PRESENT else ground

            return film(frame)

        return Scene(
            keys=(f"film: {count} times {actor.name}",),
            answer=count,
            wrong=different(count, *off_by_one(count), Wrong(count + 2, "two too many")),
            render=render,
            terms={"shape": actor.shape},
        )


@dataclass(frozen=True)
class FirstColour(VideoKind, ColourQuestion):
    """The colour of the shape that comes first."""

    name = "first_colour"
    forms = (
        "Which colour comes first?",
        "What is the colour of the shape that appears first?",
        "Two shapes appear. What colour is the first one?",
    )
    statements = ("the first shape is {answer}", "it is {answer}", "{answer} comes first", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        colour, second, third = rng.sample(list(COLOURS), 3)
        first, later = (Actor(of, rng.choice(SHAPES)) for of in (colour, second))

        def render() -> bytes:
            ground, (place, other) = blank(self.size, rng), rng.sample(_PLACES, 2)
            comes, follows = rng.uniform(0.05, 0.25), rng.uniform(0.45, 0.7)

            def frame(time: float) -> Image.Image:
                image = first.drawn_on(ground, *place) if time >= comes else ground
                return later.drawn_on(image, *other) if time >= follows else image

            return film(frame)

        return Scene(
            keys=(f"film: {first.name}, then {later.name}",),
            answer=colour,
            wrong=(Wrong(second, "the second colour"), Wrong(third, "a colour that is not there")),
            render=render,
        )
