"""Values of a row, checked: text is text, a conversation is a conversation. Everything else is a :class:`RowError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from .language_feedback import Unparsable, split_language_feedback
from .media import MediaSupply
from .records import Message, Modality, PlacedMedia, Role
from .sources import RowError, shown

_ROLES = get_args(Role)
_MODALITIES = tuple(modality.value for modality in Modality)
_UNPARSABLE = {
    Unparsable.NO_CRITIQUE: "no critique",
    Unparsable.REPEATED_HEADING: "a heading twice",
}


def text_of(value: object, field: str) -> str:
    """``value`` if it is text with something in it."""
    if not isinstance(value, str):
        raise RowError(field, "nothing" if value is None else shown(value), "text")
    if not value.strip():
        raise RowError(field, "empty text", "text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RowError(field, f"half a surrogate pair at character {error.start + 1}", "valid Unicode") from error
    return value


def messages_of(value: object, field: str, supply: MediaSupply) -> tuple[Message, ...]:
    """``value`` if it is a chat: ``[{"role": "user", "content": "..."}, ...]``, a system message only first.

    A content may be a list of parts: ``{"type": "text", "text": "..."}``, and media as ``{"type": "image", "image":
    "a.png"}``, or without a file, which stands for the next one of the row's own column (``supply``).
    """
    if not isinstance(value, list) or not value:
        raise RowError(field, shown(value), "a list of chat messages")
    messages = tuple(_message(item, f"{field}[{index}]", supply) for index, item in enumerate(value))
    for index, message in enumerate(messages[1:], start=1):
        if message.role == "system":
            raise RowError(f"{field}[{index}].role", '"system"', "a system message only at the start")
    return supply.placed(messages)


def prompt_of(value: object, field: str, supply: MediaSupply) -> tuple[Message, ...]:
    """``value`` as a prompt: text, which is one user turn, or a chat that ends with a user turn."""
    if not isinstance(value, list):
        return supply.placed((Message("user", text_of(value, field)),))
    return ending_with_user(messages_of(value, field, supply), field)


def ending_with_user(messages: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    """``messages`` if a user has the last word."""
    if not messages or messages[-1].role != "user":
        found = f"the {messages[-1].role}'s message at the end" if messages else "no message"
        raise RowError(field, found, "the user's at the end of the prompt")
    return messages


def constraints_of(value: object, field: str) -> tuple[Mapping[str, Any], ...]:
    """``value`` if it is a list of JSON objects; nothing means no constraints."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowError(field, shown(value), "a list of JSON objects")
    return tuple(value)


def critique_of(value: object, field: str) -> tuple[str, str | None]:
    """Critique and advice of one text. The advice under ``##Refinement:`` may be missing, the critique may not."""
    text = text_of(value, field)
    feedback = split_language_feedback(text)
    if isinstance(feedback, Unparsable):
        raise RowError(
            field, f"{_UNPARSABLE[feedback]} in {shown(text)}", "a critique, or ##Critique: ... ##Refinement: ..."
        )
    return feedback


def _message(value: object, field: str, supply: MediaSupply) -> Message:
    if not isinstance(value, dict) or not {"role", "content"} <= value.keys():
        raise RowError(field, shown(value), 'an object with "role" and "content"')
    role, content, field_of_content = value["role"], value["content"], f"{field}.content"
    if role not in _ROLES:
        raise RowError(f"{field}.role", shown(role), f"one of {', '.join(_ROLES)}")
    if not isinstance(content, list):
        return Message(role, text_of(content, field_of_content))
    text, media = _parts(content, field_of_content, supply)
    if media and role != "user":
        raise RowError(field_of_content, f"{media[0].reference.modality} in the {role}'s message", "media of the user")
    if not media:
        text = text_of(text, field_of_content)
    return Message(role, text, media)


def _parts(content: list[Any], field: str, supply: MediaSupply) -> tuple[str, tuple[PlacedMedia, ...]]:
    """The words of a content of parts, one after the other, and the media among them."""
    text, media = "", []
    for index, part in enumerate(content):
        here = f"{field}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            text += text_of(part.get("text"), f"{here}.text")
        elif kind in _MODALITIES:
            modality = Modality(kind)
            media.append(PlacedMedia(len(text), supply.take(modality, part.get(modality.value), here)))
        else:
            raise RowError(here, shown(part), f'an object whose "type" is text, {", ".join(_MODALITIES)}')
    return text, tuple(media)
