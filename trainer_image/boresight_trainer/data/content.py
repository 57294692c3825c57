"""Records whose media are known by content: paths become digests, and bytes that stand in rows are kept.

This comes after rows were chosen, so media that no chosen row names are never read, and what is held out depends on
what stands in the rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ..media.errors import MediaError
from ..media.library import MediaLibrary, digest_of
from ..media.paths import SourcePaths
from .records import Demonstration, Feedback, MediaReference, Message, PlacedMedia, Preference, Prompt, references_of
from .sources import InvalidRow, RawRow, RowError, shown

R = TypeVar("R", Prompt, Demonstration, Feedback, Preference)
Named = tuple[str, MediaReference]
"""A reference, seen from a folder of its source."""
RawRows = Callable[[], Iterable[RawRow | InvalidRow]]
"""Reads the source once more, which is done only for bytes that stand in rows."""


def with_content(
    rows: Sequence[tuple[str, tuple[R, ...]]], library: MediaLibrary, paths: SourcePaths, raw_rows: RawRows
) -> Sequence[tuple[R, ...] | RowError]:
    """For every row, given by its file's folder below the source and its records, the records by content, or what is
    wrong with one of its media.

    The library holds all that the records name then, with headers. Raises OSError.
    """
    named = dict.fromkeys(
        (folder, reference) for folder, records in rows for record in records for reference in references_of(record)
    )
    if not named:
        return [records for _, records in rows]
    known = resolved(named, library, paths, raw_rows)
    results: list[tuple[R, ...] | RowError] = []
    for folder, records in rows:
        try:
            results.append(tuple(_by_content(record, folder, known) for record in records))
        except RowError as error:
            results.append(error)
    return results


def resolved(
    named: Collection[Named], library: MediaLibrary, paths: SourcePaths, raw_rows: RawRows
) -> Mapping[Named, MediaReference | MediaError]:
    """What each reference is by content, entered in ``library``, or what is wrong with it. Raises OSError."""
    _keep_bytes(
        {str(r.digest) for _, r in named if r.digest is not None and r.digest not in library}, library, raw_rows
    )
    found = library.enter({(folder, r.path) for folder, r in named if r.path is not None}, paths)
    known: dict[Named, MediaReference | MediaError] = {}
    for folder, reference in named:
        if reference.path is None:
            known[folder, reference] = reference
            continue
        content = found[folder, reference.path]
        if isinstance(content, MediaError):
            known[folder, reference] = content
        else:
            known[folder, reference] = MediaReference(reference.modality, digest=content.digest, size=content.size)
    wrong = library.inspect(one for one in known.values() if isinstance(one, MediaReference))
    return {key: wrong.get(one, one) if isinstance(one, MediaReference) else one for key, one in known.items()}


def row_error(reference: MediaReference, error: MediaError) -> RowError:
    """What is wrong with a row that names ``reference``."""
    name = shown(reference.path) if reference.path is not None else "bytes in the row"
    return RowError(reference.modality, f"{name}: {error.found}", f"{error.expected}; {error.remedy}")


def _keep_bytes(digests: set[str], library: MediaLibrary, raw_rows: RawRows) -> None:
    if not digests:
        return
    for row in raw_rows():
        for content in _bytes_in(row.values) if isinstance(row, RawRow) else ():
            if (digest := digest_of(content)) in digests:
                library.keep(content, digest)


def _bytes_in(value: object) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _bytes_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _bytes_in(item)


def _by_content(record: R, folder: str, known: Mapping[Named, MediaReference | MediaError]) -> R:
    """Raises :class:`RowError` for a medium that cannot be used."""

    def one(reference: MediaReference) -> MediaReference:
        found = known[folder, reference]
        if isinstance(found, MediaError):
            raise row_error(reference, found)
        return found

    def message(turn: Message) -> Message:
        media = tuple(PlacedMedia(placed.offset, one(placed.reference)) for placed in turn.media)
        return replace(turn, media=media) if media else turn

    def prompt(old: Prompt) -> Prompt:
        return replace(old, messages=tuple(message(turn) for turn in old.messages))

    def every(references: tuple[MediaReference, ...]) -> tuple[MediaReference, ...]:
        return tuple(one(reference) for reference in references)

    if isinstance(record, Prompt):
        return prompt(record)
    if isinstance(record, Preference):
        return replace(
            record,
            prompt=prompt(record.prompt),
            chosen_media=every(record.chosen_media),
            rejected_media=every(record.rejected_media),
        )
    return replace(record, prompt=prompt(record.prompt), response_media=every(record.response_media))
