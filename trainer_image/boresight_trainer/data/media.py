"""Media fields, read as references: a path, or digest and size of the bytes inside the row. Nothing is decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from .records import MediaReference, Message, Modality, PlacedMedia
from .sources import RowError, shown


def media_reference(value: object, modality: Modality, field: str) -> MediaReference:
    """The reference in ``value``: a path, bytes, or ``{"bytes": ..., "path": ...}`` as in the hub's parquet."""
    if isinstance(value, dict) and value.keys() <= {"bytes", "path"}:
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return MediaReference(modality, digest="sha256:" + hashlib.sha256(value).hexdigest(), size=len(value))
    if isinstance(value, str) and value.strip():
        return MediaReference(modality, path=value)
    raise RowError(field, "nothing" if not value else shown(value), f"a path to {modality} or its encoded bytes")


def media_references(value: object, modality: Modality, field: str) -> tuple[MediaReference, ...]:
    """The references in a column of media: one, or a list of them; nothing is none."""
    if value is None:
        return ()
    if not isinstance(value, list):
        return (media_reference(value, modality, field),)
    return tuple(media_reference(item, modality, f"{field}[{index}]") for index, item in enumerate(value))


class MediaSupply:
    """The media that a row holds in columns of their own, given to the places in one conversation that name none."""

    def __init__(self, columns: Mapping[Modality, tuple[str, Sequence[MediaReference]]]) -> None:
        """``columns``: by modality the column's name, and what it holds in order."""
        self._columns = columns
        self._taken = dict.fromkeys(columns, 0)

    def take(self, modality: Modality, named: object, field: str) -> MediaReference:
        """What a part of a content stands for: what it names itself, else the column's next.

        Raises :class:`RowError` if the column has no more.
        """
        if named is not None:
            return media_reference(named, modality, f"{field}.{modality}")
        name, references = self._columns.get(modality, (f"{modality}s", ()))
        taken = self._taken.get(modality, 0)
        if taken == len(references):
            raise RowError(field, f"place {taken + 1} for {modality}", f"{taken}, as many as the column {name} holds")
        self._taken[modality] = taken + 1
        return references[taken]

    def placed(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """``messages``, in which media without a place stand before the words of the last user turn.

        Raises :class:`RowError` if a column has places for some of its media and none for the others.
        """
        left: list[MediaReference] = []
        for modality, (name, references) in self._columns.items():
            taken = self._taken[modality]
            if taken not in (0, len(references)):
                places = f"{taken} place{'s' if taken > 1 else ''} in the messages"
                raise RowError(name, f"{len(references)} {modality} media for {places}", "as many media as places")
            left += references[taken:]
        last = next((i for i in reversed(range(len(messages))) if messages[i].role == "user"), None)
        if last is None or not left:
            return messages
        before = tuple(PlacedMedia(0, reference) for reference in left)
        turn = replace(messages[last], media=before + messages[last].media)
        return (*messages[:last], turn, *messages[last + 1 :])
