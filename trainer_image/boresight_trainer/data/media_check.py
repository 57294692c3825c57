"""What ``data check`` says of media: what is wrong with which, how large and long they are, how long decoding takes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from ..media.decode import Decoding, decode
from ..media.errors import MediaError
from ..media.headers import AudioHeader, ImageHeader
from ..media.library import MediaLibrary
from ..media.paths import SourcePaths
from ..media.video import Sampling
from .content import Named, RawRows, resolved, row_error
from .lengths import Lengths
from .records import MediaReference, Modality
from .selection import rank
from .sources import InvalidRow

SAMPLE = 32
"""How many media of a kind are decoded to tell how long all take."""
_TRIAL = Decoding(Sampling(Fraction(2), max_frames=768))


@dataclass(frozen=True)
class MediaSummary:
    """The media of one kind that can be used."""

    named: int
    """Rows that name one, counted for each."""
    distinct: int
    """By content."""
    sizes: dict[str, Lengths]
    """Over the distinct ones: ``bytes``, ``width`` and ``height`` in pixels, ``milliseconds``."""
    decoded: int
    """How many were decoded as a trial."""
    decode_seconds: float
    """How long decoding all distinct ones once takes one core, by that trial; of a video two frames a second."""


@dataclass(frozen=True)
class MediaReport:
    """What :func:`check_media` found."""

    kinds: dict[Modality, MediaSummary]
    errors: tuple[InvalidRow, ...]
    contents: tuple[tuple[str, str], ...]
    """(place, digest) of every medium of every row."""


@dataclass(frozen=True)
class Naming:
    """A row and the media that it names."""

    place: str
    """``<file>:<row number>``."""
    folder: str
    """Of the file, below the source."""
    references: tuple[MediaReference, ...]


@dataclass
class _Found:
    """Where media stand, by content: (place, the reference as the row has it). And what is wrong with others."""

    places: dict[MediaReference, list[tuple[str, MediaReference]]] = field(default_factory=lambda: defaultdict(list))
    errors: list[InvalidRow] = field(default_factory=list)


def check_media(
    rows: Sequence[Naming], library: MediaLibrary, paths: SourcePaths, raw_rows: RawRows, seed: int
) -> MediaReport:
    """Look at all media that ``rows`` name. Raises OSError."""
    named = {(row.folder, reference): None for row in rows for reference in row.references}
    found = _found(rows, resolved(named, library, paths, raw_rows))
    kinds: dict[Modality, MediaSummary] = {}
    for modality in Modality:
        distinct = [reference for reference in found.places if reference.modality is modality]
        if distinct:
            kinds[modality] = _summary(distinct, found, library, seed)
    contents = [(place, str(one.digest)) for one, places in found.places.items() for place, _ in places]
    return MediaReport(kinds, tuple(found.errors), tuple(dict.fromkeys(contents)))


def _found(rows: Sequence[Naming], known: Mapping[Named, MediaReference | MediaError]) -> _Found:
    found = _Found()
    for row in rows:
        for reference in row.references:
            one = known[row.folder, reference]
            if isinstance(one, MediaError):
                found.errors.append(row_error(reference, one).at_place(row.place))
            else:
                found.places[one].append((row.place, reference))
    return found


def _summary(distinct: Sequence[MediaReference], found: _Found, library: MediaLibrary, seed: int) -> MediaSummary:
    sizes: dict[str, list[int]] = defaultdict(list)
    for reference in distinct:
        header = library.header(reference)
        sizes["bytes"].append(reference.size or 0)
        if not isinstance(header, AudioHeader):
            sizes["width"].append(header.width)
            sizes["height"].append(header.height)
        if not isinstance(header, ImageHeader):
            sizes["milliseconds"].append(round(header.seconds * 1000))
    trial = sorted(distinct, key=lambda one: rank("decode", seed, str(one.digest)))[:SAMPLE]
    started = time.perf_counter()
    for reference in trial:
        _try(reference, found, library)
    seconds = (time.perf_counter() - started) / len(trial) * len(distinct)
    return MediaSummary(
        named=sum(len(found.places[reference]) for reference in distinct),
        distinct=len(distinct),
        sizes={name: Lengths.of(values) for name, values in sizes.items()},
        decoded=len(trial),
        decode_seconds=round(seconds, 1),
    )


def _try(reference: MediaReference, found: _Found, library: MediaLibrary) -> None:
    """Decode one medium; if that fails, the rows that name it are invalid."""
    try:
        decode(library.open(str(reference.digest)), library.header(reference), _TRIAL, library.limits)
    except MediaError as error:
        found.errors += [row_error(named, error).at_place(place) for place, named in found.places[reference]]
