"""One way to decode whatever a header describes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .audio import decode_audio
from .errors import MediaError
from .headers import AudioHeader, Header, ImageHeader
from .images import decode_image
from .limits import Limits
from .video import Sampling, decode_video

Arrays = Mapping[str, NDArray[Any]]
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
