"""Sounds hold what the question says: it is measured in their spectra and envelopes."""

from __future__ import annotations

import shutil
from random import Random

import numpy as np
import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.questions.audio import speech_kinds
from boresight_trainer.data.questions.audio.sound import frequency_of
from boresight_trainer.data.questions.audio.speech import Speaker
from boresight_trainer.data.questions.question import Question, QuestionKind
from boresight_trainer.data.questions.sides import Side
from builders_questions import (
    AUDIO_KINDS,
    SPEAKER,
    SPEECH_KINDS,
    Sound,
    answer_of,
    drawn,
    kind_named,
    question_of,
    sound_of,
)
from numpy.typing import NDArray


def test_the_second_tone_is_where_the_answer_says() -> None:
    for question in drawn(AUDIO_KINDS, "tone_higher"):
        sound = sound_of(question)
        first, second = (sound.loudest_frequency(part) for part in sound.parts())
        assert (second > first) == (answer_of(question) == "higher")
        notes = map(int, question.medium.keys[0].removeprefix("tones: ").split(", "))
        assert [first, second] == pytest.approx([frequency_of(note) for note in notes], rel=0.02)


def test_the_longer_tone_is_the_one_that_the_answer_says() -> None:
    for question in drawn(AUDIO_KINDS, "tone_longer"):
        first, second = map(len, sound_of(question).parts())
        assert (first > second) == (answer_of(question) == "first")
        assert max(first, second) > 1.3 * min(first, second)


def test_there_are_as_many_beeps_as_the_answer_says() -> None:
    for question in drawn(AUDIO_KINDS, "beep_count", 40):
        assert len(sound_of(question).parts()) == answer_of(question)


def quality_of(sound: Sound, chord: NDArray[np.float64]) -> str:
    """The triad, of all twelve major and minor ones, whose notes are the strongest in three octaves."""
    frequencies, power = sound.spectrum(chord)

    def strength(note: int) -> float:
        near = np.abs(frequencies / frequency_of(note) - 1) < 0.012
        return float(np.sqrt(power[near].max()))

    classes = [max(strength(note) for note in range(48 + step, 84, 12)) for step in range(12)]
    triads = {
        (quality, root): sum(classes[(root + above) % 12] for above in notes)
        for root in range(12)
        for quality, notes in (("major", (0, 4, 7)), ("minor", (0, 3, 7)))
    }
    return max(triads, key=lambda triad: triads[triad])[0]


def test_a_chord_is_what_the_answer_says() -> None:
    for question in drawn(AUDIO_KINDS, "chord_quality", 30):
        sound = sound_of(question)
        (chord,) = sound.parts()
        assert quality_of(sound, chord) == answer_of(question)


def test_the_faster_rhythm_is_the_one_that_the_answer_says() -> None:
    for question in drawn(AUDIO_KINDS, "rhythm_faster"):
        starts = sound_of(question).starts()
        gaps = np.diff(starts)
        pause = int(gaps.argmax()) if gaps.max() > 1.05 * np.sort(gaps)[-2] else len(gaps) // 2
        first, second = np.median(gaps[:pause]), np.median(gaps[pause + 1 :])
        assert (first < second) == (answer_of(question) == "first")


def test_as_many_clicks_are_loud_as_the_answer_says() -> None:
    for question in drawn(AUDIO_KINDS, "rhythm_accents"):
        peaks = np.array([np.abs(part).max() for part in sound_of(question).parts()])
        assert len(peaks) == 8
        assert (peaks > 0.5 * peaks.max()).sum() == answer_of(question)


def test_a_rhythm_has_as_many_beats_as_the_answer_says() -> None:
    for question in drawn(AUDIO_KINDS, "rhythm_beats", 40):
        assert len(sound_of(question).parts()) == answer_of(question)


# -- speech ------------------------------------------------------------------------------------------------------------


def said_in(question: Question) -> str:
    return question.medium.keys[0].split('"')[1]


@pytest.mark.parametrize("kind", SPEECH_KINDS, ids=lambda kind: kind.name)
def test_the_program_is_asked_to_say_the_answer(kind: QuestionKind, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Speaker, "says", lambda speaker, program, words: asked.append(words) or b"sound")
    for seed in range(12):
        question = question_of(kind, seed, list(Side)[seed % 3])
        assert asked[-1] == said_in(question)
        assert question.constraints[0].examine(asked[-1]).satisfied
        assert question.medium.source.name == "speech"


def test_a_word_by_the_same_speaker_is_the_same_sound_and_by_others_another() -> None:
    speakers = [
        Speaker("en-us", 150, 50),
        Speaker("en-us", 150, 50),
        Speaker("en-gb", 150, 50),
        Speaker("en-us", 150, 40),
    ]
    one, same, *others = (speaker.says(str(SPEAKER), "seven") for speaker in speakers)
    assert one == same
    assert len({one, *others}) == 3
    assert len({speaker.key("seven") for speaker in speakers}) == 3


def test_what_the_program_says_about_its_failure_is_passed_on() -> None:
    with pytest.raises(StageFailure, match=r"voice does not exist.*leave out --speech") as failure:
        Speaker("no-such", 150, 50).says(str(SPEAKER), "seven")
    assert failure.value.failure is FailureClass.INFRASTRUCTURE


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
@pytest.mark.parametrize("name", ["speech_number", "speech_word"])
def test_real_speech_is_heard_and_longer_words_take_longer(name: str) -> None:
    program = str(shutil.which("espeak-ng"))
    kind = kind_named(speech_kinds(program), name)
    for seed in range(4):
        question = question_of(kind, seed)
        sound = sound_of(question)
        assert np.abs(sound.samples).max() > 0.05
        assert question.medium.content == question_of(kind, seed).medium.content
    speaker = Speaker.drawn(Random(1))
    assert len(speaker.says(program, "seventy seven thousand")) > len(speaker.says(program, "two"))
