"""The form of an answer: lists, JSON, headings, parts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from random import Random
from typing import Self

from .. import text
from ..constraint import Aspect, Finding, InstructionKind, Pool, Split, plain_if

_LAYOUT = frozenset({Aspect.LAYOUT, Aspect.OPENING, Aspect.ENDING, Aspect.LENGTH})
_KEYS = Pool(train=("answer", "text", "reply", "summary"), evaluation=("response", "result", "content"))


@dataclass(frozen=True)
class Bullets(InstructionKind):
    """Exactly so many bullet points."""

    count: int

    kind = "bullets"
    claims = _LAYOUT
    cues = r"\bbullet"
    requests = Pool(
        train=("Answer with exactly {count} bullet points.", "Use {count} bullet points, one a line."),
        evaluation=("Give a bulleted list with {count} items.", "The answer must be {count} bullet points."),
    )
    advices = ('Write {count} bullet points, each starting with "- ".', "Make it {count} bullet points.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 numbers belong to both sides
        return cls(rng.choice((2, 3)))

    def examine(self, response: str) -> Finding:
        count = len(text.bullets(response))
        return Finding(count == self.count, f"has {text.plural(count, 'bullet point')} (asked: {self.count})")

    def follow(self, response: str) -> str | None:
        if self.examine(response).satisfied:
            return response.strip()
        edited = "\n".join(f"- {part}" for part in _parts(response, self.count))
        return plain_if(self.examine(edited).satisfied, edited)


@dataclass(frozen=True)
class NumberedList(InstructionKind):
    """Exactly so many numbered items."""

    count: int

    kind = "numbered_list"
    claims = _LAYOUT
    cues = r"\bnumbered"
    requests = Pool(
        train=("Answer with a numbered list of exactly {count} items.", "Number your {count} points 1., 2., ..."),
        evaluation=("Give {count} numbered items, one a line.",),
    )
    advices = ('Write {count} numbered items, "1. ", "2. " and so on.', "Make it a numbered list of {count} items.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 numbers belong to both sides
        return cls(rng.choice((2, 3)))

    def examine(self, response: str) -> Finding:
        count = len(text.numbered(response))
        return Finding(count == self.count, f"has {text.plural(count, 'numbered item')} (asked: {self.count})")

    def follow(self, response: str) -> str | None:
        if self.examine(response).satisfied:
            return response.strip()
        parts = enumerate(_parts(response, self.count), start=1)
        edited = "\n".join(f"{number}. {part}" for number, part in parts)
        return plain_if(self.examine(edited).satisfied, edited)


@dataclass(frozen=True)
class JsonObject(InstructionKind):
    """A JSON object with one given key and a text as its value; a code fence around it is no harm."""

    key: str

    kind = "json_object"
    claims = _LAYOUT | {Aspect.MARKS, Aspect.CASING, Aspect.PUNCTUATION}
    cues = r"\bJSON\b"
    requests = Pool(
        train=('Answer as a JSON object with the key "{key}".', 'Write JSON: one object with the key "{key}".'),
        evaluation=(
            'Reply with JSON that has the single key "{key}".',
            'The format is a JSON object with the key "{key}".',
        ),
    )
    advices = ('Write {{"{key}": "..."}} and nothing else.', 'Put the answer into JSON as {{"{key}": "..."}}.')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_KEYS.of(split)))

    def examine(self, response: str) -> Finding:
        try:
            value = json.loads(text.unfenced(response))
        except ValueError:
            return Finding(False, "is not valid JSON")
        if not isinstance(value, dict) or set(value) != {self.key}:
            return Finding(False, f'is JSON but not an object with only the key "{self.key}"')
        if not isinstance(value[self.key], str) or not value[self.key].strip():
            return Finding(False, f'is JSON but has no text under "{self.key}"')
        return Finding(True, f'is JSON with the key "{self.key}"')

    def follow(self, response: str) -> str | None:
        done = plain_if(self.examine(response).satisfied, response)
        return done or json.dumps({self.key: text.prose(response)}, ensure_ascii=False)


@dataclass(frozen=True)
class Heading(InstructionKind):
    """A Markdown heading in the first line, text below."""

    kind = "heading"
    claims = frozenset({Aspect.OPENING, Aspect.LAYOUT})
    cues = r"\bheading\b"
    requests = Pool(
        train=(
            'Put a Markdown heading ("# ...") above the answer.',
            'Start with a heading line that begins with "# ".',
        ),
        evaluation=('Give it a Markdown heading ("# ...") in the first line.',),
    )
    advices = ('Put a heading such as "# Topic" in the first line.', 'Add a line "# ..." as heading above the text.')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        lines = [line for line in text.plain(response).split("\n") if line.strip()]
        has = len(lines) > 1 and re.match(r"#{1,6} +\S", lines[0]) is not None
        return Finding(has, f"{'has' if has else 'lacks'} a heading")

    def follow(self, response: str) -> str | None:
        if self.examine(response).satisfied:
            return response.strip()
        title = " ".join(text.upper_first(word) for word in text.longest_words(response, 1))
        return f"# {title}\n{text.prose(response)}" if title else None


@dataclass(frozen=True)
class Title(InstructionKind):
    """A title in double angle brackets."""

    kind = "title"
    claims = frozenset({Aspect.OPENING})
    cues = r"\btitle\b"
    requests = Pool(
        train=("Begin with a title in double angle brackets, like <<title>>.", "Add a title wrapped in << and >>."),
        evaluation=("The answer must contain a title written as <<title>>.",),
    )
    advices = ("Add a title such as <<Topic>>.", "Put a title in << and >> in front.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        has = re.search(r"<<[^<>\n]*\w[^<>\n]*>>", response) is not None
        return Finding(has, f"{'has' if has else 'lacks'} a title in << >>")

    def follow(self, response: str) -> str | None:
        if self.examine(response).satisfied:
            return response.strip()
        title = " ".join(text.upper_first(word) for word in text.longest_words(response, 1))
        return f"<<{title}>> {text.plain(response)}" if title else None


@dataclass(frozen=True)
class TwoParts(InstructionKind):
    """Two parts with a line of three asterisks between them."""

    kind = "two_parts"
    claims = frozenset({Aspect.LAYOUT, Aspect.LENGTH})
    cues = r"\bparts?\b|\bseparat"
    requests = Pool(
        train=(
            "Give two parts separated by a line of three asterisks (***).",
            "Write two parts with *** between them.",
        ),
        evaluation=("Separate the answer into two parts by ***.",),
    )
    advices = ("Put *** between two parts.", "Write two parts separated by ***.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        count = sum(bool(text.words(part)) for part in re.split(r"(?m)(?<!\S)\*{3,}(?!\S)", text.plain(response)))
        return Finding(count == 2, f"has {text.plural(count, 'part')} separated by asterisks (asked: 2)")

    def follow(self, response: str) -> str | None:
        if self.examine(response).satisfied:
            return response.strip()
        edited = "\n***\n".join(_parts(response, 2))
        return plain_if(self.examine(edited).satisfied, edited)


def _parts(response: str, count: int) -> list[str]:
    """The answer in ``count`` parts: its sentences, else its clauses, else the words evenly divided."""
    said = text.sentences(response)
    if len(said) < count:
        clauses = re.split(r", (?:and |but )?| and ", text.without_end_mark(text.prose(response)).replace("\n", " "))
        said = [text.upper_first(clause.strip()) + "." for clause in clauses if len(text.words(clause)) > 1]
    if len(said) < count:
        all_words = text.without_end_mark(text.prose(response)).split()
        size = max(1, -(-len(all_words) // count))
        said = [" ".join(all_words[start : start + size]) for start in range(0, len(all_words), size)]
    return said[:count]
