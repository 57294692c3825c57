"""Punctuation and marks: commas, quotes, brackets, bold, closing marks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Self

from .. import text
from ..constraint import Aspect, Finding, InstructionKind, Pool, Split, plain_if


@dataclass(frozen=True)
class NoCommas(InstructionKind):
    """No comma anywhere."""

    kind = "no_commas"
    claims = frozenset({Aspect.PUNCTUATION})
    cues = r"\bcommas?\b"
    requests = Pool(
        train=("Do not use any commas.", "Use no commas.", "Leave out all commas."),
        evaluation=("Commas are not allowed.", "Write it without a single comma."),
    )
    advices = ("Remove the commas.", "Write it without commas.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        count = text.plain(response).count(",")
        return Finding(count == 0, f"has {text.plural(count, 'comma')}")

    def follow(self, response: str) -> str | None:
        return text.plain(response).replace(",", "")


@dataclass(frozen=True)
class Quoted(InstructionKind):
    """The whole answer in double quotes."""

    kind = "quoted"
    claims = frozenset({Aspect.OPENING, Aspect.ENDING, Aspect.MARKS})
    cues = r"\bquot"
    requests = Pool(
        train=(
            "Put the whole answer in double quotes.",
            "Wrap your answer in double quotation marks.",
            'Write it in quotes, "like this".',
        ),
        evaluation=(
            "The entire answer must stand between double quotes.",
            "Enclose all of it in double quotation marks.",
        ),
    )
    advices = ("Put double quotes around all of it.", 'Start and end with a double quote (").')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        answer = text.without_emphasis(text.plain(response))
        has = len(answer) > 2 and answer[0] == answer[-1] == '"' and answer.count('"') % 2 == 0
        return Finding(has, f"{'has' if has else 'lacks'} double quotes around it")

    def follow(self, response: str) -> str | None:
        return plain_if(self.examine(response).satisfied, response) or f'"{text.unquoted(response)}"'


@dataclass(frozen=True)
class Bracketed(InstructionKind):
    """The whole answer in round brackets."""

    kind = "bracketed"
    claims = frozenset({Aspect.OPENING, Aspect.ENDING, Aspect.MARKS})
    cues = r"\bparenthes|\bbracket"
    requests = Pool(
        train=("Put the whole answer in parentheses.", "Write all of it (in round brackets)."),
        evaluation=("The entire answer must stand in parentheses.", "Enclose everything in parentheses, (like this)."),
    )
    advices = ("Put parentheses around all of it.", 'Start with "(" and end with ")".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        answer = text.without_emphasis(text.plain(response))
        has = len(answer) > 2 and answer[0] == "(" and answer[-1] == ")"
        return Finding(has, f"{'has' if has else 'lacks'} parentheses around it")

    def follow(self, response: str) -> str | None:
        return plain_if(self.examine(response).satisfied, response) or f"({text.plain(response)})"


@dataclass(frozen=True)
class Bold(InstructionKind):
    """At least one word in bold Markdown."""

    kind = "bold"
    claims = frozenset({Aspect.MARKS})
    cues = r"\bbold"
    requests = Pool(
        train=("Set one word in bold, like **this**.", "Put at least one word in bold (**word**)."),
        evaluation=("One word or more must be in bold, as in **word**.",),
    )
    advices = ("Put ** around one word to make it bold.", "Make one word bold, like **this**.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        has = re.search(r"(\*\*|__)(?=\S)[^*_\n]*\w[^*_\n]*(?<=\S)\1", response) is not None
        return Finding(has, f"has {'a' if has else 'no'} word in bold")

    def follow(self, response: str) -> str | None:
        if self.examine(response).satisfied:
            return response.strip()
        word = next(iter(text.longest_words(response, 1)), None)
        return None if word is None else text.plain(response).replace(word, f"**{word}**", 1)


@dataclass(frozen=True)
class Exclamation(InstructionKind):
    """The answer ends with an exclamation mark."""

    kind = "exclamation"
    claims = frozenset({Aspect.ENDING})
    cues = r"\bexclamation|\bend"
    requests = Pool(
        train=("End with an exclamation mark.", 'Finish with "!".', "Close with an exclamation mark."),
        evaluation=("The last character must be an exclamation mark.", 'Let "!" be the last character.'),
    )
    advices = ('End with "!".', "Put an exclamation mark at the end.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        return _ending_mark(response, "!")

    def follow(self, response: str) -> str | None:
        return plain_if(self.examine(response).satisfied, response) or f"{text.without_end_mark(response)}!"


@dataclass(frozen=True)
class Question(InstructionKind):
    """The answer ends with a question mark."""

    kind = "question"
    claims = frozenset({Aspect.ENDING})
    cues = r"\bquestion|\bend"
    requests = Pool(
        train=("End with a question mark.", 'Finish with "?".'),
        evaluation=("Put it as a question.", "Let a question mark be the last character."),
    )
    advices = ('End with "?".', "Put a question mark at the end.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        return _ending_mark(response, "?")

    def follow(self, response: str) -> str | None:
        done = plain_if(self.examine(response).satisfied, response)
        return done or f"{text.without_end_mark(response)}, right?"


def _ending_mark(response: str, mark: str) -> Finding:
    last = text.without_emphasis(text.plain(response)).rstrip("\"') \n")[-1:]
    return Finding(last == mark, f'ends with "{last}"' + ("" if last == mark else f', not with "{mark}"'))
