"""What a row of data is once it has been read: prompts, answers, language feedback and preferences, all typed.

The names are the method's: prompt x, response y, critique c with its refinement ``advice``, ``refined_response`` y*.
Nothing here reads a file or knows a format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


class Modality(StrEnum):
    """What a media file is."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class MediaReference:
    """Which media a row names, without its content: a path beside the data, or the digest of bytes inside the row.

    Exactly one of ``path`` and ``digest`` is set; ``size`` (bytes) comes with ``digest``.
    """

    modality: Modality
    path: str | None = None
    digest: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.digest is None) or (self.digest is None) != (self.size is None):
            raise ValueError(f"a media reference is a path, or a digest with its size; found {self}")


@dataclass(frozen=True, slots=True)
class PlacedMedia:
    """Media within a turn: they stand before the character ``offset`` of its content."""

    offset: int
    reference: MediaReference


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: its words, and where among them its media stand, in order.

    No word of ``content`` stands for media: a literal ``<image>`` is text.
    """

    role: Role
    content: str
    media: tuple[PlacedMedia, ...] = ()

    def __post_init__(self) -> None:
        offsets = [placed.offset for placed in self.media]
        if offsets != sorted(offsets) or any(not 0 <= offset <= len(self.content) for offset in offsets):
            raise ValueError(
                f"media at {offsets} in a turn of {len(self.content)} characters, expected ascending places"
            )


@dataclass(frozen=True, slots=True)
class Prompt:
    """x: a conversation that ends with a user turn.

    ``constraints`` are opaque JSON objects that travel from the data row to the verifiers.
    """

    id: str
    messages: tuple[Message, ...]
    constraints: tuple[Mapping[str, Any], ...] = ()

    @property
    def media(self) -> tuple[MediaReference, ...]:
        """All that its turns hold, in order."""
        return tuple(placed.reference for message in self.messages for placed in message.media)

    @property
    def text(self) -> str:
        """The last user turn."""
        return self.messages[-1].content


@dataclass(frozen=True, slots=True)
class Rating:
    """One response on one dimension: a score (0 to 3 where the scale is known) and why."""

    dimension: str
    score: int | None
    rationale: str | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses on one dimension. ``preferred`` is None when the annotators named no winner."""

    dimension: str
    preferred: Literal["chosen", "rejected"] | None
    chosen: Rating
    rejected: Rating


@dataclass(frozen=True, slots=True)
class Demonstration:
    """(x, y) to imitate."""

    prompt: Prompt
    response: str
    response_media: tuple[MediaReference, ...] = ()

    @property
    def id(self) -> str:
        """Stable and unique within a data set."""
        return self.prompt.id


@dataclass(frozen=True, slots=True)
class Feedback:
    """(x, y, c): language feedback on one response (arXiv 2412.15838, step I).

    ``advice`` says what to change; it is never a rewritten answer, which is ``refined_response``. ``response_number``
    tells the responses of one row apart where a row holds several.
    """

    prompt: Prompt
    response: str
    critique: str
    advice: str | None
    refined_response: str | None = None
    response_number: int | None = None
    response_media: tuple[MediaReference, ...] = ()
    ratings: tuple[Rating, ...] = ()

    @property
    def id(self) -> str:
        """Stable and unique within a data set: the prompt's id, and the response's number if the row has several."""
        return self.prompt.id if self.response_number is None else f"{self.prompt.id}#{self.response_number}"


@dataclass(frozen=True, slots=True)
class Preference:
    """(x, y+, y-): the chosen response is better than the rejected one."""

    prompt: Prompt
    chosen: str
    rejected: str
    chosen_media: tuple[MediaReference, ...] = ()
    rejected_media: tuple[MediaReference, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    @property
    def id(self) -> str:
        """Stable and unique within a data set."""
        return self.prompt.id


def references_of(record: Prompt | Demonstration | Feedback | Preference) -> Iterator[MediaReference]:
    """All media that ``record`` names."""
    if isinstance(record, Prompt):
        yield from record.media
        return
    yield from record.prompt.media
    if isinstance(record, Preference):
        yield from record.chosen_media
        yield from record.rejected_media
    else:
        yield from record.response_media
