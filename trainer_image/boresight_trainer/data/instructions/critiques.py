"""Language feedback written by rule, and what a critique (a model's, too) says about constraints."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boresight_api.base import sha256_hex

from ..language_feedback import Unparsable, split_language_feedback
from . import text
from .registry import parse

_FAILING = ("Wrong: it {}.", "Not as asked: it {}.", "The response fails: it {}.", "This is not right: it {}.")
_PASSING = ("Good: it {}.", "As asked, it {}.", "Right: it {}.", "Correct, it {}.")
_KEEP = ("Keep it as it is.", "Keep it, nothing has to change.")
_NOTHING_TO_CHECK = "Right: it has no rule to break."

_QUOTED = re.compile(r'"[^"\n]*"')
_CLAUSE = re.compile(r"[.;\n]+|\b(?:but|however|although|while)\b", re.IGNORECASE)
_PRAISE = re.compile(
    r"\b(?:good|great|right|correct(?:ly)?|as (?:asked|requested|required|instructed)|well|properly|satisf\w+"
    r"|follow(?:s|ed)|meets?|met|fulfil\w*|respects|obeys)\b",
    re.IGNORECASE,
)
_BLAME = re.compile(
    r"\b(?:wrong|not|never|fail(?:s|ed)?|lack(?:s|ing)?|miss(?:es|ing)|without|instead|too|over|incorrect(?:ly)?|should|must"
    r"|needs?|violat\w+|ignor\w+|forgot|forgets|breaks|no|cannot|error|mistake)\b|n't\b",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"(?:(?:\b(?:not|never|fails? to|failed to)|n't)\s+(?:\w+\s+){0,4}|\b(?:no|neither|nor)\s+(?:\w+\s+)?)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class RuleFeedback:
    """c by rule: which constraints fail and what was found, then what to change."""

    critique: str
    advice: str


def write_feedback(prompt_text: str, constraints: Sequence[Mapping[str, Any]], response: str) -> RuleFeedback:
    """Feedback on any answer: names every failed constraint with what was found, or says to keep the answer.

    A pure function; the phrasing varies with prompt and response. Raises StageFailure(InvalidData) for a malformed
    constraint.
    """
    variant = int(sha256_hex(f"{prompt_text}\0{response}".encode())[:8], 16)
    parsed = [parse(constraint) for constraint in constraints]
    findings = [constraint.examine(response) for constraint in parsed]
    failed = [index for index, finding in enumerate(findings) if not finding.satisfied]
    frames = _FAILING if failed else _PASSING
    named = failed or range(len(findings))
    critique = " ".join(frames[(variant + index) % len(frames)].format(findings[index].found) for index in named)
    advice = " ".join(parsed[index].advice(variant // 16 + index) for index in failed)
    return RuleFeedback(critique or _NOTHING_TO_CHECK, advice or _KEEP[variant // 16 % len(_KEEP)])


def named_constraints(critique_text: str, constraints: Sequence[Mapping[str, Any]]) -> set[int]:
    """Indices of the constraints that a critique names as failed.

    ``critique_text`` is language feedback with or without headings; only its critique counts, the advice does not.
    Reads clause by clause: a clause that blames and speaks of a kind names it. Blame that speaks of none of the kinds
    names the constraint of a row that has only one.
    """
    parts = split_language_feedback(critique_text)
    critique = critique_text if isinstance(parts, Unparsable) else parts[0]
    parsed = [parse(constraint) for constraint in constraints]
    named: set[int] = set()
    for clause in _CLAUSE.split(_QUOTED.sub('""', text.plain(critique))):
        if not _blames(clause):
            continue
        spoken_of = {index for index, constraint in enumerate(parsed) if constraint.mentioned_in(clause)}
        named |= spoken_of if spoken_of or len(parsed) != 1 else {0}
    return named


def _blames(clause: str) -> bool:
    praised = any(_NEGATED.search(clause[: match.start()]) is None for match in _PRAISE.finditer(clause))
    return not praised and _BLAME.search(clause) is not None
