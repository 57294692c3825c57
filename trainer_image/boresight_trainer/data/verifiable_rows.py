"""Rows about prompts, with media or without, whose answers a program can verify; the same ones give the same rows.

They are what :mod:`boresight_trainer.data.jsonl` reads, column by column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from boresight_api.enums import RefineFrom
from boresight_api.stages import Templates

from .dialogues import refinement_messages
from .instructions.constraint import Constraint
from .instructions.critiques import RuleFeedback, write_feedback
from .instructions.verifiers import verify
from .language_feedback import format_language_feedback
from .records import MediaReference, Message, PlacedMedia, Prompt

Row = dict[str, Any]


class Asked(Protocol):
    """x: its words, the media before them, and what a program can verify about answers."""

    @property
    def prompt(self) -> str:
        """The words."""

    @property
    def media(self) -> tuple[MediaReference, ...]:
        """What stands before the words: paths beside the data."""

    @property
    def constraints(self) -> Sequence[Constraint]:
        """All that a good answer satisfies."""

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the rows say about the prompt beside all that."""


def prompt_row(row_id: str, asked: Asked, **meta: str) -> Row:
    """x with its constraints. ``meta`` carries what the answer is about, for measures beside the verifiers."""
    return _opening(row_id, asked) | _closing(asked, **meta)


def response_row(row_id: str, asked: Asked, response: str, **meta: str) -> Row:
    """(x, y, c), the critique and its advice written by rule."""
    feedback = feedback_on(asked, response)
    said = {"response": response, "critique": feedback.critique, "advice": feedback.advice}
    return _opening(row_id, asked) | said | _closing(asked, **meta)


def pair_row(row_id: str, asked: Asked, chosen: str, rejected: str, **meta: str) -> Row:
    """(x, y+, y-)."""
    return _opening(row_id, asked) | {"chosen": chosen, "rejected": rejected} | _closing(asked, **meta)


def answered_row(row_id: str, asked: Asked, response: str) -> Row:
    """(x, y) to imitate."""
    return _conversation(row_id, asked, [*_messages(asked), Message("assistant", response)])


def refinement_row(row_id: str, asked: Asked, response: str, refined: str, templates: Templates) -> Row:
    """A refinement dialogue x, y, c, y*."""
    feedback = feedback_on(asked, response)
    messages = refinement_messages(
        Prompt(row_id, _messages(asked)),
        response,
        format_language_feedback(feedback.critique, feedback.advice),
        templates,
        RefineFrom.RESPONSE_AND_CRITIQUE,
    )
    return _conversation(row_id, asked, [*messages, Message("assistant", refined)])


def feedback_on(asked: Asked, response: str) -> RuleFeedback:
    """What the rules say about ``response``."""
    return write_feedback(asked.prompt, constraints_of(asked), response)


def satisfies(asked: Asked, response: str) -> bool:
    """Whether ``response`` satisfies all constraints."""
    return all(verify(constraints_of(asked), response))


def constraints_of(asked: Asked) -> list[dict[str, str | int]]:
    """The constraints as they stand in a row."""
    return [constraint.to_json() for constraint in asked.constraints]


def _opening(row_id: str, asked: Asked) -> Row:
    return {"id": row_id, "prompt": asked.prompt} | _columns(asked)


def _closing(asked: Asked, **meta: str) -> Row:
    return {"constraints": constraints_of(asked), "meta": {**asked.meta, **meta}}


def _columns(asked: Asked) -> Row:
    """The media by column."""
    columns: dict[str, list[str | None]] = {}
    for reference in asked.media:
        columns.setdefault(f"{reference.modality}s", []).append(reference.path)
    return dict(columns)


def _messages(asked: Asked) -> tuple[Message, ...]:
    return (Message("user", asked.prompt, tuple(PlacedMedia(0, reference) for reference in asked.media)),)


def _conversation(row_id: str, asked: Asked, messages: Sequence[Message]) -> Row:
    return {"id": row_id, "messages": [_turn(message) for message in messages]} | _columns(asked) | _closing(asked)


def _turn(message: Message) -> Row:
    """A turn; with media its content is a list of parts, whose media stand for those of the row's columns."""
    if not message.media:
        return {"role": message.role, "content": message.content}
    parts: list[Row] = []
    begin = 0
    for placed in message.media:
        parts += _text_part(message.content[begin : placed.offset])
        parts.append({"type": placed.reference.modality.value})
        begin = placed.offset
    return {"role": message.role, "content": [*parts, *_text_part(message.content[begin:])]}


def _text_part(text: str) -> list[Row]:
    return [{"type": "text", "text": text}] if text else []
