"""Language feedback as text: a critique, then advice on what to change, under two headings.

Data in the wild and models write the headings in many ways (case, spaces, bold, another number of #); reading is
tolerant about that and about nothing else. ``##Refinement:`` holds advice here, never a rewritten answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_NAME = r"(?:\*\*[ \t]*)?(?P<{}>critique|refinement)(?:[ \t]*\*\*)?[ \t]*"
_WITH_COLON = r"^[ \t]*(?:#{1,6}[ \t]*)?" + _NAME.format("name") + r"[:：](?:[ \t]*\*\*)?[ \t]*"
_ALONE = r"^[ \t]*#{1,6}[ \t]*" + _NAME.format("alone") + r"$"
_HEADING = re.compile(f"{_WITH_COLON}|{_ALONE}", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LanguageFeedback:
    """c: what is right or wrong with a response, and the advice how to refine it."""

    critique: str
    advice: str


class Unparsable(StrEnum):
    """Why a text is no language feedback."""

    NO_CRITIQUE = "no-critique"
    NO_ADVICE = "no-advice"
    REPEATED_HEADING = "repeated-heading"


def split_language_feedback(text: str) -> tuple[str, str | None] | Unparsable:
    """Critique and, if it is there, advice of ``text``; or why it has no critique.

    What stands before the first heading is the critique if no critique heading follows (models leave it out when the
    request has named it), else it is a preamble and ignored.
    """
    sections: dict[str, str] = {}
    headings = list(_HEADING.finditer(text))
    for heading, following in zip(headings, [*headings[1:], None], strict=False):
        name = (heading["name"] or heading["alone"]).lower()
        if name in sections:
            return Unparsable.REPEATED_HEADING
        sections[name] = text[heading.end() : following.start() if following else len(text)].strip()
    if "critique" not in sections:
        sections["critique"] = text[: headings[0].start() if headings else len(text)].strip()
    if not sections["critique"]:
        return Unparsable.NO_CRITIQUE
    return sections["critique"], sections.get("refinement") or None


def parse_language_feedback(text: str) -> LanguageFeedback | Unparsable:
    """Critique and advice of ``text``, or why it lacks one of them."""
    parts = split_language_feedback(text)
    if isinstance(parts, Unparsable):
        return parts
    critique, advice = parts
    return Unparsable.NO_ADVICE if advice is None else LanguageFeedback(critique, advice)


def format_language_feedback(critique: str, advice: str | None) -> str:
    """The text that a feedback model learns to write. Without advice there is no second heading."""
    text = f"##Critique: {critique.strip()}"
    return text if advice is None else f"{text}\n\n##Refinement: {advice.strip()}"
