"""Frames are what a viewer sees at given times, however the file stores them; a file that cannot is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from boresight_trainer.data.records import Modality
from boresight_trainer.media import video
from boresight_trainer.media.errors import MediaError
from boresight_trainer.media.headers import AudioHeader, VideoHeader
from boresight_trainer.media.limits import Limits
from boresight_trainer.media.probe import header_of
from boresight_trainer.media.video import Frames, Sampling, decode_video
from builders_media import BLUE, RED, a_video, cut, ffmpeg, numbered_frames, numbers_of

LIMITS = Limits()


def header(path: Path, limits: Limits = LIMITS) -> VideoHeader:
    found = header_of(path, Modality.VIDEO, limits)
    assert isinstance(found, VideoHeader)
    return found


def sampled(path: Path, fps: float, max_frames: int = 1000, size: tuple[int, int] | None = None) -> Frames:
    sampling = Sampling(Fraction(fps).limit_denominator(1000), max_frames)
    return decode_video(path, header(path), sampling, LIMITS, size=size)


# -- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "fps"),
    [
        ("10", Fraction(10)),
        ("25", Fraction(25)),
        ("12.5", Fraction(25, 2)),
        ("24000/1001", Fraction(24000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        ("60000/1001", Fraction(60000, 1001)),
    ],
)
def test_a_header_says_size_duration_and_the_exact_rate(tmp_path: Path, rate: str, fps: Fraction) -> None:
    found = header(a_video(tmp_path / "a.mp4", numbered_frames(50), rate))
    assert (found.width, found.height, found.rotation, found.fps) == (32, 16, 0, fps)
    assert float(found.seconds) == pytest.approx(float(50 / fps), abs=0.006)


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "webm", "avi", "ts", "flv", "wmv", "mpg"])
def test_videos_of_every_kind_are_known_by_their_content(tmp_path: Path, kind: str) -> None:
    path = a_video(tmp_path / f"a.{kind}", numbered_frames(55), "25").rename(tmp_path / "no_suffix")
    assert (header(path).width, header(path).height, header(path).fps) == (32, 16, 25)
    frames = sampled(path, 2)
    assert numbers_of(frames.pixels) == pytest.approx([int(time * 25) for time in frames.seconds], abs=1)
    assert len(frames.seconds) in (3, 4)


# -- which frames ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "fps", "max_frames", "times"),
    [
        (4, 1, 10, [0.5, 1.5, 2.5, 3.5]),
        (4, 1, 2, [1, 3]),
        (4, 0.5, 10, [1, 3]),
        (1, 0.1, 10, [0.5]),
        (3, 0.5, 10, [1.5]),
        (0.04, 2, 10, [0.02]),
    ],
)
def test_times_are_the_middles_of_equal_parts(seconds: float, fps: float, max_frames: int, times: list[float]) -> None:
    found = VideoHeader(32, 16, Fraction(seconds).limit_denominator(100), Fraction(25), 0)
    assert [float(time) for time in Sampling(Fraction(fps).limit_denominator(10), max_frames).times(found)] == times


@pytest.mark.parametrize("rate", ["10", "12.5", "24", "25", "30000/1001", "60"])
@pytest.mark.parametrize("fps", [0.5, 1, 2, 3, 7])
def test_the_frame_at_a_time_is_the_last_that_began_by_then(tmp_path: Path, rate: str, fps: float) -> None:
    frames = sampled(a_video(tmp_path / "a.mp4", numbered_frames(150), rate), fps)
    assert numbers_of(frames.pixels) == [int((time + 1e-3) * Fraction(rate)) for time in frames.seconds]


@pytest.mark.parametrize("at_each_time", [False, True])
def test_frames_look_as_pyav_decodes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_each_time: bool) -> None:
    import av

    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=128x96:rate=24:duration=4", "-pix_fmt", "yuv420p", tmp_path / "a.mp4")
    monkeypatch.setattr(video, "SEEK_SECONDS", Fraction(0 if at_each_time else 99))
    frames = sampled(tmp_path / "a.mp4", 3)
    with av.open(str(tmp_path / "a.mp4")) as container:
        every = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    for seconds, pixels in zip(frames.seconds, frames.pixels, strict=True):
        seen = [frame for began, frame in every if began is not None and began <= seconds + 1e-3][-1]
        assert np.abs(seen.astype(int) - pixels).max() <= 1


def test_every_frame_can_be_had(tmp_path: Path) -> None:
    path = a_video(tmp_path / "a.mkv", numbered_frames(20), "10", options=("-c:v", "ffv1"))
    assert np.array_equal(sampled(path, 10).pixels, numbered_frames(20))


def test_more_frames_than_there_are_repeat(tmp_path: Path) -> None:
    path = a_video(tmp_path / "a.mp4", numbered_frames(4), "2")
    assert numbers_of(sampled(path, 4).pixels) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_video_whose_rate_varies_is_sampled_by_time(tmp_path: Path) -> None:
    spread = "setpts='if(lt(N,10),N*0.1,1+(N-10)*0.5)/TB'"  # a second of 10 frames, then two frames a second
    options = ("-vf", spread, "-fps_mode", "vfr", "-enc_time_base", "1/1000", "-c:v", "ffv1")
    path = a_video(tmp_path / "a.mkv", numbered_frames(20), "10", options=options)
    frames = sampled(path, 2)
    began = [n * 0.1 if n < 10 else 1 + (n - 10) * 0.5 for n in range(20)]
    assert numbers_of(frames.pixels) == [sum(start <= time + 1e-3 for start in began) - 1 for time in frames.seconds]


@pytest.mark.parametrize("key_frames", [1, 7, 250])
@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "live.mkv"])
def test_entering_at_each_time_gives_the_same_frames_as_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key_frames: int, kind: str
) -> None:
    options = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", key_frames)
    live = ("-live", 1) if kind == "live.mkv" else ()  # without an index
    path = a_video(tmp_path / f"a.{kind}", numbered_frames(100), "25", options=(*options, *live))
    one_pass = sampled(path, 5)
    monkeypatch.setattr(video, "SEEK_SECONDS", Fraction(0))
    entered = sampled(path, 5)
    assert np.array_equal(one_pass.pixels, entered.pixels)
    assert np.array_equal(one_pass.seconds, entered.seconds)
    assert len(entered.pixels) > video._ENTRIES


def test_a_long_video_is_entered_at_each_time(tmp_path: Path) -> None:
    path = a_video(tmp_path / "a.mp4", numbered_frames(200), "2")
    frames = sampled(path, 1, max_frames=4)
    assert frames.seconds.tolist() == [12.5, 37.5, 62.5, 87.5]
    assert numbers_of(frames.pixels) == [25, 75, 125, 175]


@pytest.mark.parametrize("at_each_time", [False, True])
def test_sound_may_go_on_a_little_after_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_each_time: bool
) -> None:
    sound = ("-f", "lavfi", "-i", "sine=duration=5.8")
    path = a_video(tmp_path / "a.mp4", numbered_frames(50), "10", before=sound)
    monkeypatch.setattr(video, "SEEK_SECONDS", Fraction(0 if at_each_time else 99))
    assert float(header(path).seconds) == pytest.approx(5.8, abs=0.05)
    assert numbers_of(sampled(path, 2).pixels)[-1] == 49


def test_pictures_that_begin_after_the_sound_are_seen_from_their_first(tmp_path: Path) -> None:
    late = a_video(tmp_path / "late.mp4", numbered_frames(20), "10")
    ffmpeg("-itsoffset", 2, "-i", late, "-f", "lavfi", "-i", "sine=duration=4", "-c:v", "copy", tmp_path / "a.mkv")
    frames = sampled(tmp_path / "a.mkv", 1)
    assert numbers_of(frames.pixels) == [0, 0, 5, 15]


# -- how frames look -------------------------------------------------------------------------------------------------


def four_corners() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Red at the top, blue below, and white at the top left."""
    frames = np.zeros((10, 32, 64, 3), dtype=np.uint8)
    frames[:, :16], frames[:, 16:], frames[:, :16, :32] = RED, BLUE, 255
    return frames


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_a_video_stands_upright_as_its_file_says(tmp_path: Path, angle: int, turns: int) -> None:
    plain = a_video(tmp_path / "plain.mp4", four_corners())
    ffmpeg("-display_rotation", angle, "-i", plain, "-c", "copy", tmp_path / "a.mp4")
    found, pixels = header(tmp_path / "a.mp4"), sampled(tmp_path / "a.mp4", 1).pixels
    assert found.rotation == 360 - angle  # ffmpeg's angle is counted against the clock
    assert (found.height, found.width) == pixels.shape[1:3] == ((32, 64) if angle == 180 else (64, 32))
    upright = np.rot90(sampled(plain, 1).pixels, turns, axes=(1, 2))
    assert np.abs(pixels.astype(int) - upright)[:, 4:-4, 4:-4].mean() < 3


def test_frames_are_scaled_while_they_are_decoded(tmp_path: Path) -> None:
    frames = sampled(a_video(tmp_path / "a.mp4", numbered_frames(20, (64, 48))), 2, size=(40, 20))
    assert frames.pixels.shape == (4, 20, 40, 3)
    assert numbers_of(frames.pixels) == [2, 7, 12, 17]


# -- damage and limits -----------------------------------------------------------------------------------------------


def test_the_sound_of_a_video_is_a_medium_too(tmp_path: Path) -> None:
    path = a_video(tmp_path / "a.mp4", numbered_frames(10), before=("-f", "lavfi", "-i", "sine=duration=1"))
    assert isinstance(header_of(path, Modality.AUDIO, LIMITS), AudioHeader)
    assert header(path).fps == 10


def test_a_video_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = cut(a_video(tmp_path / "a.mp4", numbered_frames(100)), 0.5)  # its index stood at the end
    with pytest.raises(MediaError, match=r"found a damaged file \(MP4 or QuickTime: .*: download or encode it anew"):
        header(path)


@pytest.mark.parametrize("at_each_time", [False, True])
def test_a_video_whose_pictures_end_before_its_header_says_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_each_time: bool
) -> None:
    noise = np.random.default_rng(7).integers(0, 255, (100, 48, 64, 3), dtype=np.uint8)
    options = ("-pix_fmt", "yuv420p", "-movflags", "+faststart")
    path = cut(a_video(tmp_path / "a.mp4", noise, options=options), 0.6)
    assert header(path).seconds == 10
    monkeypatch.setattr(video, "SEEK_SECONDS", Fraction(0 if at_each_time else 99))
    with pytest.raises(
        MediaError, match=r"found no picture at \d\.\d\d s .*, expected the 10.00 s that its header says"
    ):
        sampled(path, 2)


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    made = a_video(tmp_path / "whole.mkv", numbered_frames(50), options=("-c:v", "ffv1", "-cluster_size_limit", 1))
    content = made.read_bytes()
    (tmp_path / "a.mkv").write_bytes(content[: content.index(b"\x1f\x43\xb6\x75")])  # before its first cluster
    with pytest.raises(MediaError, match=r"found a damaged file \(Matroska"):
        sampled(tmp_path / "a.mkv", 1)


def test_an_mp4_without_samples_is_refused(tmp_path: Path) -> None:
    whole = a_video(tmp_path / "whole.mp4", numbered_frames(10))
    ffmpeg("-i", whole, "-frames:v", 0, "-c", "copy", tmp_path / "a.mp4")
    with pytest.raises(MediaError, match=r"found a file without frames or sound \(MP4"):
        sampled(tmp_path / "a.mp4", 1)


def test_a_video_over_the_limits_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = a_video(tmp_path / "a.mp4", numbered_frames(20))
    for limits, complaint in (
        (Limits(seconds=1), "found 2.00 s, expected at most 1 s: cut it"),
        (Limits(pixels=511), "found 32 x 16 pixels, expected at most 511 pixels"),
        (Limits(bytes=100), r"found \d+ bytes, expected at most 100"),
    ):
        with pytest.raises(MediaError, match=complaint):
            header(path, limits)
    for limits, complaint in (
        (Limits(frames=3), "found 20 frames asked for, expected at most 3"),
        (Limits(decoded_bytes=30_719), "found 30720 bytes once decoded, expected at most 30719: scale it down, or"),
    ):
        with pytest.raises(MediaError, match=complaint):
            decode_video(path, header(path), Sampling(Fraction(10), 99), limits)


def test_a_video_whose_frames_are_larger_than_its_header_says_is_not_decoded(tmp_path: Path) -> None:
    path = a_video(tmp_path / "a.mp4", numbered_frames(10, (64, 64)))
    with pytest.raises(MediaError, match="damaged file"):
        decode_video(path, header(path), Sampling(Fraction(1), 9), Limits(pixels=1000))


@pytest.mark.parametrize(("fps", "max_frames"), [(0, 1), (-1, 1), (1, 0)])
def test_a_sampling_of_nothing_is_refused(fps: int, max_frames: int) -> None:
    with pytest.raises(ValueError, match="expected more than none"):
        Sampling(Fraction(fps), max_frames)
