"""The dialogues of the method: asking the feedback model for a critique, and the initial model for a refined response.

One place for both, so that training, synthesis and evaluation show a model the same words.
"""

from __future__ import annotations

import re

from boresight_api.enums import RefineFrom
from boresight_api.stages import Templates

from .records import Message, PlacedMedia, Prompt

_SLOT = re.compile(r"\{(prompt|response|critique)\}")
_BETWEEN_TURNS = "\n\n"


def fill(template: str, **values: str) -> str:
    """Replace ``{prompt}``, ``{response}`` and ``{critique}`` in one pass: braces inside the values stay."""
    return _SLOT.sub(lambda match: values.get(match[1], match[0]), template)


def prompt_text(prompt: Prompt) -> str:
    """The prompt x as one text: the user's words, or for several turns the conversation with its roles."""
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return _BETWEEN_TURNS.join(f"{message.role}: {message.content}" for message in prompt.messages)


def critique_messages(prompt: Prompt, response: str, templates: Templates) -> tuple[Message, ...]:
    """What the feedback model sees: one user turn with x and y; its turn is the critique c."""
    request = fill(templates.critique_request, prompt=prompt_text(prompt), response=response)
    return (Message("user", request, _placed_in(templates.critique_request, prompt, response=response)),)


def refinement_messages(
    prompt: Prompt, response: str, critique: str, templates: Templates, refine_from: RefineFrom
) -> tuple[Message, ...]:
    """What the initial model sees when it refines: x, y and c (or x and c); its turn is y*."""
    request = fill(templates.refinement_request, prompt=prompt_text(prompt), response=response, critique=critique)
    if refine_from is RefineFrom.CRITIQUE:
        *earlier, last = prompt.messages
        return (*earlier, Message("user", f"{last.content}\n\n{request}", last.media))
    return (*prompt.messages, Message("assistant", response), Message("user", request))


def _placed_in(template: str, prompt: Prompt, **values: str) -> tuple[PlacedMedia, ...]:
    """The prompt's media where a filled template first has the prompt's words; before all else if it never does."""
    before, found, _ = template.partition("{prompt}")
    start = len(fill(before, **values)) if found else 0
    return tuple(
        PlacedMedia(start + begins + placed.offset if found else 0, placed.reference)
        for message, begins in zip(prompt.messages, _beginnings(prompt), strict=True)
        for placed in message.media
    )


def _beginnings(prompt: Prompt) -> list[int]:
    """Where in :func:`prompt_text` the content of each turn begins."""
    if len(prompt.messages) == 1:
        return [0]
    beginnings, place = [], 0
    for message in prompt.messages:
        beginnings.append(place + len(f"{message.role}: "))
        place = beginnings[-1] + len(message.content) + len(_BETWEEN_TURNS)
    return beginnings
