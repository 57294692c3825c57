"""Whether an answer is about what was asked: a cheap second measure beside verifiers, which form alone can satisfy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from ..data.instructions.constraint import Split
from ..data.instructions.registry import FACTS, KINDS
from ..data.instructions.topics import topics
from ..data.records import Prompt

_WORD = re.compile(r"[^\W\d_]{3,}")
_STEM = 5
_FUNCTION_WORDS_TEXT = """
about above after again all also and any are because been before being below between both but can could did does
doing down during each few for from had has have having her here him his how into its itself just let more most much
must not now off once one only other our out over own same shall she should some such than that the their them then
there these they this those through too two under until very was were what when where which while who whom why will
with would you your yours
"""
_FUNCTION_WORDS = frozenset(_FUNCTION_WORDS_TEXT.split())
# Words that say what form an answer should have, or ask for one; they are not what it is about.
_FORM_WORDS_TEXT = """
add answer answers avoid begin bold bullet capital capitals characters comma commas contain describe end ends every
exactly explain fact fewer finish first format give heading include item items json keep last least letter letters
line lines list long lower lowercase make mention name number numbered numbers order paragraph paragraphs phrase
please point points put question quote quotes reply respond response say sentence sentences separate share short
start state tell text thing things thought three title upper uppercase use using without word words write
"""
_FORM_WORDS = frozenset(_FORM_WORDS_TEXT.split())
_STANDS_ALONE = frozenset(kind.kind for kind in (*(kind for kind in KINDS if kind.whole_prompt), *FACTS))


def topic_stems(prompt: Prompt) -> frozenset[str]:
    """Beginnings of words of which an answer to ``prompt`` should contain one; none if it has no topic (a sum,
    a question about an image).

    For a topic of our own instructions its keywords; else the prompt's content words without function words, words
    about form and words that a constraint names.
    """
    if any(constraint.get("kind") in _STANDS_ALONE for constraint in prompt.constraints):
        return frozenset()
    known = [
        (match.start(), stems) for pattern, stems in _topics() if (match := pattern.search(prompt.text.casefold()))
    ]
    if known:
        return min(known, key=lambda found: found[0])[1]
    named = frozenset(stem for constraint in prompt.constraints for stem in _stems_in(constraint))
    words = (word for word in _words(prompt.text) if word not in _FUNCTION_WORDS and word not in _FORM_WORDS)
    return frozenset(word[:_STEM] for word in words) - named


def on_topic(prompt: Prompt, response: str) -> float | None:
    """1 if a word of ``response`` begins with one of the prompt's topic stems, else 0; None without a topic."""
    stems = tuple(topic_stems(prompt))
    return float(any(word.startswith(stems) for word in _words(response))) if stems else None


@cache
def _topics() -> tuple[tuple[re.Pattern[str], frozenset[str]], ...]:
    return tuple(
        (re.compile(rf"\b{re.escape(topic.name.casefold())}\b"), frozenset(topic.keywords))
        for split in Split
        for topic in topics(split)
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _stems_in(value: Any) -> Iterator[str]:
    """Stems of all words in a constraint's parameters (its kind aside)."""
    if isinstance(value, str):
        yield from (word[:_STEM] for word in _words(value))
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name != "kind":
                yield from _stems_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _stems_in(item)
