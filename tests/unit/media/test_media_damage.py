"""Whatever happened to a file, it decodes to what its header promised, or is refused with words."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from boresight_trainer.data.records import Modality
from boresight_trainer.media.decode import Decoding, decode
from boresight_trainer.media.errors import MediaError
from boresight_trainer.media.headers import AudioHeader, ImageHeader
from boresight_trainer.media.limits import Limits
from boresight_trainer.media.probe import header_of
from boresight_trainer.media.video import Sampling
from builders_media import a_picture, a_video, a_wav, ffmpeg, numbered_frames, tone

LIMITS = Limits(pixels=1_000_000, seconds=60, decoded_bytes=1 << 27, timeout_seconds=30)
DECODING = Decoding(Sampling(Fraction(1), 8))
KINDS = {
    **dict.fromkeys(("a.png", "a.jpg", "a.gif", "a.webp", "a.tiff", "a.bmp"), Modality.IMAGE),
    **dict.fromkeys(("a.wav", "a.flac", "a.mp3", "a.ogg", "a.m4a"), Modality.AUDIO),
    **dict.fromkeys(("a.mp4", "a.mkv", "a.avi"), Modality.VIDEO),
}
ROUNDS = 12


def make(path: Path) -> Path:
    match KINDS[path.name]:
        case Modality.IMAGE:
            return a_picture(path)
        case Modality.VIDEO:
            return a_video(path, numbered_frames(20))
        case Modality.AUDIO:
            wav = a_wav(path.with_name("source.wav"), [tone(440, 1, 16_000)], 16_000)
            ffmpeg("-i", wav, path)
            return path


def flipped(content: bytearray, random: np.random.Generator) -> bytearray:
    """Some bytes are others; at the beginning, where headers are, as likely as anywhere else."""
    for _ in range(random.integers(1, 20)):
        end = len(content) if random.random() < 0.5 else min(len(content), 200)
        content[random.integers(end)] = random.integers(256)
    return content


def shortened(content: bytearray, random: np.random.Generator) -> bytearray:
    return content[: random.integers(len(content))]


def torn(content: bytearray, random: np.random.Generator) -> bytearray:
    """A piece is missing."""
    start = int(random.integers(len(content)))
    return content[:start] + content[start + int(random.integers(200)) :]


@pytest.mark.parametrize("damage", [flipped, shortened, torn])
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_keeps_its_headers_promise_or_is_refused(
    tmp_path: Path, name: str, damage: Callable[[bytearray, np.random.Generator], bytearray]
) -> None:
    whole = make(tmp_path / name).read_bytes()
    for seed in range(ROUNDS):
        path = tmp_path / f"{seed}-{name}"
        path.write_bytes(damage(bytearray(whole), np.random.default_rng(seed)))
        try:
            header = header_of(path, KINDS[name], LIMITS)
            arrays = decode(path, header, DECODING, LIMITS)
        except MediaError:
            continue
        if isinstance(header, ImageHeader):
            assert arrays["pixels"].shape == (header.height, header.width, 3)
        elif isinstance(header, AudioHeader):
            assert arrays["samples"].shape == (header.samples,)
            assert np.isfinite(arrays["samples"]).all()
        else:
            count = len(DECODING.sampling.times(header))
            assert arrays["pixels"].shape == (count, header.height, header.width, 3)
