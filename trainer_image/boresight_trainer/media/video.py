"""Moving pictures, by ffmpeg: frames as a viewer sees them at given times.

The frame at a time is the last one that began by then, whatever the file's frame rate and however it varies. Times that
lie close together are read in one pass over the file; for times far apart the file is entered at each of them, which
gives the same frames and decodes less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from . import ffmpeg_process
from .containers import Container, container_of
from .errors import MediaError
from .headers import VideoHeader
from .limits import Limits

SEEK_SECONDS = Fraction(12)
"""Frames further apart than this are entered one by one: encoders set points of entry every few seconds, and decoding
from the last of them costs less than decoding all that lies between two frames."""
_ENTRIES = 16
"""Points of one file that one call of ffmpeg enters."""
_EARLY = Fraction(1, 1000)
"""A frame that begins this much later than a time still counts: clocks of files are rounded."""
_TOLERANCE_SECONDS = Fraction(1)
_TOLERANCE_SHARE = Fraction(1, 20)
"""Sound may last this much longer than the pictures, whose last frame stands until the end."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a video are wanted: ``fps`` of them a second, but at most ``max_frames``, evenly spread."""

    fps: Fraction
    max_frames: int

    def __post_init__(self) -> None:
        if self.fps <= 0 or self.max_frames < 1:
            raise ValueError(f"found {self.fps} frames a second and at most {self.max_frames}, expected more than none")

    def times(self, header: VideoHeader) -> tuple[Fraction, ...]:
        """In seconds: the middles of equal parts of the video."""
        count = max(1, min(self.max_frames, int(header.seconds * self.fps)))
        return tuple(header.seconds * (2 * index + 1) / (2 * count) for index in range(count))


@dataclass(frozen=True, slots=True)
class Frames:
    """Decoded frames."""

    pixels: NDArray[np.uint8]
    """RGB, [frames, height, width, 3]."""
    seconds: NDArray[np.float64]
    """When each is seen: [frames]."""


def decode_video(
    path: Path,
    header: VideoHeader,
    sampling: Sampling,
    limits: Limits,
    *,
    size: tuple[int, int] | None = None,
) -> Frames:
    """The frames that ``sampling`` asks for, upright, scaled (bicubic) to ``size`` (width, height) if that is given.

    Raises :class:`MediaError` if the file is damaged or its pictures end long before ``header`` says; OSError if it
    cannot be read.
    """
    times = sampling.times(header)
    width, height = size or (header.width, header.height)
    limits.check_frames(len(times))
    limits.check_decoded_bytes(len(times) * width * height * 3)
    container = container_of(path, limits)
    reading = _Reading(path, container, header, limits, size)
    apart = header.seconds / len(times)
    far = apart > SEEK_SECONDS and container.indexed
    pixels = reading.entered(times) if far else reading.passed(times[0], apart, len(times))
    return Frames(pixels, np.array([float(time) for time in times]))


@dataclass(frozen=True)
class _Reading:
    """One file, read in one of two ways."""

    path: Path
    container: Container
    header: VideoHeader
    limits: Limits
    size: tuple[int, int] | None

    def passed(self, start: Fraction, apart: Fraction, count: int) -> NDArray[np.uint8]:
        """``count`` frames, ``apart`` seconds from each other, in one pass: [count, height, width, 3]."""
        seen = self._opened().filter("fps", fps=_ratio(1 / apart), round="up", start_time=_decimal(start + _EARLY))
        return self._decoded(seen, [start + number * apart for number in range(count)])

    def entered(self, times: Sequence[Fraction]) -> NDArray[np.uint8]:
        """The frames at ``times``, each by its own entry into the file: [len(times), height, width, 3]."""
        parts = [self._entered_together(times[at : at + _ENTRIES]) for at in range(0, len(times), _ENTRIES)]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _entered_together(self, times: Sequence[Fraction]) -> NDArray[np.uint8]:
        seen = [
            # All that is decoded on the way is seen by the filter; its time 0 is the one that is asked for.
            self._opened(ss=_decimal(time + _EARLY), noaccurate_seek=None)
            .filter("fps", fps=1, round="up", start_time=0)
            .filter("trim", end_frame=1)
            for time in times
        ]
        return self._decoded(ffmpeg.concat(*seen, n=len(seen), v=1, a=0) if len(seen) > 1 else seen[0], times)

    def _opened(self, **entry: str | None) -> Any:
        """The frames of the file, of which the last one stands for a while."""
        stands = max(_TOLERANCE_SECONDS, self.header.seconds * _TOLERANCE_SHARE)
        options = ffmpeg_process.input_options(self.container, self.limits)
        frames = ffmpeg.input(ffmpeg_process.local(self.path), **options, **entry)["v:0"]
        return frames.filter("tpad", stop_mode="clone", stop_duration=_decimal(stands))

    def _decoded(self, stream: Any, times: Sequence[Fraction]) -> NDArray[np.uint8]:
        """The frames of ``stream``, one for each of ``times``: [len(times), height, width, 3]."""
        width, height = self.size or (self.header.width, self.header.height)
        scaled = stream.filter("scale", width, height, flags="bicubic")
        raw = {"f": "rawvideo", "pix_fmt": "rgb24", "fps_mode": "passthrough", "vframes": len(times), "threads": 1}
        finished = ffmpeg_process.run(
            ["-v", "error", "-filter_complex_threads", "1", *scaled.output("pipe:1", **raw).get_args()],
            timeout_seconds=self.limits.timeout_seconds,
            max_output=len(times) * width * height * 3,
        )
        count = len(finished.output) // (width * height * 3)
        if not count:
            raise ffmpeg_process.refused(self.container, finished)
        if count < len(times):
            raise MediaError(
                f"no picture at {float(times[count]):.2f} s ({self.container.name})",
                f"the {float(self.header.seconds):.2f} s that its header says",
                "download or encode it anew",
            )
        return np.frombuffer(finished.output, dtype=np.uint8).reshape(count, height, width, 3)


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _decimal(seconds: Fraction) -> str:
    return f"{float(seconds):.6f}"
