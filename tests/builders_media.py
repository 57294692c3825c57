"""Builders of media files: real bytes, made by Pillow, wave and ffmpeg."""

from __future__ import annotations

import subprocess
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from boresight_trainer.media.ffmpeg import ffmpeg_binary
from numpy.typing import NDArray
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def ffmpeg(*arguments: object, given: bytes | None = None) -> None:
    """Run ffmpeg, which must succeed."""
    command = [ffmpeg_binary(), "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, input=given, check=True, timeout=60)


def a_picture(path: Path, size: tuple[int, int] = (40, 30), *, orientation: int | None = None, **saving: Any) -> Path:
    """Left half red, right half blue. ``orientation`` is EXIF's."""
    picture = Image.new("RGB", size, BLUE)
    picture.paste(RED, (0, 0, size[0] // 2, size[1]))
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        saving["exif"] = exif
    picture.save(path, **saving)
    return path


def cut(path: Path, share: float) -> Path:
    """The same file without its end."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def tone(frequency: float, seconds: float, rate: int, amplitude: float = 0.5) -> NDArray[np.float64]:
    """A sine, [samples]."""
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def a_wav(path: Path, channels: Sequence[NDArray[np.float64]], rate: int, bits: int = 16) -> Path:
    """PCM of 8, 16, 24 or 32 bits from samples of -1 to 1, a row for each channel."""
    samples = np.stack(channels, axis=1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        whole = np.round(samples * (2 ** (bits - 1) - 1)).astype("<i4")
        if bits == 8:
            file.writeframes((whole + 128).astype("u1").tobytes())
        else:
            file.writeframes(whole.reshape(-1, 1).view("u1")[:, : bits // 8].tobytes())
    return path


def dominant_frequency(samples: NDArray[np.float32], rate: int = 16_000) -> float:
    """The frequency, in Hz, that a sound has most of."""
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


def numbered_frames(count: int, size: tuple[int, int] = (32, 16)) -> NDArray[np.uint8]:
    """Frames that show their number (below 256), which survives encoding: [count, height, width, 3]."""
    width, height = size
    frames = np.zeros((count, height, width, 3), dtype=np.uint8)
    for number in range(count):
        frames[number, :, : width // 2] = 16 * (number // 16) + 8
        frames[number, :, width // 2 :] = 16 * (number % 16) + 8
    return frames


def numbers_of(frames: NDArray[np.uint8]) -> list[int]:
    """The numbers that :func:`numbered_frames` show."""
    half = frames.shape[2] // 2
    return [16 * int(f[:, : half - 2].mean() // 16) + int(f[:, half + 2 :].mean() // 16) for f in frames]


def a_video(
    path: Path,
    frames: NDArray[np.uint8],
    fps: str = "10",
    *,
    before: Iterable[object] = (),
    options: Iterable[object] = ("-pix_fmt", "yuv420p"),
) -> Path:
    """``frames`` as a file of the kind that its name says; ``before``: further inputs, ``options``: of the output."""
    _, height, width, _ = frames.shape
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", fps, "-i", "pipe:0")
    ffmpeg(*raw, *before, *options, path, given=frames.tobytes())
    return path
