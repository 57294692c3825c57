"""How the content of a turn reaches a chat template: as a text, or as parts, among which media have places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..data.records import Message, Modality


@dataclass(frozen=True, slots=True)
class Turn:
    """A message as a template takes it."""

    role: str
    texts: tuple[str, ...]
    """Words that the rendering must hold."""
    written: Mapping[str, Any]


class Contents(Protocol):
    """One way to write turns."""

    def turn(self, message: Message) -> Turn:
        """``message`` as a template takes it, its words hidden from special tokens."""
        ...


class Texts:
    """Content is one text, with placeholders where media stand: for templates of text models."""

    def __init__(self, hide: Callable[[str], str], placeholders: Mapping[Modality, str]) -> None:
        self._hide = hide
        self._placeholders = placeholders

    def turn(self, message: Message) -> Turn:
        """See :class:`Contents`."""
        pieces = [
            self._placeholders[piece] if isinstance(piece, Modality) else self._hide(piece)
            for piece in _pieces(message)
        ]
        text = "".join(pieces)
        return Turn(message.role, (text,), {"role": message.role, "content": text})


class Parts:
    """Content is a list of parts, in the form of transformers: the template writes the placeholders itself."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        self._hide = hide

    def turn(self, message: Message) -> Turn:
        """See :class:`Contents`. Templates tell parts by their type, or by a key of its name, so both are there."""
        pieces = [piece if isinstance(piece, Modality) else self._hide(piece) for piece in _pieces(message)]
        parts = [
            {"type": str(piece), str(piece): str(piece)}
            if isinstance(piece, Modality)
            else {"type": "text", "text": piece}
            for piece in pieces
        ]
        texts = tuple(piece for piece in pieces if not isinstance(piece, Modality))
        return Turn(message.role, texts, {"role": message.role, "content": parts})


def _pieces(message: Message) -> Iterator[str | Modality]:
    """The words of a turn with its media among them, in order; a turn without media is its words."""
    start = 0
    for placed in message.media:
        if placed.offset > start:
            yield message.content[start : placed.offset]
        yield placed.reference.modality
        start = placed.offset
    if start < len(message.content) or not message.media:
        yield message.content[start:]
