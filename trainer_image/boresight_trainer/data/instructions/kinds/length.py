"""How long an answer is: characters, words, sentences, paragraphs."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Self

from .. import text
from ..constraint import Aspect, Finding, InstructionKind, Pool, Split, plain_if

_HANGING_WORDS = """
a an the of and or to in on at by for with from as is are was that which who its their his her it they but so than
into such be been has have can will most more very also where when while like about between one known called used
"""
_HANGING = frozenset(_HANGING_WORDS.split())


@dataclass(frozen=True)
class MaxWords(InstructionKind):
    """At most so many words."""

    limit: int

    kind = "max_words"
    claims = frozenset({Aspect.LENGTH})
    cues = r"\bwords\b|\blong\b|\blonger\b"
    requests = Pool(
        train=("Use at most {limit} words.", "Use no more than {limit} words.", "Keep it to {limit} words or fewer."),
        evaluation=("The limit is {limit} words.", "Stay within {limit} words."),
    )
    advices = ("Shorten it to {limit} words at most.", "Cut it to {limit} words or fewer.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 numbers belong to both sides
        return cls(rng.choice((6, 7, 8, 9, 10)))

    def examine(self, response: str) -> Finding:
        count = len(text.words(response))
        verdict = "within" if count <= self.limit else "over"
        return Finding(
            0 < count <= self.limit, f"has {text.plural(count, 'word')}, {verdict} the limit of {self.limit}"
        )

    def follow(self, response: str) -> str | None:
        if self.examine(response).satisfied:
            return response.strip()
        kept = " ".join(text.prose(response).split()).split(" ")[: self.limit]
        while kept and (text.fold(kept[-1].rstrip(",;:")) in _HANGING or len(text.words(" ".join(kept))) > self.limit):
            kept.pop()
        edited = " ".join(kept).rstrip(",;:-. ") + "."
        return plain_if(len(kept) > 1 and self.examine(edited).satisfied, edited)


@dataclass(frozen=True)
class MinWords(InstructionKind):
    """At least so many words."""

    limit: int

    kind = "min_words"
    claims = frozenset({Aspect.LENGTH})
    cues = r"\bwords\b|\bshort"
    requests = Pool(
        train=("Use at least {limit} words.", "Write {limit} words or more."),
        evaluation=("The answer needs {limit} words at the very least.", "Use no fewer than {limit} words."),
    )
    advices = ("Write more: at least {limit} words.", "Add details until it has {limit} words.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 numbers belong to both sides
        return cls(rng.choice((20, 25, 30)))

    def examine(self, response: str) -> Finding:
        count = len(text.words(response))
        verdict = "enough" if count >= self.limit else "short"
        return Finding(count >= self.limit, f"has {text.plural(count, 'word')}, {verdict} of {self.limit} asked")


@dataclass(frozen=True)
class MaxCharacters(InstructionKind):
    """At most so many characters, white space at the ends not counted."""

    limit: int

    kind = "max_characters"
    claims = frozenset({Aspect.LENGTH})
    cues = r"\bcharacters\b"
    requests = Pool(
        train=("Use at most {limit} characters.", "Keep it under {limit} characters."),
        evaluation=("It must fit into {limit} characters.", "The limit is {limit} characters."),
    )
    advices = ("Shorten it to {limit} characters.", "Cut it to {limit} characters at most.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 numbers belong to both sides
        return cls(rng.choice((50, 60, 70, 80)))

    def examine(self, response: str) -> Finding:
        count = len(text.plain(response))
        verdict = "within" if count <= self.limit else "over"
        return Finding(0 < count <= self.limit, f"has {count} characters, {verdict} the limit of {self.limit}")

    def follow(self, response: str) -> str | None:
        for limit in range(len(text.words(response)), 1, -1):
            edited = MaxWords(limit).follow(response)
            if edited is not None and self.examine(edited).satisfied:
                return edited
        return plain_if(self.examine(response).satisfied, response)


@dataclass(frozen=True)
class Sentences(InstructionKind):
    """Exactly so many sentences."""

    count: int

    kind = "sentences"
    claims = frozenset({Aspect.LENGTH, Aspect.LAYOUT})
    cues = r"\bsentences?\b"
    requests = Pool(
        train=("Write exactly {sentences}.", "Use {sentences}, no more and no fewer."),
        evaluation=("The answer must consist of {sentences}.", "Give precisely {sentences}."),
    )
    advices = ("Write exactly {sentences}.", "Make it {sentences}.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 numbers belong to both sides
        return cls(rng.choice((1, 2, 3)))

    def terms(self) -> dict[str, str]:
        return {"sentences": text.plural(self.count, "sentence")}

    def examine(self, response: str) -> Finding:
        count = len(text.sentences(response))
        return Finding(count == self.count, f"has {text.plural(count, 'sentence')} (asked: {self.count})")

    def follow(self, response: str) -> str | None:
        if self.examine(response).satisfied:
            return response.strip()
        edited = " ".join(text.sentences(response)[: self.count])
        return plain_if(self.examine(edited).satisfied, edited)


@dataclass(frozen=True)
class Paragraphs(InstructionKind):
    """Exactly so many paragraphs, separated by blank lines."""

    count: int

    kind = "paragraphs"
    claims = frozenset({Aspect.LENGTH, Aspect.LAYOUT})
    cues = r"\bparagraphs?\b"
    requests = Pool(
        train=(
            "Write exactly {count} paragraphs with a blank line between them.",
            "Divide it into {count} paragraphs.",
        ),
        evaluation=("There must be {count} paragraphs, separated by blank lines.",),
    )
    advices = ("Write {count} paragraphs with a blank line between them.", "Divide it into {count} paragraphs.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 numbers belong to both sides
        return cls(rng.choice((2, 3)))

    def examine(self, response: str) -> Finding:
        count = len(text.paragraphs(response))
        return Finding(count == self.count, f"has {text.plural(count, 'paragraph')} (asked: {self.count})")

    def follow(self, response: str) -> str | None:
        if self.examine(response).satisfied:
            return response.strip()
        said = text.sentences(response)
        edited = "\n\n".join([*said[: self.count - 1], " ".join(said[self.count - 1 :])])
        return plain_if(self.examine(edited).satisfied, edited)
