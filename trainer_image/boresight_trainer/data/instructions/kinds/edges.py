"""How an answer begins and ends."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Self

from .. import text
from ..constraint import Aspect, Finding, InstructionKind, Pool, Split, plain_if

_OPENERS = Pool(
    train=("Indeed", "Honestly", "Clearly", "Usually", "Today", "Often", "Perhaps", "Surely", "Generally", "Frankly"),
    evaluation=("Overall", "Certainly", "Naturally", "Basically", "Typically"),
)
_LABELS = Pool(train=("Note", "Fact", "Summary", "In short", "Reply"), evaluation=("Answer", "Remark", "My view"))
_CLOSINGS = Pool(
    train=("as we all know", "every single day", "and that is all", "in the end", "for sure", "all year round",
           "to be honest"),
    evaluation=("once and for all", "as far as I know", "and so on", "all in all"),
)  # fmt: skip
_LAST = Pool(
    train=("today", "forever", "everywhere", "indeed", "outside", "again"),
    evaluation=("always", "together", "tomorrow", "somewhere"),
)
_NAMES = Pool(train=("Ana", "Tom", "Lena", "Omar", "Ruth"), evaluation=("Mia", "Jonas", "Priya"))


@dataclass(frozen=True)
class FirstWord(InstructionKind):
    """The first word is given."""

    word: str

    kind = "first_word"
    claims = frozenset({Aspect.OPENING})
    cues = r"\bbegin|\bstart(?!\w* of)|\bfirst word|\bopen"
    requests = Pool(
        train=('Begin with the word "{word}".', 'Start with the word "{word}".', 'Let "{word}" be the first word.'),
        evaluation=('The first word must be "{word}".', 'Open with the word "{word}".'),
    )
    advices = ('Begin with the word "{word}".', 'Make "{word}" the first word.')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_OPENERS.of(split)))

    def examine(self, response: str) -> Finding:
        first = next(iter(text.words(response)), "")
        if text.same(first, self.word):
            return Finding(True, f'begins with "{first}"')
        return Finding(False, f'begins with "{first}", not with "{self.word}"')

    def follow(self, response: str) -> str | None:
        done = plain_if(self.examine(response).satisfied, response)
        return done or f"{text.upper_first(self.word)}, {text.lower_first(text.plain(response))}"


@dataclass(frozen=True)
class Label(InstructionKind):
    """The answer starts with a label and a colon."""

    label: str

    kind = "label"
    claims = frozenset({Aspect.OPENING})
    cues = r"\blabel"
    requests = Pool(
        train=('Start with the label "{label}:".', 'Put the label "{label}:" before the answer.'),
        evaluation=('The answer must carry the label "{label}:" in front.', 'Write the label "{label}:" first.'),
    )
    advices = ('Put "{label}:" in front.', 'Start with the label "{label}:".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_LABELS.of(split)))

    def examine(self, response: str) -> Finding:
        has = text.fold(text.prose(response)).startswith(text.fold(self.label) + ":")
        return Finding(has, f'{"has" if has else "lacks"} the label "{self.label}:"')

    def follow(self, response: str) -> str | None:
        return plain_if(self.examine(response).satisfied, response) or f"{self.label}: {text.plain(response)}"


@dataclass(frozen=True)
class LastWord(InstructionKind):
    """The last word is given."""

    word: str

    kind = "last_word"
    claims = frozenset({Aspect.ENDING})
    cues = r"\blast word|\bend"
    requests = Pool(
        train=('The last word must be "{word}".', 'Finish with the word "{word}".'),
        evaluation=('Make "{word}" the very last word.', 'Conclude with the single word "{word}".'),
    )
    advices = ('Make "{word}" the last word.', 'Let the last word be "{word}".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_LAST.of(split)))

    def examine(self, response: str) -> Finding:
        last = (text.words(response) or [""])[-1]
        if text.same(last, self.word):
            return Finding(True, f'has "{last}" as the last word')
        return Finding(False, f'has "{last}" as the last word, not "{self.word}"')

    def follow(self, response: str) -> str | None:
        done = plain_if(self.examine(response).satisfied, response)
        return done or f"{text.without_end_mark(response)} {self.word}."


@dataclass(frozen=True)
class EndPhrase(InstructionKind):
    """The answer ends with a given phrase."""

    phrase: str

    kind = "end_phrase"
    claims = frozenset({Aspect.ENDING})
    cues = r"\bend|\blast words"
    requests = Pool(
        train=('End with the words "{phrase}".', 'Finish with "{phrase}".', 'Let the last words be "{phrase}".'),
        evaluation=('The closing words must be "{phrase}".', 'Close with "{phrase}".'),
    )
    advices = ('End with "{phrase}".', 'Let the last words be "{phrase}".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_CLOSINGS.of(split)))

    def examine(self, response: str) -> Finding:
        said = text.words(response)
        last = " ".join(said[-len(text.words(self.phrase)) :])
        if text.same(last, " ".join(text.words(self.phrase))):
            return Finding(True, f'ends with "{self.phrase}"')
        return Finding(False, f'ends with "{" ".join(said[-2:])}", not with "{self.phrase}"')

    def follow(self, response: str) -> str | None:
        done = plain_if(self.examine(response).satisfied, response)
        return done or f"{text.without_end_mark(response)}, {self.phrase}."


@dataclass(frozen=True)
class Signature(InstructionKind):
    """The answer is signed with a name after a dash."""

    name: str

    kind = "signature"
    claims = frozenset({Aspect.ENDING})
    cues = r"\bsign"
    requests = Pool(
        train=('Sign with "- {name}".', 'Put the signature "- {name}" at the end.'),
        evaluation=('Sign it as "- {name}".', 'The signature must read "- {name}".'),
    )
    advices = ('Sign with "- {name}".', 'Add the signature "- {name}".')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_NAMES.of(split)))

    def examine(self, response: str) -> Finding:
        ending = text.fold(text.without_emphasis(text.plain(response))).rstrip(".")
        has = ending.endswith((f"- {text.fold(self.name)}", f" -{text.fold(self.name)}"))
        return Finding(has, f'{"has" if has else "lacks"} the signature "- {self.name}"')

    def follow(self, response: str) -> str | None:
        return plain_if(self.examine(response).satisfied, response) or f"{text.plain(response)} - {self.name}"


@dataclass(frozen=True)
class Postscript(InstructionKind):
    """A postscript after the answer."""

    kind = "postscript"
    claims = frozenset({Aspect.ENDING})
    cues = r"\bpostscript|\bP\.S\."
    requests = Pool(
        train=('Add a postscript that starts with "P.S."', 'Close with a postscript ("P.S. ...").'),
        evaluation=('There must be a postscript marked "P.S." at the end.',),
    )
    advices = ('Add a postscript starting with "P.S."', 'Write a postscript ("P.S.") after the answer.')

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:  # noqa: ARG003 nothing to draw
        return cls()

    def examine(self, response: str) -> Finding:
        before, mark, after = text.fold(text.without_emphasis(response)).rpartition("p.s.")
        has = bool(mark and before.strip() and text.words(after))
        return Finding(has, f"{'has' if has else 'lacks'} a postscript")

    def follow(self, response: str) -> str | None:
        done = plain_if(self.examine(response).satisfied, response)
        return done or f"{text.plain(response)} P.S. There is much more to say."
