"""Conversations with media as token ids: each placeholder of the chat template expanded to its number of tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from boresight_api.outcome import FailureClass, StageFailure

from ...data.records import MediaReference, Message
from ..chat import ChatTokenizer
from ..medium import MediaSpan, Medium, Shape
from .family import Expansion

Finder = Callable[[MediaReference], tuple[str, Shape]]
"""Finds the digest of a medium's content, and its shape."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt up to where the assistant's words begin, its media expanded."""

    ids: tuple[int, ...]
    media: tuple[MediaSpan, ...]


class MediaChat:
    """A chat whose prompts may hold media, as far as its model's family takes them; a model of text refuses all."""

    def __init__(self, chat: ChatTokenizer, find: Finder) -> None:
        self.chat = chat
        self._find = find
        expansion = Expansion() if chat.family is None else chat.family.expansion
        self._before = tuple(map(chat.special_id, expansion.before))
        self._after = tuple(map(chat.special_id, expansion.after))

    def prompt(self, row: str, messages: Sequence[Message]) -> EncodedPrompt:
        """A conversation that ends with a user turn. ``row`` names it in failures.

        Raises :class:`StageFailure` (InvalidData) if the template's placeholders are not as many as the media, or a
        medium is one that the model cannot take.
        """
        self.chat.check_media(messages)
        return self._expanded(row, messages, self.chat.marked_prompt_ids(messages))

    def conversation(self, row: str, messages: Sequence[Message], response: str) -> tuple[EncodedPrompt, list[int]]:
        """The prompt, and the scored turn that continues it with its terminator last. Raises as :meth:`prompt` does."""
        self.chat.check_media(messages)
        prompt_ids, response_ids = self.chat.marked_conversation_ids(messages, response)
        return self._expanded(row, messages, prompt_ids), response_ids

    def _expanded(self, row: str, messages: Sequence[Message], ids: Sequence[int]) -> EncodedPrompt:
        references = [placed.reference for message in messages for placed in message.media]
        self._check_places(row, references, ids)
        waiting = {
            token: iter([reference for reference in references if reference.modality == modality])
            for modality, token in self.chat.placeholders.items()
        }
        expanded: list[int] = []
        spans: list[MediaSpan] = []
        for token in ids:
            if token not in waiting:
                expanded.append(token)
                continue
            medium = self._medium(row, next(waiting[token]))
            expanded.extend(self._before)
            spans.append(MediaSpan(len(expanded), medium))
            expanded.extend([token] * medium.num_tokens)
            expanded.extend(self._after)
        return EncodedPrompt(tuple(expanded), tuple(spans))

    def _check_places(self, row: str, references: Sequence[MediaReference], ids: Sequence[int]) -> None:
        media, tokens = Counter(reference.modality for reference in references), Counter(ids)
        for modality, token in self.chat.placeholders.items():
            if tokens[token] != media[modality]:
                raise StageFailure(
                    FailureClass.INVALID_DATA,
                    f"row {row}: found {tokens[token]} places for {media[modality]} {modality} media in the rendered "
                    f"prompt, expected as many; the chat template of model {self.chat.name} drops or repeats media. "
                    "Set model.chatTemplate to one that writes each of them once",
                )

    def _medium(self, row: str, reference: MediaReference) -> Medium:
        family = self.chat.family
        assert family is not None, "a chat without a family has no placeholders"
        try:
            return family.medium(*self._find(reference))
        except ValueError as error:
            name = reference.path or reference.digest
            raise StageFailure(
                FailureClass.INVALID_DATA, f"row {row}: {reference.modality} {name} cannot be used: {error}"
            ) from error
