"""Questions about sounds: tones, chords, rhythms, and speech where espeak-ng is installed."""

from __future__ import annotations

from ..question import QuestionKind
from . import rhythms, speech, tones

KINDS = (
    tones.ToneHigher,
    tones.ToneLonger,
    tones.BeepCount,
    tones.ChordQuality,
    rhythms.RhythmFaster,
    rhythms.RhythmAccents,
    rhythms.RhythmBeats,
)
SPEECH_KINDS = (speech.SpeechNumber, speech.SpeechWord)


def audio_kinds() -> tuple[QuestionKind, ...]:
    """All kinds that need no program."""
    return tuple(kind() for kind in KINDS)


def speech_kinds(program: str) -> tuple[QuestionKind, ...]:
    """The kinds that the espeak-ng at the path ``program`` speaks for."""
    return tuple(kind(program) for kind in SPEECH_KINDS)
