"""Films of one moving shape: where it goes, whether it gets faster, how often it bounces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from PIL import Image

from ..canvas import COLOURS, SHAPES, blank
from ..question import ChoiceQuestion, NumberQuestion, Scene, Wrong, different, off_by_one, opposite
from ..sides import Side
from .film import film
from .kinds import SHAPE_RADIUS, Actor, VideoKind, lane

_DIRECTIONS = {"right": (0, 1), "left": (0, -1), "down": (1, 1), "up": (1, -1)}
"""Axis (0 is from left to right, 1 from top to bottom) and sense."""
_NEAR, _FAR = 0.18, 0.82
"""Where a way begins and ends, in shares of the side."""
_WALL = SHAPE_RADIUS * 1.25
"""How near to a side the middle of a bouncing shape comes."""
_MOST_BOUNCES = 4


def _actor(rng: Random) -> Actor:
    return Actor(rng.choice(list(COLOURS)), rng.choice(SHAPES))


def moving(size: int, actor: Actor, direction: str, progress: Callable[[float], float], rng: Random) -> bytes:
    """A shape that crosses the picture; ``progress`` says how far it is at a time, both from 0 to 1."""
    ground, across = blank(size, rng), lane(rng)
    axis, sense = _DIRECTIONS[direction]

    def frame(time: float) -> Image.Image:
        done = progress(time) if sense > 0 else 1 - progress(time)
        along = _NEAR + (_FAR - _NEAR) * done
        return actor.drawn_on(ground, *((along, across) if axis == 0 else (across, along)))

    return film(frame)


@dataclass(frozen=True)
class Direction(VideoKind, ChoiceQuestion):
    """Where a shape moves."""

    name = "direction"
    options = tuple(_DIRECTIONS)
    forms = (
        "Which way does the {shape} move: left, right, up or down?",
        "In which direction does the {shape} move?",
        "Where does the {shape} go: left, right, up or down?",
    )
    statements = ("the {shape} moves {answer}", "it moves {answer}", "it goes {answer}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        actor, answer = _actor(rng), rng.choice(self.options)
        back = {"left": "right", "right": "left", "up": "down", "down": "up"}[answer]
        across = rng.choice([option for option in self.options if option not in (answer, back)])
        return Scene(
            keys=(f"film: {actor.name} moves {answer}",),
            answer=answer,
            wrong=(Wrong(back, "the opposite"), Wrong(across, "across its way")),
            render=lambda: moving(self.size, actor, answer, lambda time: time, rng),
            terms={"shape": actor.shape},
        )


@dataclass(frozen=True)
class SpeedChange(VideoKind, ChoiceQuestion):
    """Whether a shape gets faster or slower."""

    name = "speed_change"
    options = ("faster", "slower")
    forms = (
        "Does the {shape} get faster or slower?",
        "How does the speed of the {shape} change: does it become faster or slower?",
        "Faster or slower: how does the {shape} move on?",
    )
    statements = ("the {shape} gets {answer}", "it gets {answer}", "it becomes {answer}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        actor, answer, direction = _actor(rng), rng.choice(self.options), rng.choice(list(_DIRECTIONS))

        def progress(time: float) -> float:
            return time**2 if answer == "faster" else 1 - (1 - time) ** 2

        return Scene(
            keys=(f"film: {actor.name} moves {direction}, {answer} and {answer}",),
            answer=answer,
            wrong=opposite(("faster", "slower"), answer),
            render=lambda: moving(self.size, actor, direction, progress, rng),
            terms={"shape": actor.shape},
        )


@dataclass(frozen=True)
class BounceCount(VideoKind, NumberQuestion):
    """How often a shape bounces off the sides of the picture."""

    name = "bounce_count"
    forms = (
        "How many times does the {shape} bounce?",
        "Count the bounces of the {shape}.",
        "How often does the {shape} turn back at a side of the picture?",
    )
    statements = ("the number of bounces is {answer}", "I count {word}", "it bounces {answer} times", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        actor, count, direction = _actor(rng), rng.randint(0, _MOST_BOUNCES), rng.choice(list(_DIRECTIONS))

        def progress(time: float) -> float:
            """From the middle to a wall, ``count`` times across, and half across again."""
            travelled = 0.5 + max(count, 0.4) * time
            return 1 - abs(1 - travelled % 2)

        return Scene(
            keys=(f"film: {actor.name} bounces {count} times, first {direction}",),
            answer=count,
            wrong=different(count, *off_by_one(count), Wrong(count + 2, "two too many")),
            render=lambda: bouncing(self.size, actor, direction, progress, rng),
            terms={"shape": actor.shape},
        )


def bouncing(size: int, actor: Actor, direction: str, progress: Callable[[float], float], rng: Random) -> bytes:
    """As :func:`moving`, from one side of the picture to the other."""
    ground, across = blank(size, rng), lane(rng)
    axis, sense = _DIRECTIONS[direction]

    def frame(time: float) -> Image.Image:
        done = progress(time) if sense > 0 else 1 - progress(time)
        along = _WALL + (1 - 2 * _WALL) * done
        return actor.drawn_on(ground, *((along, across) if axis == 0 else (across, along)))

    return film(frame)
