"""Speech by espeak-ng, where that program is installed: which number is said, which word."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

from boresight_api.outcome import FailureClass, StageFailure

from ...instructions import text
from ..medium import Source
from ..question import ChoiceQuestion, NumberQuestion, Scene, Wrong, different, off_by_one
from ..sides import Side
from .kinds import AudioKind

SPEECH = Source("speech", "words of ours, spoken by the program espeak-ng", "Apache-2.0")
_VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp")
_SPEEDS = range(120, 181, 10)
"""Words a minute."""
_PITCHES = range(30, 71, 10)
"""Of espeak-ng's scale from 0 to 99."""
_WORDS = ("apple", "doctor", "garden", "music", "river", "summer", "table", "window")
_SECONDS = 30
"""How long the program may take for a word."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice with its speed and pitch."""

    voice: str
    speed: int
    pitch: int

    @classmethod
    def drawn(cls, rng: Random) -> Speaker:
        """Any of them."""
        return cls(rng.choice(_VOICES), rng.choice(_SPEEDS), rng.choice(_PITCHES))

    def key(self, said: str) -> str:
        """What decides the side of ``said``: a word occurs on all sides, never twice by one speaker."""
        return f'speech: "{said}" by {self.voice} at speed {self.speed} and pitch {self.pitch}'

    def says(self, program: str, words: str) -> bytes:
        """``words`` as a WAV file. Raises StageFailure(Infrastructure) with the program's own words if it fails."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "said.wav"
            command = [program, "-v", self.voice, "-s", str(self.speed), "-p", str(self.pitch), "-w", str(file), words]
            try:
                subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
                return file.read_bytes()
            except (OSError, subprocess.SubprocessError) as error:
                said = (getattr(error, "stderr", None) or "").strip()
                raise StageFailure(
                    FailureClass.INFRASTRUCTURE,
                    f"{program} could not say {words!r}: {said or error}; see whether it speaks on its own, or leave "
                    "out --speech",
                ) from error


@dataclass(frozen=True)
class _SpeechKind(AudioKind):
    """``program`` is the path of espeak-ng."""

    program: str


@dataclass(frozen=True)
class SpeechNumber(_SpeechKind, NumberQuestion):
    """The number that is said."""

    name = "speech_number"
    forms = ("Which number is said?", "Write the number that you hear.", "What number does the voice say?")
    statements = ("the number that is said is {answer}", "the voice says {word}", "it is {word}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        number, speaker = rng.randint(0, 10), Speaker.drawn(rng)
        said = text.number_word(number)
        return Scene(
            keys=(speaker.key(said),),
            answer=number,
            wrong=different(number, *off_by_one(number), Wrong(rng.randint(0, 10), "another number")),
            render=lambda: speaker.says(self.program, said),
            source=SPEECH,
        )


@dataclass(frozen=True)
class SpeechWord(_SpeechKind, ChoiceQuestion):
    """The word that is said."""

    name = "speech_word"
    options = _WORDS
    forms = ("Which word is said?", "Write the word that you hear.", "What does the voice say?")
    statements = ("the word that is said is {answer}", 'the voice says "{answer}"', "it says {answer}", "{answer}")

    def draw(self, rng: Random, side: Side) -> Scene:  # noqa: ARG002 the parameters decide the side
        (said, other, third), speaker = rng.sample(_WORDS, 3), Speaker.drawn(rng)
        return Scene(
            keys=(speaker.key(said),),
            answer=said,
            wrong=(Wrong(other, "another word"), Wrong(third, "another word")),
            render=lambda: speaker.says(self.program, said),
            source=SPEECH,
        )
