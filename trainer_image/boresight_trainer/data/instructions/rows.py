"""Rows of the data set, made from instructions and answers; the same ones give the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from boresight_api.stages import Templates

from ..verifiable_rows import Row, answered_row, pair_row, refinement_row, response_row, satisfies
from . import text
from .compose import Instruction, edited

_LONGEST_DEMONSTRATION = 18
"""Words."""


@dataclass(frozen=True, slots=True)
class Answer:
    """y, and whether the model ended it itself."""

    text: str
    finished: bool


def feedback_row(row_id: str, instruction: Instruction, answer: Answer, *, prefer_satisfied: bool) -> Row:
    """(x, y, c). A feedback model that sees failures alone learns to find fault with everything, and a model that needs
    alignment fails almost always; so where a satisfied answer is preferred, a failing one is edited by rule if that
    can be done, and ``meta.edited`` says so.
    """
    refined = edited(instruction.constraints, answer.text) if prefer_satisfied and text.words(answer.text) else None
    if refined is None or refined == answer.text or satisfies(instruction, answer.text):
        return response_row(row_id, instruction, answer.text)
    return response_row(row_id, instruction, refined, edited="by rule")


def warm_start_row(row_id: str, instruction: Instruction, answer: Answer, templates: Templates) -> Row | None:
    """A refinement dialogue x, y, c, y*: y fails, y* is y edited by rule. None if the answer does not serve for that.

    What is imitated should be short, end, and be about the topic: y is shortened to whole sentences, and an answer that
    never names its topic is no example.
    """
    response = _shortened(answer)
    on_topic = instruction.topic is None or instruction.topic.named_in(response)
    refined = edited(instruction.constraints, response) if response and on_topic else None
    if refined is None or refined == response:
        return None
    return refinement_row(row_id, instruction, response, refined, templates)


def plain_row(row_id: str, instruction: Instruction, answer: Answer) -> Row | None:
    """(x, y) without a constraint, y as the model says it. None unless it is on its topic and short."""
    response = _shortened(answer)
    if instruction.topic is None or not instruction.topic.named_in(response):
        return None
    return answered_row(row_id, instruction, response)


def preference_row(row_id: str, instruction: Instruction, answers: Sequence[Answer]) -> Row | None:
    """(x, y+, y-): two sampled answers, one satisfies all constraints and one does not. None without such two."""
    chosen, rejected = _choose(instruction, answers, True).text, _choose(instruction, answers, False).text
    if not satisfies(instruction, chosen) or satisfies(instruction, rejected):
        return None
    return pair_row(row_id, instruction, chosen, rejected)


def _choose(instruction: Instruction, answers: Sequence[Answer], prefer_satisfied: bool) -> Answer:
    """The first answer that was finished and has the preferred verdict, else the first finished, else the first."""

    def rank(answer: Answer) -> tuple[bool, bool]:
        return not answer.finished, satisfies(instruction, answer.text) is not prefer_satisfied

    return min(answers, key=rank)


def _shortened(answer: Answer) -> str:
    """As many whole sentences of an answer as are cheap to imitate; empty if not even the first is."""
    said = text.sentences(answer.text)
    complete = said if answer.finished else said[:-1]
    beginnings = (" ".join(complete[:count]) for count in range(len(complete), 0, -1))
    return next((each for each in beginnings if len(text.words(each)) <= _LONGEST_DEMONSTRATION), "")
