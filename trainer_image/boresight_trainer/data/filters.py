"""Which synthesised items become pairs: pure predicates, each of which counts what it matches.

They look at text alone and know English; what they cannot judge they leave in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from boresight_api.enums import FilterAction
from boresight_api.stages import Filters

from .language_feedback import LanguageFeedback, Unparsable

KEPT = "kept"
"""Verdict of an item that became a pair; any other verdict is the name of the filter that dropped it."""


@dataclass(frozen=True, slots=True)
class Refined:
    """y* as it was sampled. ``tokens`` does not count the terminator."""

    text: str
    tokens: int
    finished: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """One item before judgement. ``feedback`` is None without a critique, ``refined`` if y* was not asked for.

    ``fits`` is false if what is missing could not be asked for.
    """

    prompt_text: str
    response: str
    critique: str
    feedback: LanguageFeedback | Unparsable | None
    refined: Refined | None
    fits: bool = True


def matched_filters(candidate: Candidate, filters: Filters) -> tuple[str, ...]:
    """Names of all filters that match, in the order in which they decide; names are those of the manifest's fields."""
    return tuple(name for name, matches in _FILTERS.items() if matches(candidate, filters))


def verdict(matched: tuple[str, ...], filters: Filters) -> str:
    """The first matching filter that drops, or :data:`KEPT`."""
    return next((name for name in matched if action_of(name, filters) is FilterAction.DROP), KEPT)


def action_of(name: str, filters: Filters) -> FilterAction:
    """What filter ``name`` does with what it matches; lengths that cannot be used always drop."""
    actions = {
        "identical": filters.identical,
        "truncated": filters.truncated,
        "refusal": filters.refusal,
        "unparsable": filters.unparsable,
        "keepIt": filters.keep_it,
        "leaked": filters.leaked,
    }
    return actions.get(name, FilterAction.DROP)


def count_matches(matched: list[tuple[str, ...]], filters: Filters) -> dict[str, dict[str, object]]:
    """``{filter: {"matched": how many items, "action": Drop or Keep}}`` for every filter, matched or not."""
    return {
        name: {"matched": sum(name in names for names in matched), "action": action_of(name, filters).value}
        for name in _FILTERS
    }


def says_keep_it(advice: str) -> bool:
    """Whether advice asks for no change at all."""
    return _KEEP_IT.search(advice) is not None and _EXCEPTION.search(advice) is None


def is_refusal(text: str) -> bool:
    """Whether an answer opens by declining."""
    return _REFUSAL.search(text.strip()[:200]) is not None


def leaks_feedback(refined: str, prompt_text: str, critique: str) -> bool:
    """Whether y* talks about being refined, or repeats a stretch of the critique, where the prompt gave no cause."""
    if _PREAMBLE.search(refined.strip()) is not None and _PREAMBLE.search(prompt_text) is None:
        return True
    talk = {word.lower() for word in _FEEDBACK_WORDS.findall(refined)}
    if talk - {word.lower() for word in _FEEDBACK_WORDS.findall(prompt_text)}:
        return True
    own = _words(refined)
    given = f" {' '.join(_words(prompt_text))} "
    stretches = {" ".join(own[i : i + _STRETCH]) for i in range(len(own) - _STRETCH + 1)}
    told = f" {' '.join(_words(critique))} "
    return any(f" {stretch} " in told and f" {stretch} " not in given for stretch in stretches)


_STRETCH = 10
"""Words in a row that y* shares with the critique by copying, not by chance."""

_KEEP_IT = re.compile(
    r"\bkeep (?:it|this|that|the (?:response|answer)|everything)(?: exactly| just)?"
    r"(?: as (?:it )?is\b| unchanged\b| the same\b| this way\b|\s*[,.;!]|\s*$)"
    r"|\bleave (?:it|this|the (?:response|answer)) (?:as (?:it )?is|unchanged|alone)\b"
    r"|\bnothing (?:has to|needs to|should|must|to) (?:be )?(?:chang|improv|fix|refin)"
    r"|\bno (?:further )?(?:change|refinement|improvement|revision)s? (?:(?:is|are) )?(?:needed|necessary|required)"
    r"|\bdo(?:es)? not (?:need|require) (?:any )?(?:changes?|refinements?|improvements?)",
    re.IGNORECASE,
)
_EXCEPTION = re.compile(r"\b(?:but|however|except|although|instead)\b", re.IGNORECASE)
_REFUSAL = re.compile(
    r"^(?:(?:i'?m|i am) (?:very |so |really )?sorry\b|sorry,? (?:but )?i\b"
    r"|i (?:apologi[sz]e|must decline|have to decline)"
    r"|(?:unfortunately,? )?i (?:cannot|can'?t|can not|am unable to|'?m unable to|am not able to|won'?t|will not)\b"
    r"|as an? (?:ai|artificial intelligence|language model)\b)",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|ok|absolutely|great|thank you[^.!\n]*)[,.!]?\s+)?"
    r"(?:here(?:'s| is| are)|this is|below is)\s+(?:an?|the|my|your)?\s*"
    r"(?:improved|refined|revised|updated|corrected|better|rewritten|new)\b",
    re.IGNORECASE,
)
_FEEDBACK_WORDS = re.compile(
    r"##\s*(?:critique|refinement|prompt|response)|\bcritiques?\b|\b(?:the|your|this) feedback\b"
    r"|\b(?:improved|refined|revised) (?:response|answer|version)\b",
    re.IGNORECASE,
)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _same_text(a: str, b: str) -> bool:
    return a.split() == b.split()


_FILTERS: Mapping[str, Callable[[Candidate, Filters], bool]] = {
    "maxLength": lambda c, _: not c.fits,
    "unparsable": lambda c, _: isinstance(c.feedback, Unparsable),
    "keepIt": lambda c, _: isinstance(c.feedback, LanguageFeedback) and says_keep_it(c.feedback.advice),
    "truncated": lambda c, _: c.refined is not None and not c.refined.finished,
    "minTokens": lambda c, f: c.refined is not None and c.refined.tokens < f.min_tokens,
    "identical": lambda c, _: c.refined is not None and _same_text(c.refined.text, c.response),
    "refusal": lambda c, _: c.refined is not None and is_refusal(c.refined.text),
    "leaked": lambda c, _: c.refined is not None and leaks_feedback(c.refined.text, c.prompt_text, c.critique),
}
