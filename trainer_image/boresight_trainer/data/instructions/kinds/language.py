"""The language of an answer, told by its function words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Self

from .. import text
from ..constraint import Aspect, Finding, InstructionKind, Pool, Split

_FUNCTION_WORDS = {
    "English": "the a an of and to in is are it that this with for on as was by from not or be have has which you they",
    "Spanish": "el la los las un una de del y en que es son con por para como se no su al lo más muy pero o está hay",
    "French": "le la les un une de des du et en que est sont avec pour par dans qui sur pas plus ce cette il elle ou",
    "German": "der die das ein eine und ist sind von zu mit auf für im in den dem des nicht auch es sich als wie oder",
    "Italian": "il lo la i gli le un una di del della e è sono che in con per come non si su al più molto ma anche",
    "Portuguese": "o a os as um uma de do da dos das e em que é são com por para como se não no na ao mais muito ou",
}
_SETS = {language: frozenset(listed.split()) for language, listed in _FUNCTION_WORDS.items()}
_LANGUAGES = Pool(train=("Spanish", "German", "Portuguese"), evaluation=("French", "Italian"))


def language_of(response: str) -> str | None:
    """The language most of whose function words occur, or None if there are none or two languages tie."""
    said = Counter(word.casefold() for word in text.words(response))
    votes = {language: sum(said[word] for word in listed) for language, listed in _SETS.items()}
    ranked = sorted(votes, key=lambda language: -votes[language])
    return ranked[0] if votes[ranked[0]] > votes[ranked[1]] else None


@dataclass(frozen=True)
class Language(InstructionKind):
    """The answer is written in a given language."""

    language: str

    kind = "language"
    claims = frozenset({Aspect.LANGUAGE, Aspect.WORDING, Aspect.OPENING, Aspect.ENDING})
    cues = r"\bin (an? )?(unclear|other|" + "|".join(_SETS) + r")\b|\blanguage"
    requests = Pool(
        train=("Answer in {language}.", "Write in {language}."),
        evaluation=("The answer must be in {language}.", "Reply in {language}."),
    )
    advices = ("Write it in {language}.", "Translate it into {language}.")

    @classmethod
    def draw(cls, rng: Random, split: Split) -> Self:
        return cls(rng.choice(_LANGUAGES.of(split)))

    def examine(self, response: str) -> Finding:
        spoken = language_of(response)
        right = spoken is not None and text.same(spoken, self.language)
        return Finding(
            right, f"is in {spoken or 'an unclear language'}" + ("" if right else f", not in {self.language}")
        )
