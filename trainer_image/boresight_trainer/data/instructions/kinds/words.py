"""Words an answer must use or avoid."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Self

from .. import text
from ..constraint import Aspect, Finding, InstructionKind, Pool, Split, plain_if

_NOUNS = Pool(
    train=("river", "garden", "window", "candle", "mirror", "lantern", "forest", "bridge", "ladder", "blanket",
           "pocket", "whistle"),
    evaluation=("mountain", "button", "feather", "harbour", "carpet", "kettle"),
)  # fmt: skip
_COMMON = Pool(train=("and", "many", "very", "people", "often", "is"), evaluation=("also", "world", "used"))
_IN_PLACE_OF = {"and": "as well as", "many": "several", "people": "folks", "often": "frequently", "is": "remains",
                "world": "globe", "used": "employed"}  # fmt: skip
_LETTERS = Pool(train=("z", "q", "k", "b"), evaluation=("x", "j", "v"))


@dataclass(frozen=True)
class RequiredWord(InstructionKind):
    """A word that must occur."""

    word: str

    kind = "required_word"
    claims = frozenset({Aspect.WORDING})
    cues = r"\bthe (?:required |right )?word\b"
    requests = Pool(
        train=('Use the word "{word}".', 'Include the word "{word}".', 'Make sure to mention the word "{word}".'),
        evaluation=('The word "{word}" must appear.', 'Work in the word "{word}".'),
    )
    advices = ('Use the word "{word}".', 'Add the word "{word}".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_NOUNS.of(split)))

    def examine(self, response: str) -> Finding:
        found = text.count_word(response, self.word) > 0
        return Finding(found, f'{"uses" if found else "never uses"} the word "{self.word}"')

    def follow(self, response: str) -> str | None:
        done = plain_if(self.examine(response).satisfied, response)
        return done or f"{text.without_end_mark(response)}, like {text.article(self.word)}."


@dataclass(frozen=True)
class RepeatedWord(InstructionKind):
    """A word that must occur at least so many times."""

    word: str
    count: int

    kind = "repeated_word"
    claims = frozenset({Aspect.WORDING})
    cues = r"\btimes?\b|\btwice\b|\bonce\b"
    requests = Pool(
        train=('Use the word "{word}" at least {count} times.', 'Let the word "{word}" occur {count} times or more.'),
        evaluation=('Say "{word}" no fewer than {count} times.', '"{word}" must appear at least {count} times.'),
    )
    advices = ('Use "{word}" at least {count} times.', 'Repeat "{word}" until it occurs {count} times.')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_NOUNS.of(split)), rng.choice((2, 3)))

    def examine(self, response: str) -> Finding:
        times = text.count_word(response, self.word)
        return Finding(
            times >= self.count, f'uses "{self.word}" {text.plural(times, "time")} (asked: {self.count} times)'
        )

    def follow(self, response: str) -> str | None:
        missing = self.count - text.count_word(response, self.word)
        if missing <= 0:
            return response.strip()
        noun = text.article(self.word)
        return f"{text.without_end_mark(response)}, like {' and '.join([noun] * missing)}."


@dataclass(frozen=True)
class ForbiddenWord(InstructionKind):
    """A word that must not occur."""

    word: str

    kind = "forbidden_word"
    claims = frozenset({Aspect.WORDING})
    cues = r"\bforbidden\b|\bthe word\b"
    requests = Pool(
        train=('Do not use the word "{word}".', 'Avoid the word "{word}".', 'Leave out the word "{word}".'),
        evaluation=('The word "{word}" is not allowed.', 'Write it without the word "{word}".'),
    )
    advices = ('Remove the word "{word}".', 'Say it without the word "{word}".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_COMMON.of(split)))

    def examine(self, response: str) -> Finding:
        free = text.count_word(response, self.word) == 0
        return Finding(free, f'{"avoids" if free else "uses"} the forbidden word "{self.word}"')

    def follow(self, response: str) -> str | None:
        substitute = _IN_PLACE_OF.get(self.word, "")
        kept = (substitute if text.same(token.strip('.,;:!?"()'), self.word) else token for token in response.split())
        edited = text.upper_first(" ".join(token for token in kept if token))
        return plain_if(self.examine(edited).satisfied, edited)


@dataclass(frozen=True)
class ForbiddenLetter(InstructionKind):
    """A letter that must not occur (a lipogram)."""

    letter: str

    kind = "forbidden_letter"
    claims = frozenset({Aspect.WORDING})
    cues = r"\bletter\b"
    requests = Pool(
        train=('Do not use the letter "{letter}".', 'Avoid the letter "{letter}" altogether.'),
        evaluation=('Write it without the letter "{letter}".', 'The letter "{letter}" must not occur.'),
    )
    advices = ('Replace every word that has the letter "{letter}".', 'Choose words without the letter "{letter}".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_LETTERS.of(split)))

    def examine(self, response: str) -> Finding:
        letter = text.fold(self.letter)
        guilty = next((word for word in text.words(response) if letter in text.fold(word)), None)
        if guilty is None:
            return Finding(True, f'avoids the letter "{self.letter}"')
        return Finding(False, f'has the letter "{self.letter}" in "{guilty}"')


@dataclass(frozen=True)
class Placeholder(InstructionKind):
    """At least so many words in square brackets."""

    count: int

    kind = "placeholder"
    claims = frozenset({Aspect.MARKS})
    cues = r"\bbrackets?\b|\bbracketed\b"
    requests = Pool(
        train=("Put at least {words} in square brackets, like [this].", "Set {words} or more in [square brackets]."),
        evaluation=("Square brackets, [like these], must stand around at least {words}.",),
    )  # fmt: skip
    advices = ("Put {words} in [square brackets].", "Set square brackets around {words}.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 numbers belong to both sides
        return cls(rng.choice((1, 2)))

    def terms(self) -> dict[str, str]:
        return {"words": text.plural(self.count, "word")}

    def examine(self, response: str) -> Finding:
        inside = text.plain(response).split("[")[1:]
        found = sum("]" in part and bool(part.split("]")[0].strip()) for part in inside)
        return Finding(found >= self.count, f"has {found} in square brackets (asked: {self.count})")

    def follow(self, response: str) -> str | None:
        edited = text.plain(response)
        for word in text.longest_words(edited, self.count):
            if not self.examine(edited).satisfied:
                edited = edited.replace(word, f"[{word}]", 1)
        return plain_if(self.examine(edited).satisfied, edited)
