"""Small tasks with one right answer: sums, spelling, counting, sorting, choosing. Each is a whole prompt of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Self, TypeVar

from boresight_api.base import sha256_hex

from .. import text
from ..constraint import Aspect, Finding, InstructionKind, Pool, Split, plain_if

_WORDS = Pool(
    train=("garden", "window", "planet", "silver", "basket", "market", "pencil", "orange", "bottle", "summer", "letter",
           "banana", "coffee", "pepper", "kitten", "tunnel", "cherry", "ribbon", "pillow", "rabbit"),
    evaluation=("butter", "island", "yellow", "carrot", "violin", "lemon", "hammer", "winter", "dinner", "apple"),
)  # fmt: skip
_ANIMALS = Pool(
    train=("cat", "dog", "horse", "sheep", "mouse", "tiger", "wolf", "eagle"),
    evaluation=("goat", "lion", "zebra", "fox", "otter", "bear"),
)
_THINGS = Pool(
    train=("table", "spoon", "river", "house", "shirt", "cloud", "chair", "train"),
    evaluation=("bridge", "lamp", "plate", "road", "candle", "door"),
)
_TASK = frozenset(Aspect)
Drawn = TypeVar("Drawn")


def split_of(content: str) -> Split:
    """A fixed side for a task that is made of numbers: one in four belongs to evaluation, whatever the seed."""
    return Split.EVALUATION if int(sha256_hex(content.encode())[:8], 16) % 4 == 0 else Split.TRAIN


def _drawn(split: Split, make: Callable[[], Drawn], content: Callable[[Drawn], str]) -> Drawn:
    while True:
        candidate = make()
        if split_of(content(candidate)) is split:
            return candidate


class _Task(InstructionKind):
    claims = _TASK
    whole_prompt = True


class _NumberTask(_Task):
    """The last number of the answer is the result."""

    def result(self) -> int:
        raise NotImplementedError

    def sum_up(self) -> str:
        raise NotImplementedError

    def examine(self, response: str) -> Finding:
        said = text.numbers(response)
        if not said:
            return Finding(False, f"gives no number; {self.sum_up()}")
        right = said[-1] == self.result()
        return Finding(right, f"says {said[-1]}" + (f", and {self.sum_up()}" if right else f", but {self.sum_up()}"))

    def follow(self, response: str) -> str | None:
        return plain_if(self.examine(response).satisfied, response) or text.upper_first(self.sum_up()) + "."


@dataclass(frozen=True)
class Addition(_NumberTask):
    """A sum of two numbers."""

    a: int
    b: int

    kind = "addition"
    cues = r"\bsays\b|\bnumber\b|\bsum\b|\+"
    requests = Pool(
        train=("What is {a} + {b}?", "Add {a} and {b}.", "How much is {a} plus {b}?"),
        evaluation=("Calculate {a} + {b}.", "Give the sum of {a} and {b}."),
    )
    advices = ("Say that the sum is {result}.", "Correct the sum to {result}.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return _drawn(split, lambda: cls(rng.randint(2, 40), rng.randint(2, 40)), lambda c: f"{c.a}+{c.b}")

    def result(self) -> int:
        return self.a + self.b

    def sum_up(self) -> str:
        return f"{self.a} + {self.b} = {self.result()}"

    def terms(self) -> dict[str, str]:
        return super().terms() | {"result": str(self.result())}


@dataclass(frozen=True)
class Multiplication(_NumberTask):
    """A product of two one-digit numbers."""

    a: int
    b: int

    kind = "multiplication"
    cues = r"\bsays\b|\bnumber\b|\bproduct\b|\btimes\b"
    requests = Pool(
        train=("What is {a} times {b}?", "Multiply {a} by {b}."),
        evaluation=("Calculate {a} x {b}.", "Give the product of {a} and {b}."),
    )
    advices = ("Say that the product is {result}.", "Correct the product to {result}.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return _drawn(split, lambda: cls(rng.randint(2, 9), rng.randint(2, 9)), lambda c: f"{c.a}*{c.b}")

    def result(self) -> int:
        return self.a * self.b

    def sum_up(self) -> str:
        return f"{self.a} times {self.b} = {self.result()}"

    def terms(self) -> dict[str, str]:
        return super().terms() | {"result": str(self.result())}


@dataclass(frozen=True)
class LetterCount(_NumberTask):
    """How often a letter occurs in a word."""

    word: str
    letter: str

    kind = "letter_count"
    cues = r"\bsays\b|\bnumber\b|\bletters?\b"
    requests = Pool(
        train=(
            'How often does the letter "{letter}" occur in "{word}"?',
            'Count the letter "{letter}" in the word "{word}".',
        ),
        evaluation=('How many times is "{letter}" in the word "{word}"?',),
    )
    advices = ('Say that "{letter}" occurs {result} times.', "Correct the count to {result}.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        word = rng.choice(_WORDS.of(split))
        return cls(word, rng.choice(sorted(set(word))))

    def result(self) -> int:
        return text.fold(self.word).count(text.fold(self.letter))

    def sum_up(self) -> str:
        return f'the number of "{self.letter}" in "{self.word}" is {self.result()}'

    def terms(self) -> dict[str, str]:
        return super().terms() | {"result": str(self.result())}


@dataclass(frozen=True)
class WordCount(_NumberTask):
    """How many words a list has."""

    listed: str

    kind = "word_count"
    cues = r"\bsays\b|\bnumber\b|\bwords\b|\banimals\b"
    requests = Pool(
        train=("How many animals are these: {listed}?", "Count the animals: {listed}."),
        evaluation=("Give the number of animals in this list: {listed}.",),
    )
    advices = ("Say that there are {result}.", "Correct the number to {result}.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(", ".join(rng.sample(_ANIMALS.of(split), rng.randint(2, 5))))

    def result(self) -> int:
        return len(self.listed.split(","))

    def sum_up(self) -> str:
        return f"the number of animals is {self.result()}"

    def terms(self) -> dict[str, str]:
        return super().terms() | {"result": str(self.result())}


class _SpellingTask(_Task):
    """The answer contains the result as a word of its own."""

    def result(self) -> str:
        raise NotImplementedError

    def examine(self, response: str) -> Finding:
        right = re.search(rf"(?<![\w-]){re.escape(text.fold(self.result()))}(?![\w-])", text.fold(text.prose(response)))
        if right:
            return Finding(True, f'gives "{self.result()}"')
        return Finding(False, f'says {text.snippet(response)}, not "{self.result()}"')

    def follow(self, response: str) -> str | None:
        return plain_if(self.examine(response).satisfied, response) or self.result()

    def terms(self) -> dict[str, str]:
        return super().terms() | {"result": self.result()}


@dataclass(frozen=True)
class SpellBackwards(_SpellingTask):
    """A word spelled from its end."""

    word: str

    kind = "spell_backwards"
    cues = r"\bsays\b|\bgives\b|\bspell|\bbackwards"
    requests = Pool(
        train=('Spell "{word}" backwards.', 'Write the word "{word}" in reverse.'),
        evaluation=('Write "{word}" from the last letter to the first.', 'What is "{word}" backwards?'),
    )
    advices = ('Write "{result}".', 'Correct it to "{result}".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_WORDS.of(split)))

    def result(self) -> str:
        return self.word[::-1]


@dataclass(frozen=True)
class SpellOut(_SpellingTask):
    """A word spelled with hyphens between its letters."""

    word: str

    kind = "spell_out"
    cues = r"\bsays\b|\bgives\b|\bspell|\bhyphen"
    requests = Pool(
        train=('Spell "{word}" with hyphens between the letters.', 'Write "{word}" letter by letter, with hyphens.'),
        evaluation=('Put a hyphen between all letters of "{word}".',),
    )
    advices = ('Write "{result}".', 'Correct it to "{result}".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_WORDS.of(split)))

    def result(self) -> str:
        return "-".join(self.word)


@dataclass(frozen=True)
class SortWords(_SpellingTask):
    """Words in alphabetical order, separated by commas."""

    listed: str

    kind = "sort_words"
    cues = r"\bsays\b|\bgives\b|\border|\bsort"
    requests = Pool(
        train=("Put these words in alphabetical order: {listed}.", "Sort alphabetically: {listed}."),
        evaluation=("Arrange from A to Z: {listed}.",),
    )
    advices = ('Write "{result}".', 'Sort them as "{result}".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(", ".join(rng.sample(_ANIMALS.of(split), 3)))

    def result(self) -> str:
        return ", ".join(sorted((word.strip() for word in self.listed.split(",")), key=str.casefold))


@dataclass(frozen=True)
class YesOrNo(_Task):
    """A question to be answered by one word, yes or no."""

    question: str
    answer: str

    kind = "yes_or_no"
    cues = r"\bsays\b|\bone word\b"
    requests = Pool(
        train=("{question} Answer only yes or no.", "Yes or no: {question}"),
        evaluation=("Reply with yes or no and nothing else. {question}",),
    )
    advices = ('Write only "{answer}".', 'Answer with the one word "{answer}".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        animal = rng.random() < 0.5
        noun = text.article(rng.choice((_ANIMALS if animal else _THINGS).of(split)))
        asked, answer = rng.choice((("an animal", animal), ("a living being", animal), ("a mere thing", not animal)))
        return cls(f"Is {noun} {asked}?", "yes" if answer else "no")

    def examine(self, response: str) -> Finding:
        right = [word.casefold() for word in text.words(response)] == [text.fold(self.answer)]
        return Finding(right, f"says {text.snippet(response)}" + ("" if right else f', not only "{self.answer}"'))

    def follow(self, response: str) -> str | None:
        return plain_if(self.examine(response).satisfied, response) or text.upper_first(self.answer) + "."
