"""Sound becomes mono at 16 kHz, as long as its header says; a file that cannot keep that promise is refused."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from boresight_trainer.data.records import Modality
from boresight_trainer.media.audio import decode_audio
from boresight_trainer.media.errors import MediaError
from boresight_trainer.media.headers import AudioHeader
from boresight_trainer.media.limits import Limits
from boresight_trainer.media.probe import header_of
from builders_media import a_picture, a_wav, cut, dominant_frequency, ffmpeg, tone
from numpy.typing import NDArray

LIMITS = Limits()


def header(path: Path, limits: Limits = LIMITS) -> AudioHeader:
    found = header_of(path, Modality.AUDIO, limits)
    assert isinstance(found, AudioHeader)
    return found


def decoded(path: Path, limits: Limits = LIMITS) -> NDArray[np.float32]:
    return decode_audio(path, header(path, limits), limits)


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_pcm_of_every_depth_and_rate_sounds_the_same(tmp_path: Path, bits: int, rate: int) -> None:
    path = a_wav(tmp_path / "a.wav", [tone(440, 1.5, rate)], rate, bits)
    assert header(path) == AudioHeader(Fraction(3, 2), rate, 1)
    samples = decoded(path)
    assert (samples.dtype, samples.shape) == (np.float32, (24_000,))
    inner = slice(1_000, -1_000)  # resampling has nothing to go by beyond the ends
    assert np.abs(samples - tone(440, 1.5, 16_000))[inner].max() < (0.02 if bits == 8 else 0.002)


def test_what_is_16_khz_mono_already_keeps_its_samples(tmp_path: Path) -> None:
    values = np.random.default_rng(7).uniform(-1, 1, 16_000)
    path = a_wav(tmp_path / "a.wav", [values], 16_000)
    assert np.array_equal(decoded(path), np.round(values * 32767).astype(np.float32) / 32768)


def test_sound_above_what_16_khz_can_hold_does_not_fold_back(tmp_path: Path) -> None:
    path = a_wav(tmp_path / "a.wav", [tone(12_000, 1, 48_000)], 48_000)
    assert np.abs(decoded(path)[1_000:-1_000]).max() < 0.01


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(440, 1, 48_000, amplitude=0.9), tone(1_000, 1, 48_000, amplitude=0.3)
    path = a_wav(tmp_path / "a.wav", [left, right], 48_000, 24)
    assert header(path).channels == 2
    expected = (tone(440, 1, 16_000, 0.9) + tone(1_000, 1, 16_000, 0.3)) / 2
    assert np.abs(decoded(path) - expected)[1_000:-1_000].max() < 0.005


@pytest.mark.parametrize(("layout", "count"), [("5.1", 6), ("7.1", 8), ("quad", 4), ("2.1", 3), ("hexagonal", 6)])
def test_channels_of_every_layout_are_mixed(tmp_path: Path, layout: str, count: int) -> None:
    channels = [tone(440, 1, 48_000)] * count
    path = a_wav(tmp_path / "a.wav", channels, 48_000)
    ffmpeg("-channel_layout", layout, "-i", path, "-c:a", "flac" if count != 3 else "pcm_s16le", tmp_path / "a.mka")
    assert header(tmp_path / "a.mka").channels == count
    assert dominant_frequency(decoded(tmp_path / "a.mka")) == pytest.approx(440, abs=1)


def test_equal_channels_are_as_loud_as_one(tmp_path: Path) -> None:
    loud = tone(440, 1, 16_000, amplitude=0.99)
    path = a_wav(tmp_path / "a.wav", [loud, loud], 16_000)
    assert np.abs(decoded(path) - loud).max() < 0.001


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("mp3", "libmp3lame"),
        ("flac", "flac"),
        ("ogg", "libvorbis"),
        ("opus", "libopus"),
        ("m4a", "aac"),
        ("aac", "aac"),
        ("webm", "libopus"),
        ("aiff", "pcm_s16be"),
        ("mka", "pcm_s16le"),
    ],
)
def test_encoded_sound_is_what_it_was(tmp_path: Path, kind: str, codec: str) -> None:
    path = tmp_path / f"a.{kind}"
    ffmpeg("-i", a_wav(tmp_path / "a.wav", [tone(440, 2, 48_000)] * 2, 48_000), "-c:a", codec, path)
    assert header(path).channels == 2
    samples = decoded(path)
    assert abs(len(samples) - 32_000) < 1_600
    assert dominant_frequency(samples[1_000:31_000]) == pytest.approx(440, abs=1)
    assert np.abs(samples[2_000:30_000]).max() == pytest.approx(0.5, abs=0.06)


def test_the_cover_of_an_album_is_not_in_the_way(tmp_path: Path) -> None:
    cover, sound = a_picture(tmp_path / "a.png"), a_wav(tmp_path / "a.wav", [tone(440, 1, 16_000)], 16_000)
    ffmpeg("-i", sound, "-i", cover, "-map", 0, "-map", 1, "-disposition:v", "attached_pic", tmp_path / "a.mp3")
    assert dominant_frequency(decoded(tmp_path / "a.mp3")) == pytest.approx(440, abs=2)
    with pytest.raises(MediaError, match=r"found audio \(MP3\), expected a video"):
        header_of(tmp_path / "a.mp3", Modality.VIDEO, LIMITS)


def test_a_recording_whose_header_has_no_duration_is_measured(tmp_path: Path) -> None:
    wav = a_wav(tmp_path / "a.wav", [tone(440, 1, 48_000)], 48_000)
    ffmpeg("-i", wav, "-c:a", "libopus", "-live", 1, tmp_path / "a.webm")  # as a browser records
    assert float(header(tmp_path / "a.webm").seconds) == pytest.approx(1, abs=0.05)
    assert dominant_frequency(decoded(tmp_path / "a.webm")) == pytest.approx(440, abs=2)


def test_a_title_cannot_pass_for_a_stream(tmp_path: Path) -> None:
    title = "x\n  Duration: 99:00:00.00\n  Stream #0:9: Video: h264, 9x9, 25 fps"
    wav = a_wav(tmp_path / "a.wav", [tone(440, 1, 16_000)], 16_000)
    ffmpeg("-i", wav, "-metadata", f"title={title}", "-metadata", "Stream #0:8=Video: h264", tmp_path / "a.mka")
    assert header(tmp_path / "a.mka").seconds < 2
    with pytest.raises(MediaError, match="found audio"):
        header_of(tmp_path / "a.mka", Modality.VIDEO, LIMITS)


# -- damage ----------------------------------------------------------------------------------------------------------


def test_a_wav_of_no_bytes_is_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(MediaError, match="found an empty file"):
        header(tmp_path / "a.wav")


def test_a_wav_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"found no samples \(WAV\), expected a whole file"):
        decoded(a_wav(tmp_path / "a.wav", [np.zeros(0)], 16_000))


def test_a_wav_that_ends_within_its_header_is_refused(tmp_path: Path) -> None:
    path = cut(a_wav(tmp_path / "a.wav", [tone(440, 1, 16_000)], 16_000), 0.0008)
    assert path.stat().st_size > 12
    with pytest.raises(MediaError, match=r"damaged file \(WAV"):
        header(path)


def test_sound_that_ends_long_before_its_header_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    ffmpeg("-i", a_wav(tmp_path / "a.wav", [np.random.default_rng(7).uniform(-1, 1, 64_000)], 16_000), path)
    with pytest.raises(MediaError, match=r"found \d\.\d\d s of sound \(FLAC\), expected the 4.00 s that its header"):
        decoded(cut(path, 0.5))


@pytest.mark.parametrize("size", [0, 3_200_000, 2**31, 2**32 - 1])
def test_a_wav_whose_header_gives_no_true_size_lasts_as_long_as_its_samples(tmp_path: Path, size: int) -> None:
    path = a_wav(tmp_path / "a.wav", [tone(440, 2, 16_000)], 16_000)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    assert header(path).seconds == 2
    assert len(decoded(path)) == 32_000


def test_noise_behind_a_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(b"ID3\x04\0\0\0\0\0\0" + np.random.default_rng(7).bytes(50_000).replace(b"\xff", b"\0"))
    with pytest.raises(MediaError, match=r"found a damaged file \(MP3"):
        decoded(path)


# -- limits ----------------------------------------------------------------------------------------------------------


def test_sound_over_the_limits_is_refused_by_its_header(tmp_path: Path) -> None:
    path = a_wav(tmp_path / "a.wav", [tone(440, 2, 16_000)], 16_000)
    assert header(path, Limits(seconds=2)).seconds == 2
    with pytest.raises(MediaError, match=r"found 2.00 s, expected at most 1 s: cut it"):
        header(path, Limits(seconds=1))
    with pytest.raises(MediaError, match="found 128000 bytes once decoded, expected at most 100"):
        decode_audio(path, header(path), Limits(decoded_bytes=100))


def test_no_more_is_decoded_than_the_header_promised(tmp_path: Path) -> None:
    path = a_wav(tmp_path / "a.wav", [tone(440, 60, 16_000)], 16_000)
    promised = AudioHeader(Fraction(1), 16_000, 1)
    with pytest.raises(MediaError, match=r"found more of sound.*expected the 1.00 s"):
        decode_audio(path, promised, LIMITS)


def test_a_medium_has_its_time(tmp_path: Path) -> None:
    path = a_wav(tmp_path / "a.wav", [tone(440, 1, 16_000)], 16_000)
    with pytest.raises(MediaError, match="found decoding not done after 0 s, expected an end"):
        header(path, Limits(timeout_seconds=0))
