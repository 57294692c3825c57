"""Capital and small letters."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Self

from .. import text
from ..constraint import Aspect, Finding, InstructionKind, Pool, Split, plain_if


@dataclass(frozen=True)
class LowerCase(InstructionKind):
    """No capital letter anywhere."""

    kind = "lower_case"
    claims = frozenset({Aspect.CASING})
    cues = r"\bcapital|\blower|\bsmall letter"
    requests = Pool(
        train=("Write only in lower case.", "Use lower case letters only.", "Do not use any capital letters."),
        evaluation=("Everything must be in lower case.", "All in lower case letters, please."),
    )
    advices = ("Write all letters in lower case.", "Change the capitals to small letters.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        capital = next((word for word in text.words(response) if word != word.lower()), None)
        if capital is None:
            return Finding(bool(text.words(response)), "has only lower case letters")
        return Finding(False, f'has capital letters, as in "{capital}"')

    def follow(self, response: str) -> str | None:
        return text.plain(response).lower()


@dataclass(frozen=True)
class UpperCase(InstructionKind):
    """Capital letters only."""

    kind = "upper_case"
    claims = frozenset({Aspect.CASING})
    cues = r"\bcapital|\bupper|\bsmall letter"
    requests = Pool(
        train=("Write only in capital letters.", "Use capital letters only.", "Write everything in upper case."),
        evaluation=("Everything must be in capital letters.", "All in upper case, please."),
    )
    advices = ("Write all letters in CAPITALS.", "Change every letter to a capital.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        small = next((word for word in text.words(response) if word != word.upper()), None)
        if small is None:
            return Finding(bool(text.words(response)), "has only capital letters")
        return Finding(False, f'has small letters, as in "{small}"')

    def follow(self, response: str) -> str | None:
        return text.plain(response).upper()


@dataclass(frozen=True)
class TitleCase(InstructionKind):
    """Every word starts with a capital letter (or a digit)."""

    kind = "title_case"
    claims = frozenset({Aspect.CASING})
    cues = r"\bcapital|\bevery word\b"
    requests = Pool(
        train=("Start every word with a capital letter.", "Write It Like This, Every Word With A Capital."),
        evaluation=("Every single word must start with a capital letter.", "Capitalise Each Word."),
    )
    advices = ("Give Every Word A Capital.", "Start every word with a capital letter.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        said = text.words(response)
        small = next((word for word in said if word[0].islower()), None)
        if small is None:
            return Finding(bool(said), "has a capital at the start of every word")
        return Finding(False, f'has no capital at the start of "{small}"')

    def follow(self, response: str) -> str | None:
        edited = "\n".join(
            " ".join(_capitalised(word) for word in line.split(" ")) for line in text.plain(response).split("\n")
        )
        return plain_if(self.examine(edited).satisfied, edited)


@dataclass(frozen=True)
class CapitalWords(InstructionKind):
    """At least so many words of two or more letters in capitals throughout."""

    count: int

    kind = "capital_words"
    claims = frozenset({Aspect.CASING})
    cues = r"\bcapitals?\b"
    requests = Pool(
        train=("Write at least {words} in all capitals.", "Stress {words} or more by capitals, LIKE this."),
        evaluation=("No fewer than {words} must be in ALL CAPITALS.",),
    )
    advices = ("Write {words} in ALL CAPITALS.", "Stress {words} with CAPITALS.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 numbers belong to both sides
        return cls(rng.choice((1, 2)))

    def terms(self) -> dict[str, str]:
        return {"words": text.plural(self.count, "word")}

    def examine(self, response: str) -> Finding:
        count = sum(len(word) > 1 and word.isupper() for word in text.words(response))
        return Finding(count >= self.count, f"has {count} in all capitals (asked: {self.count})")

    def follow(self, response: str) -> str | None:
        edited = text.plain(response)
        for word in text.longest_words(edited, self.count + 2):
            if not self.examine(edited).satisfied:
                edited = edited.replace(word, word.upper(), 1)
        return plain_if(self.examine(edited).satisfied, edited)


def _capitalised(word: str) -> str:
    start = next((index for index, letter in enumerate(word) if letter.isalnum()), 0)
    return word[:start] + word[start : start + 1].upper() + word[start + 1 :]
