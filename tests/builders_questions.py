"""Questions about media, drawn for tests, and their media decoded by others than those who made them."""

from __future__ import annotations

import io
import tempfile
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import imageio_ffmpeg
import numpy as np
from boresight_trainer.data.questions.audio import audio_kinds, speech_kinds
from boresight_trainer.data.questions.canvas import COLOURS
from boresight_trainer.data.questions.images import image_kinds
from boresight_trainer.data.questions.question import Question, QuestionKind
from boresight_trainer.data.questions.sides import Side
from boresight_trainer.data.questions.video import video_kinds
from numpy.typing import NDArray
from PIL import Image
from skimage import measure

SIZE = 112
IMAGE_KINDS = image_kinds(SIZE)
AUDIO_KINDS = audio_kinds()
VIDEO_KINDS = video_kinds(SIZE)
SPEAKER = Path(__file__).parent / "pretended" / "espeak-ng"
SPEECH_KINDS = speech_kinds(str(SPEAKER))
DATA_SET_KINDS = {
    "image-questions": IMAGE_KINDS,
    "audio-questions": (*AUDIO_KINDS, *SPEECH_KINDS),
    "video-questions": VIDEO_KINDS,
}
ALL_KINDS = tuple(kind for kinds in DATA_SET_KINDS.values() for kind in kinds)


def kind_named(kinds: Sequence[QuestionKind], name: str) -> QuestionKind:
    return next(kind for kind in kinds if kind.name == name)


@cache
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
        mask = coloured(pixels, colour, tolerance)
        for region in measure.regionprops(measure.label(mask)) if mask.any() else ():
            if region.area < least:
                continue
            y, x = region.centroid
            filled = float(region.extent)
            shape = "square" if filled > 0.93 else "circle" if filled > 0.66 else "triangle"
            found.append(Seen(shape, colour, x, y, float(region.area)))
    return found


@dataclass(frozen=True)
class Sound:
    """Samples from -1 to 1, float64 [samples], and how many there are a second."""

    samples: NDArray[np.float64]
    rate: int

    def parts(self, least_silence: float = 0.04) -> list[NDArray[np.float64]]:
        """What is heard between silences of so many seconds or more."""
        heard = np.flatnonzero(np.abs(self.samples) > 0.02)
        breaks = np.flatnonzero(np.diff(heard) > least_silence * self.rate)
        return [self.samples[run[0] : run[-1] + 1] for run in np.split(heard, breaks + 1)]

    def starts(self) -> list[float]:
        """Seconds at which the parts begin."""
        heard = np.flatnonzero(np.abs(self.samples) > 0.02)
        breaks = np.flatnonzero(np.diff(heard) > 0.04 * self.rate)
        return [float(heard[index] / self.rate) for index in (0, *(breaks + 1))]

    def loudest_frequency(self, part: NDArray[np.float64]) -> float:
        """Hz at the peak of the spectrum."""
        frequencies, power = self.spectrum(part)
        return float(frequencies[power.argmax()])

    def spectrum(self, part: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Frequencies in Hz and the power at each."""
        windowed = part * np.hanning(len(part))
        return np.fft.rfftfreq(4 * len(part), 1 / self.rate), np.abs(np.fft.rfft(windowed, 4 * len(part))) ** 2


def sound_of(question: Question) -> Sound:
    """The medium, read as mono of 16 bits."""
    with wave.open(io.BytesIO(question.medium.content)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return Sound(samples / 32768, file.getframerate())


@dataclass(frozen=True)
class Film:
    """Frames, uint8 [frames, height, width, 3], and how many there are a second."""

    frames: NDArray[np.uint8]
    fps: float

    def seen(self) -> list[list[Seen]]:
        """The shapes in each frame; the codec changes colours a little."""
        return [shapes_in(frame, tolerance=45, least=60) for frame in self.frames]


def film_of(question: Question) -> Film:
    """The medium, decoded."""
    return frames_of(question.medium.content)


def frames_of(content: bytes) -> Film:
    """An MP4 decoded by ffmpeg as imageio-ffmpeg calls it."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(content)
        file.flush()
        reader = imageio_ffmpeg.read_frames(file.name)
        facts = next(reader)
        width, height = facts["size"]
        frames = [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]
    assert facts["codec"] == "h264"
    return Film(np.stack(frames), facts["fps"])
