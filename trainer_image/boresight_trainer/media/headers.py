"""What is known of a medium before anything of it is decoded: enough to plan with, exactly.

Whoever decodes a medium delivers what its header promised, or fails. So a plan made from headers alone counts right.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

SAMPLE_RATE = 16_000
"""Of all decoded audio, in samples a second."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """A picture."""

    width: int
    height: int
    """As it is shown, after the rotation that EXIF asks for."""
    orientation: int
    """EXIF's, 1 to 8; 1 is upright."""
    frames: int
    """More than one in an animation, of which the first is used."""
    mode: str
    """How its pixels are stored, as Pillow names it: ``RGB``, ``CMYK``, ``I;16``, ..."""


@dataclass(frozen=True, slots=True)
class AudioHeader:
    """Sound."""

    seconds: Fraction
    """In hundredths."""
    rate: int
    """Samples a second, as stored."""
    channels: int

    @property
    def samples(self) -> int:
        """How many there are once it is decoded, at :data:`SAMPLE_RATE`."""
        return max(1, round(self.seconds * SAMPLE_RATE))


@dataclass(frozen=True, slots=True)
class VideoHeader:
    """Moving pictures; a sound track is another medium of the same file."""

    width: int
    height: int
    """As it is shown, after the rotation that the file asks for."""
    seconds: Fraction
    """In hundredths."""
    fps: Fraction
    """Frames a second on average."""
    rotation: int
    """Clockwise, as the file asks for: 0, 90, 180 or 270."""


Header = ImageHeader | AudioHeader | VideoHeader
