"""What a file is, by its first bytes. Its name decides nothing.

A format that is not listed is not read, and no program gets to guess: Pillow and ffmpeg are told the one format that
was recognised. So a playlist, which makes ffmpeg open other files, never reaches the part of it that would.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import MediaError
from .limits import Limits

HEAD_BYTES = 4096
"""As much as recognising needs."""


@dataclass(frozen=True, slots=True)
class Container:
    """A file format, and who reads it."""

    name: str
    """As people call it."""
    pillow: tuple[str, ...] = ()
    """The formats by which Pillow reads it; none of a format that holds streams."""
    demuxer: str = ""
    """The name by which ffmpeg reads it; empty for a picture."""
    indexed: bool = False
    """Whether it says where in it a time is, exactly."""


_JPEG = Container("JPEG", pillow=("JPEG", "MPO"))
_MP4 = Container("MP4 or QuickTime", demuxer="mov", indexed=True)

_PATTERNS: tuple[tuple[bytes, Container], ...] = (
    (rb"\xff\xd8\xff", _JPEG),
    (rb"\x89PNG\r\n\x1a\n", Container("PNG", pillow=("PNG",))),
    (rb"GIF8[79]a", Container("GIF", pillow=("GIF",))),
    (rb"RIFF....WEBP", Container("WebP", pillow=("WEBP",))),
    (rb"BM....\x00\x00\x00\x00", Container("BMP", pillow=("BMP",))),
    (rb"II\x2a\x00|MM\x00\x2a", Container("TIFF", pillow=("TIFF",))),
    (rb"....ftyp(avif|avis)", Container("AVIF", pillow=("AVIF",))),
    (rb"(RIFF|RF64|RIFX)....WAVE", Container("WAV", demuxer="wav")),
    (rb"RIFF....AVI ", Container("AVI", demuxer="avi")),
    (rb"fLaC", Container("FLAC", demuxer="flac")),
    (rb"OggS", Container("Ogg", demuxer="ogg")),
    (rb"FORM....AIF[FC]", Container("AIFF", demuxer="aiff")),
    (rb"....(ftyp|moov|mdat|wide)", _MP4),
    (rb"\x1aE\xdf\xa3", Container("Matroska or WebM", demuxer="matroska", indexed=True)),
    (rb"FLV\x01", Container("FLV", demuxer="flv")),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Container("ASF", demuxer="asf")),
    (rb"G.{187}G.{187}G", Container("MPEG transport stream", demuxer="mpegts")),
    (rb"\x00\x00\x01\xba", Container("MPEG program stream", demuxer="mpeg")),
    (rb"\xff[\xf0\xf1\xf8\xf9]", Container("AAC", demuxer="aac")),
    (rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]", Container("MP3", demuxer="mp3")),
)
_KNOWN = tuple((re.compile(pattern, re.DOTALL), container) for pattern, container in _PATTERNS)

_REFUSED: tuple[tuple[bytes, str, str], ...] = (
    (rb"....ftyp(heic|heix|hevc|mif1|msf1)", "an HEIC picture", "save it as JPEG or PNG"),
    (rb"\s*#EXTM3U|ffconcat version|\s*\[playlist\]", "a playlist", "name the media that it lists, each by itself"),
    (rb"\s*(<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>]*>|\s)*<svg", "an SVG drawing", "render it to PNG"),
    (rb"\s*(<\?xml[^>]*>\s*)?<(MPD|asx|smil)", "a playlist", "name the media that it lists, each by itself"),
    (rb"%PDF|%!PS", "a document", "render its pages to PNG"),
    (rb"version https://git-lfs", "a Git LFS pointer, not the file it stands for", "run `git lfs pull`"),
)
_NO_MEDIA = tuple((re.compile(pattern, re.DOTALL | re.IGNORECASE), what, remedy) for pattern, what, remedy in _REFUSED)


def recognised(head: bytes) -> Container:
    """The format of a file that begins with ``head`` (:data:`HEAD_BYTES` of it, or all).

    Raises :class:`MediaError` if it is none that is read.
    """
    if not head:
        raise MediaError("an empty file", "media", "put the file there again")
    for pattern, what, remedy in _NO_MEDIA:
        if pattern.match(head):
            raise MediaError(what, "media", remedy)
    for pattern, container in _KNOWN:
        if pattern.match(head):
            return container
    text = head[:32].decode(errors="replace")[:24]
    shown = f"text ({text!r})" if _is_text(text) else f"a file that begins with {head[:8].hex(' ')}"
    raise MediaError(shown, "media", "convert it to a format that the documentation lists under Media")


def container_of(path: Path, limits: Limits) -> Container:
    """What the file at ``path`` is. Raises :class:`MediaError`; OSError if it cannot be read."""
    limits.check_bytes(path.stat().st_size)
    with path.open("rb") as stream:
        return recognised(stream.read(HEAD_BYTES))


def _is_text(text: str) -> bool:
    return all((character.isprintable() or character.isspace()) and character != "\ufffd" for character in text)
