"""Videos show what the question says: shapes are found in decoded frames and followed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.questions.video import film as films
from boresight_trainer.data.questions.video.film import encoded
from boresight_trainer.media.ffmpeg import ffmpeg_binary
from builders_questions import SIZE, VIDEO_KINDS, Seen, answer_of, drawn, film_of, frames_of
from numpy.typing import NDArray
from PIL import Image


def way_of(frames: list[list[Seen]]) -> NDArray[np.float64]:
    """Where the one shape is in each frame, [frames, 2], in pixels."""
    assert [len(seen) for seen in frames] == [1] * len(frames)
    return np.array([(seen.x, seen.y) for (seen,) in frames])


def test_the_shape_moves_where_the_answer_says() -> None:
    for question in drawn(VIDEO_KINDS, "direction", 12):
        way = way_of(film_of(question).seen())
        x, y = way[-1] - way[0]
        moved = ("right" if x > 0 else "left") if abs(x) > abs(y) else ("down" if y > 0 else "up")
        assert moved == answer_of(question)
        assert max(abs(x), abs(y)) > SIZE / 2
        assert min(abs(x), abs(y)) < 4


def test_the_shape_gets_faster_or_slower_as_the_answer_says() -> None:
    for question in drawn(VIDEO_KINDS, "speed_change", 12):
        steps = np.abs(np.diff(way_of(film_of(question).seen()), axis=0)).sum(axis=1)
        early, late = steps[:8].mean(), steps[-8:].mean()
        assert (late > 1.5 * early) == (answer_of(question) == "faster")
        assert (early > 1.5 * late) == (answer_of(question) == "slower")


def test_the_shape_bounces_as_often_as_the_answer_says() -> None:
    for question in drawn(VIDEO_KINDS, "bounce_count", 15):
        way = way_of(film_of(question).seen())
        along = way[:, np.ptp(way, axis=0).argmax()]
        steps = np.diff(along)
        senses = np.sign(steps[np.abs(steps) > 1])
        assert np.count_nonzero(np.diff(senses)) == answer_of(question)


def test_as_many_shapes_come_and_go_as_the_answer_says() -> None:
    for question in drawn(VIDEO_KINDS, "appear_count", 15):
        there = np.array([len(seen) for seen in film_of(question).seen()])
        assert set(there) == {0, 1}
        assert np.count_nonzero(np.diff(np.concatenate([[0], there])) == 1) == answer_of(question)


def test_the_colour_that_comes_first_is_the_answer() -> None:
    for question in drawn(VIDEO_KINDS, "first_colour", 12):
        frames = film_of(question).seen()
        first = next(seen for seen in frames if seen)
        assert [shape.colour for shape in first] == [answer_of(question)]
        second, later = re.findall(r"(\w+) \w+", question.medium.keys[0].removeprefix("film: ").replace("then ", ""))
        assert {shape.colour for shape in frames[-1]} == {second, later}
        assert not frames[0]


def test_frames_come_back_as_they_were_encoded_and_no_version_signs_them() -> None:
    frames = [Image.new("RGB", (SIZE, SIZE), (10 * number, 128, 255 - 10 * number)) for number in range(24)]
    first, second = encoded(frames), encoded(frames)
    assert first == second
    assert b"Lavf" not in first
    decoded = frames_of(first).frames
    assert np.abs(decoded.astype(int) - np.stack([np.asarray(frame) for frame in frames])).max() < 8


def test_without_the_encoder_the_program_and_its_words_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho \"Unknown encoder 'libx264'\" >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(films, "ffmpeg_binary", lambda: str(program))
    with pytest.raises(
        StageFailure, match=r"could not encode 1 frames as H\.264: Unknown encoder 'libx264'"
    ) as failure:
        encoded([Image.new("RGB", (SIZE, SIZE))])
    assert failure.value.failure is FailureClass.INFRASTRUCTURE


def test_the_ffmpeg_on_the_path_is_taken_before_the_one_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg_binary() == str(program)
    program.unlink()
    assert Path(ffmpeg_binary()).is_file()
