"""Headers of media files, read without decoding what follows them."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from ..data.records import Modality
from . import ffmpeg_process as ffmpeg
from .containers import Container, container_of
from .errors import MediaError
from .headers import AudioHeader, Header, VideoHeader
from .images import image_header
from .limits import Limits

# ffmpeg describes a file on stderr. Lines about streams are indented by two characters and what a file says of itself
# by four or more, so no title can pass for a stream.
_DURATION = re.compile(r"^  Duration: (?:(\d+):(\d\d):(\d\d)\.(\d\d)|N/A)", re.MULTILINE)
_STREAM = re.compile(r"^  Stream #0:\d+\S*: (Video|Audio): (.*)$", re.MULTILINE)
_SIZE = re.compile(r", (\d+)x(\d+)[ ,]")
_FPS = re.compile(r", ([\d.]+)(k?) (fps|tbr)\b")
_RATE = re.compile(r", (\d+) Hz, ([^,]+)")
_ROTATION = re.compile(r"^      display ?matrix: rotation of (-?[\d.]+) degrees", re.MULTILINE | re.IGNORECASE)
_GUESSED = "Estimating duration from bitrate"
_END = re.compile(r"^out_time_us=(\d+)$", re.MULTILINE)
_LAYOUTS = {"mono": 1, "stereo": 2, "downmix": 2, "binaural": 2, "quad": 4, "hexagonal": 6, "octagonal": 8, "cube": 8}
_NTSC = {Fraction(rate * 1000, 1001) for rate in (12, 15, 24, 30, 48, 60, 120)}
_MAX_FPS = 1000


def header_of(path: Path, modality: Modality, limits: Limits) -> Header:
    """The header of the file at ``path``, which is to be a ``modality``.

    Audio may be taken out of a video. Raises :class:`MediaError` if the file is no ``modality``, is damaged or over the
    limits; OSError if it cannot be read.
    """
    container = container_of(path, limits)
    if modality is Modality.IMAGE:
        if not container.pillow:
            raise _other_kind(_streams_of(path, container, limits).kind, container, modality)
        return image_header(path, container, limits)
    if container.pillow:
        raise _other_kind(Modality.IMAGE, container, modality)
    streams = _streams_of(path, container, limits)
    if modality is Modality.AUDIO:
        return streams.audio_header()
    return streams.video_header()


class _Streams:
    """What ffmpeg says of a file."""

    def __init__(self, path: Path, container: Container, limits: Limits, text: str) -> None:
        self._path = path
        self._container = container
        self._limits = limits
        self._text = text
        found = [(match[1], match[2], match.start()) for match in _STREAM.finditer(text)]
        self._audio = [line for kind, line, _ in found if kind == "Audio"]
        # The cover of an album is a picture beside the sound, and no video.
        self._video = [(line, at) for kind, line, at in found if kind == "Video" and "(attached pic)" not in line]

    @property
    def empty(self) -> bool:
        return not self._video and not self._audio

    @property
    def kind(self) -> Modality:
        """What a file is that is not empty; a video may have sound."""
        return Modality.VIDEO if self._video else Modality.AUDIO

    def audio_header(self) -> AudioHeader:
        if not self._audio:
            raise MediaError(
                f"a video without sound ({self._container.name})", "audio", "name a file with a sound track"
            )
        match = _RATE.search(self._audio[0])
        if match is None or not int(match[1]):
            raise self._damaged("audio without a sample rate")
        channels = _channels(match[2])
        if channels is None:
            raise self._damaged(f"channels that are not known ({match[2]})")
        return AudioHeader(self._seconds("a:0"), int(match[1]), channels)

    def video_header(self) -> VideoHeader:
        if not self._video:
            raise _other_kind(self.kind, self._container, Modality.VIDEO)
        line, at = self._video[0]
        size, fps = _SIZE.search(f"{line},"), _FPS.search(line)
        if size is None or not int(size[1]) or not int(size[2]):
            raise self._damaged("a video without frames")
        width, height = int(size[1]), int(size[2])
        self._limits.check_pixels(width, height)
        rotation = self._rotation(at)
        if rotation in (90, 270):
            width, height = height, width
        rate = _exact(Fraction(fps[1]) * (1000 if fps[2] else 1)) if fps else Fraction(0)
        if not 0 < rate <= _MAX_FPS:
            raise self._damaged("a video without a frame rate" if fps is None else f"{float(rate):g} frames a second")
        return VideoHeader(width, height, self._seconds("v:0"), rate, rotation)

    def _rotation(self, start: int) -> int:
        """Clockwise, from what stands between this stream and the next; ffmpeg counts the other way round."""
        following = _STREAM.search(self._text, start + 1)
        match = _ROTATION.search(self._text, start, following.start() if following else len(self._text))
        return round(-float(match[1]) / 90) * 90 % 360 if match else 0

    def _seconds(self, stream: str) -> Fraction:
        match = _DURATION.search(self._text)
        if match is None:
            raise self._damaged("no duration")
        if match[1] is None or _GUESSED in self._text:
            seconds = _measured(self._path, self._container, stream, self._limits)
        else:
            hours, minutes, whole, hundredths = (int(match[group]) for group in range(1, 5))
            seconds = Fraction(((hours * 60 + minutes) * 60 + whole) * 100 + hundredths, 100)
        if seconds <= 0:
            raise self._damaged("no samples" if stream == "a:0" else "a video without frames")
        self._limits.check_seconds(float(seconds))
        return seconds

    def _damaged(self, found: str) -> MediaError:
        return MediaError(f"{found} ({self._container.name})", "a whole file", "encode it anew, or leave it out")


def _streams_of(path: Path, container: Container, limits: Limits) -> _Streams:
    finished = ffmpeg.run(ffmpeg.opening(path, container, limits), timeout_seconds=limits.timeout_seconds, max_output=0)
    if _DURATION.search(finished.messages) is None:
        raise ffmpeg.refused(container, finished)
    streams = _Streams(path, container, limits, finished.messages)
    if streams.empty:
        raise MediaError(
            f"a file without frames or sound ({container.name})", "a whole file", "encode it anew, or leave it out"
        )
    return streams


def _measured(path: Path, container: Container, stream: str, limits: Limits) -> Fraction:
    """Seconds of a file whose header does not say them, as recorders that stream leave it: its packets are gone through
    without being decoded."""
    finished = ffmpeg.run(
        [
            *("-v", "error", *ffmpeg.opening(path, container, limits)),
            *("-map", f"0:{stream}", "-c", "copy", "-f", "null", "-progress", "pipe:1", "-"),
        ],
        timeout_seconds=limits.timeout_seconds,
        max_output=1 << 24,
    )
    ends = _END.findall(str(finished.output, errors="replace"))
    return Fraction(int(ends[-1]) // 10_000, 100) if ends else Fraction(0)


def _exact(fps: Fraction) -> Fraction:
    """The frame rate that ffmpeg has rounded to two digits."""
    return next((rate for rate in _NTSC if abs(rate - fps) < Fraction(1, 100)), fps)


def _channels(layout: str) -> int | None:
    """How many channels ``5.1(side)``, ``quad`` or ``3 channels (FL+FR+LFE)`` are; None if that is not known."""
    name = layout.split("(")[0].strip()
    if re.fullmatch(r"\d+(\.\d+)+", name):
        return sum(int(number) for number in name.split("."))
    number = re.fullmatch(r"(\d+) channels", name)
    return int(number[1]) if number else _LAYOUTS.get(name)


def _other_kind(found: Modality, container: Container, expected: Modality) -> MediaError:
    return MediaError(
        f"{_article(found)} ({container.name})",
        _article(expected),
        f"put it where {found} belongs, or name another file",
    )


def _article(modality: Modality) -> str:
    return {Modality.IMAGE: "an image", Modality.AUDIO: "audio", Modality.VIDEO: "a video"}[modality]
