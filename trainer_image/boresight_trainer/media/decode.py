"""One way to decode whatever a header describes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .audio import decode_audio
from .cache import ArrayCache, Arrays
from .errors import MediaError
from .headers import AudioHeader, Header, ImageHeader
from .images import decode_image
from .limits import Limits
from .video import Sampling, decode_video

VERSION = 1
"""Of what decoding gives: raised when it gives something else for the same medium."""
_SMALL = (16, 16)


@dataclass(frozen=True, slots=True)
class Decoding:
    """What is wanted of a medium."""

    sampling: Sampling
    """Frames of a video."""
    size: tuple[int, int] | None = None
    """(width, height) of a video's frames; None: as they are."""


def decode(path: Path, header: Header, decoding: Decoding, limits: Limits) -> Arrays:
    """The medium in arrays by name.

    ``pixels`` of an image (uint8 [height, width, 3]) and of a video (uint8 [frames, height, width, 3]), whose
    ``seconds`` (float64 [frames]) say when; ``samples`` of a sound (float32 [samples]). Raises :class:`MediaError`;
    OSError if the file cannot be read.
    """
    if isinstance(header, ImageHeader):
        pixels = decode_image(path, limits)
        if pixels.shape[:2] != (header.height, header.width):
            found = f"{pixels.shape[1]} x {pixels.shape[0]} pixels"
            raise MediaError(found, f"the {header.width} x {header.height} of its header", "save it anew")
        return {"pixels": pixels}
    if isinstance(header, AudioHeader):
        return {"samples": decode_audio(path, header, limits)}
    frames = decode_video(path, header, decoding.sampling, limits, size=decoding.size)
    return {"pixels": frames.pixels, "seconds": frames.seconds}


def verify(path: Path, header: Header, limits: Limits) -> None:
    """Decode the medium to its end and forget it; of a video a frame a second, small. Raises :class:`MediaError`."""
    decode(path, header, Decoding(Sampling(Fraction(1), limits.frames), size=_SMALL), limits)


@dataclass(frozen=True, slots=True)
class Request:
    """A medium to decode, for a process that has no library."""

    digest: str
    path: Path
    header: Header
    decoding: Decoding


@dataclass(frozen=True, slots=True)
class Decoder:
    """Decodes requests, in whatever process, and looks into the cache first."""

    limits: Limits
    cache: ArrayCache | None

    def __call__(self, request: Request) -> Arrays:
        """As :func:`decode`."""

        def make() -> Arrays:
            return decode(request.path, request.header, request.decoding, self.limits)

        if self.cache is None:
            return make()
        parameters = {
            "version": VERSION,
            "header": repr(request.header),
            "decoding": None if isinstance(request.header, ImageHeader | AudioHeader) else repr(request.decoding),
        }
        return self.cache.arrays(request.digest, parameters, make)
