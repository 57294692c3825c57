"""Rhythms of clicks: which one is faster, how many clicks are loud, how many beats there are."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from ..question import ChoiceQuestion, NumberQuestion, Scene, Wrong, different, off_by_one, opposite
from ..sides import Side
from .kinds import AudioKind
from .sound import clicks, silence, wav

_TEMPOS = range(90, 331, 15)
"""Beats a minute."""
_FASTER = 1.3
"""How much faster the faster one of two rhythms is at least."""
_RHYTHM_SECONDS = 1.5
_STEPS = 8
_LOUD, _SOFT = 1.0, 0.25


@dataclass(frozen=True)
class RhythmFaster(AudioKind, ChoiceQuestion):
    """The faster one of two rhythms."""

    name = "rhythm_faster"
    options = ("first", "second")
    forms = (
        "Which rhythm is faster, the first or the second one?",
        "You hear two rhythms. Is the first or the second one faster?",
        "First or second: which rhythm has the higher tempo?",
    )
    statements = ("the {answer} rhythm is faster", "it is the {answer} one", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene | None:  # noqa: ARG002 the parameters decide the side
        tempos = rng.sample(_TEMPOS, 2)
        if max(tempos) < _FASTER * min(tempos):
            return None
        answer = "first" if tempos[0] > tempos[1] else "second"

        def render() -> bytes:
            first, second = (clicks([_LOUD] * round(_RHYTHM_SECONDS * each / 60), 60 / each) for each in tempos)
            return wav(np.concatenate([first, silence(0.5), second]), rng)

        return Scene(
            keys=(f"rhythms: {tempos[0]} and {tempos[1]} beats a minute",),
            answer=answer,
            wrong=opposite(("first", "second"), answer),
            render=render,
        )


@dataclass(frozen=True)
class RhythmAccents(AudioKind, NumberQuestion):
    """How many of the clicks are loud."""

    name = "rhythm_accents"
    forms = (
        "How many of the clicks are loud?",
        "Count the loud clicks.",
        "Some clicks are louder than the others. How many?",
    )
    statements = ("the number of loud clicks is {answer}", "I count {word}", "{word} of them are loud", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        count = rng.randint(1, _STEPS - 2)
        loud = sorted(rng.sample(range(_STEPS), count))
        levels = [_LOUD if step in loud else _SOFT for step in range(_STEPS)]
        return Scene(
            keys=(f"accents: {', '.join(map(str, loud))}",),
            answer=count,
            wrong=different(
                count, *off_by_one(count), Wrong(_STEPS - count, "the soft clicks"), Wrong(_STEPS, "all clicks")
            ),
            render=lambda: wav(clicks(levels, rng.uniform(0.2, 0.3)), rng),
        )


@dataclass(frozen=True)
class RhythmBeats(AudioKind, NumberQuestion):
    """How many beats a rhythm with gaps has."""

    name = "rhythm_beats"
    forms = (
        "How many beats does this rhythm have?",
        "Count the beats of the rhythm.",
        "How many times is the drum struck?",
    )
    statements = ("the number of beats is {answer}", "I count {word}", "it has {word}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        count = rng.randint(2, _STEPS - 1)
        struck = [0, *sorted(rng.sample(range(1, _STEPS), count - 1))]
        levels = [_LOUD * (step in struck) for step in range(_STEPS)]
        return Scene(
            keys=(f"beats: {', '.join(map(str, struck))}",),
            answer=count,
            wrong=different(count, *off_by_one(count), Wrong(_STEPS, "the gaps counted, too")),
            render=lambda: wav(clicks(levels, rng.uniform(0.2, 0.3)), rng),
        )
