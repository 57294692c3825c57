"""Tones: which is higher, which is longer, how many there are; and chords, major or minor."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from ..question import ChoiceQuestion, NumberQuestion, Scene, Wrong, different, off_by_one, opposite
from ..sides import Side
from .kinds import AudioKind
from .sound import overtones, silence, tone, wav

_NOTES = range(55, 84)
_LEAST_INTERVAL = 2
"""Semitones between two tones of which one is to be higher."""
_LENGTHS = (0.2, 0.3, 0.5, 0.75, 1.1)
"""Seconds; of two, one is at least 1.4 times as long as the other."""
_MOST_BEEPS = 6
_GAPS = (0.1, 0.15, 0.2, 0.25)
_CHORDS = {"major": (0, 4, 7), "minor": (0, 3, 7)}
"""Semitones above the root."""


@dataclass(frozen=True)
class ToneHigher(AudioKind, ChoiceQuestion):
    """Whether the second tone is higher or lower than the first."""

    name = "tone_higher"
    options = ("higher", "lower")
    forms = (
        "Is the second tone higher or lower than the first one?",
        "You hear two tones. Is the second one higher or lower?",
        "Higher or lower: how is the second tone beside the first?",
    )
    statements = ("the second tone is {answer} than the first", "it is {answer}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene | None:  # noqa: ARG002 the parameters decide the side
        first, second = rng.sample(_NOTES, 2)
        if abs(first - second) < _LEAST_INTERVAL:
            return None
        answer = "higher" if second > first else "lower"

        def render() -> bytes:
            timbre, length = overtones(rng), rng.uniform(0.4, 0.7)
            pause = silence(rng.uniform(0.1, 0.3))
            return wav(np.concatenate([tone(first, length, timbre), pause, tone(second, length, timbre)]), rng)

        return Scene(
            keys=(f"tones: {first}, {second}",),
            answer=answer,
            wrong=opposite(("higher", "lower"), answer),
            render=render,
        )


@dataclass(frozen=True)
class ToneLonger(AudioKind, ChoiceQuestion):
    """The longer one of two tones."""

    name = "tone_longer"
    options = ("first", "second")
    forms = (
        "Which tone is longer, the first or the second one?",
        "You hear two tones. Does the first or the second one last longer?",
        "First or second: which tone is the longer one?",
    )
    statements = ("the {answer} tone is longer", "it is the {answer} one", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        lengths, note = rng.sample(_LENGTHS, 2), rng.choice(_NOTES)
        answer = "first" if lengths[0] > lengths[1] else "second"

        def render() -> bytes:
            timbre, pause = overtones(rng), silence(rng.uniform(0.2, 0.4))
            first, second = (tone(note, length, timbre) for length in lengths)
            return wav(np.concatenate([first, pause, second]), rng)

        return Scene(
            keys=(f"tones: {note} for {lengths[0]} and {lengths[1]} seconds",),
            answer=answer,
            wrong=opposite(("first", "second"), answer),
            render=render,
        )


@dataclass(frozen=True)
class BeepCount(AudioKind, NumberQuestion):
    """How many beeps there are."""

    name = "beep_count"
    forms = (
        "How many beeps do you hear?",
        "Count the beeps.",
        "How often does it beep?",
        "What is the number of beeps in this recording?",
    )
    statements = ("the number of beeps is {answer}", "I count {word}", "I hear {word} of them", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        count, note, gap = rng.randint(1, _MOST_BEEPS), rng.choice(_NOTES), rng.choice(_GAPS)

        def render() -> bytes:
            beep = np.concatenate([tone(note, rng.uniform(0.1, 0.2), overtones(rng)), silence(gap)])
            return wav(np.tile(beep, count), rng)

        return Scene(
            keys=(f"beeps: {count} of {note}, {gap} seconds apart",),
            answer=count,
            wrong=different(count, *off_by_one(count), Wrong(2 * count, "twice as many")),
            render=render,
        )


@dataclass(frozen=True)
class ChordQuality(AudioKind, ChoiceQuestion):
    """Whether a chord of three notes is major or minor."""

    name = "chord_quality"
    options = ("major", "minor")
    forms = (
        "Is this chord major or minor?",
        "Which sort of chord is this, major or minor?",
        "Major or minor: what do you hear?",
    )
    statements = ("the chord is {answer}", "this is a {answer} chord", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        answer, root, inversion = rng.choice(self.options), rng.choice(range(48, 72)), rng.randrange(3)
        notes = [root + above + 12 * (position < inversion) for position, above in enumerate(_CHORDS[answer])]

        def render() -> bytes:
            timbre, length = overtones(rng), rng.uniform(0.8, 1.2)
            return wav(np.sum([tone(note, length, timbre) for note in notes], axis=0) / len(notes), rng)

        return Scene(
            keys=(f"chord: {', '.join(map(str, notes))}",),
            answer=answer,
            wrong=opposite(("major", "minor"), answer),
            render=render,
        )
