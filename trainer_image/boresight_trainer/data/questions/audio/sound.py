"""Sounds as float64 [samples] at :data:`RATE`, from -1 to 1, and how they become a WAV file."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
"""Samples a second."""
Samples = NDArray[np.float64]
_FADE = 0.01
"""Seconds in which a tone comes and goes, so that it does not crackle."""
_NOISE = 0.002
_A4 = 69, 440.0
"""Number and frequency (Hz) of the note that all others follow from."""


def frequency_of(note: int) -> float:
    """Hz of a note by its number: 60 is the middle C, each step a semitone."""
    number, hertz = _A4
    return float(hertz * 2 ** ((note - number) / 12))


def tone(note: int, seconds: float, overtones: Sequence[float] = ()) -> Samples:
    """A note of full level. ``overtones`` are levels of the multiples of its frequency, from the double on."""
    time = np.arange(round(seconds * RATE)) / RATE
    levels = (1.0, *overtones)
    waves = [
        level * np.sin(2 * np.pi * frequency_of(note) * multiple * time) for multiple, level in enumerate(levels, 1)
    ]
    fade = np.minimum(1, np.minimum(time, time[::-1]) / _FADE)
    return np.asarray(np.sum(waves, axis=0) * fade / sum(levels))


def click(level: float) -> Samples:
    """A short wooden click."""
    time = np.arange(round(0.05 * RATE)) / RATE
    return np.asarray(level * np.sin(2 * np.pi * 1200 * time) * np.exp(-time * 80))


def silence(seconds: float) -> Samples:
    """Nothing."""
    return np.zeros(round(seconds * RATE))


def clicks(levels: Sequence[float], interval: float) -> Samples:
    """Clicks every ``interval`` seconds."""
    return np.concatenate([np.concatenate([click(level), silence(interval)])[: round(interval * RATE)]
                           for level in levels])  # fmt: skip


def overtones(rng: Random) -> tuple[float, ...]:
    """Some timbre: levels of three overtones, all below the tone's own."""
    return tuple(rng.uniform(0, 0.4) / multiple for multiple in range(1, 4))


def wav(samples: Samples, rng: Random) -> bytes:
    """A WAV file (16 bits, mono) of ``samples`` between two pauses, at some level, with a trace of noise."""
    pauses = silence(rng.uniform(0.1, 0.3)), silence(rng.uniform(0.1, 0.3))
    whole = np.concatenate([pauses[0], samples, pauses[1]]) * rng.uniform(0.4, 0.9)
    noise = np.random.default_rng(rng.getrandbits(64)).uniform(-_NOISE, _NOISE, len(whole))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round((whole + noise) * 32_000).astype("<i2").tobytes())
    return buffer.getvalue()
