"""A media file by its content, and where what it shows comes from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from boresight_api.base import sha256_hex

from ..records import MediaReference, Modality

FOLDER = "media"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a medium comes from, and what its licence is."""

    name: str
    origin: str
    license: str


RENDERED = Source("rendered", "made by the program that wrote this folder", "Apache-2.0")


@dataclass(frozen=True)
class Medium:
    """An encoded image, sound or video. ``keys`` name all that decides its side of the split."""

    modality: Modality
    extension: str
    content: bytes
    keys: tuple[str, ...]
    source: Source

    @cached_property
    def path(self) -> str:
        """Below the data set's folder. Two media with the same content are one file."""
        return f"{FOLDER}/{sha256_hex(self.content)}.{self.extension}"

    @property
    def reference(self) -> MediaReference:
        """How a row names it."""
        return MediaReference(self.modality, path=self.path)
