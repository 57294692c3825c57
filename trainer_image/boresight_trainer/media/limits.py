"""How much of a medium is read at most: held against headers before anything is decoded, and while it is."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import MediaError


@dataclass(frozen=True, slots=True)
class Limits:
    """What one medium may have. The defaults let through what cameras and recorders make, and no bomb."""

    bytes: int = 2 << 30
    """Encoded."""
    decoded_bytes: int = 4 << 30
    """Decoded: pixels, or samples, of everything that is asked for at once."""
    pixels: int = 100_000_000
    """Of a picture, or of one frame of a video."""
    seconds: float = 4 * 3600.0
    """Of audio or video."""
    frames: int = 4096
    """Sampled from one video."""
    timeout_seconds: float = 300.0
    """For reading or decoding one medium."""

    def check_bytes(self, size: int) -> None:
        """Raises :class:`MediaError` for a medium of ``size`` encoded bytes if that is too much."""
        if size > self.bytes:
            raise MediaError(f"{size} bytes", f"at most {self.bytes}", "encode it smaller, or leave it out")

    def check_decoded_bytes(self, size: int) -> None:
        """Raises :class:`MediaError` if ``size`` bytes, decoded, are too much."""
        if size > self.decoded_bytes:
            raise MediaError(
                f"{size} bytes once decoded", f"at most {self.decoded_bytes}", "scale it down, or sample fewer frames"
            )

    def check_pixels(self, width: int, height: int) -> None:
        """Raises :class:`MediaError` for a picture of that size if it has too many pixels."""
        if width * height > self.pixels:
            raise MediaError(f"{width} x {height} pixels", f"at most {self.pixels} pixels", "scale it down")

    def check_seconds(self, seconds: float) -> None:
        """Raises :class:`MediaError` for audio or video that lasts too long."""
        if seconds > self.seconds:
            raise MediaError(f"{seconds:.2f} s", f"at most {self.seconds:.0f} s", "cut it")

    def check_frames(self, frames: int) -> None:
        """Raises :class:`MediaError` for more frames than may be sampled from one video."""
        if frames > self.frames:
            raise MediaError(f"{frames} frames asked for", f"at most {self.frames}", "sample fewer frames a second")
