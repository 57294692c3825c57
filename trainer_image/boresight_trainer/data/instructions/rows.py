"""Rows of the data set, made from instructions and answers; the same ones give the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from boresight_api.stages import RefineFrom, Templates

from ..dialogues import refinement_messages
from ..language_feedback import format_language_feedback
from ..records import Message, Prompt
from . import text
from .compose import Instruction, edited
from .critiques import RuleFeedback, write_feedback
from .verifiers import verify

Row = dict[str, Any]

_LONGEST_DEMONSTRATION = 24


@dataclass(frozen=True, slots=True)
class Answer:
    """y, and whether the model ended it itself."""

    text: str
    finished: bool


def prompt_row(row_id: str, instruction: Instruction, **meta: str) -> Row:
    """x with its constraints. ``meta`` carries what the answer is about, for measures beside the verifiers."""
    return {
        "id": row_id,
        "prompt": instruction.prompt,
        "constraints": _constraints(instruction),
        "meta": _meta(instruction) | meta,
    }


def feedback_row(row_id: str, instruction: Instruction, answers: Sequence[Answer], *, prefer_satisfied: bool) -> Row:
    """(x, y, c): of several sampled answers one, so that satisfied and failed ones can be balanced."""
    response = _choose(instruction, answers, prefer_satisfied).text
    feedback = _feedback(instruction, response)
    return {
        "id": row_id,
        "prompt": instruction.prompt,
        "response": response,
        "critique": feedback.critique,
        "advice": feedback.advice,
        "constraints": _constraints(instruction),
        "meta": _meta(instruction),
    }


def warm_start_row(
    row_id: str, instruction: Instruction, answers: Sequence[Answer], templates: Templates
) -> Row | None:
    """A refinement dialogue x, y, c, y*: y fails, y* is y edited by rule. None if no answer allows that.

    y is shortened to whole sentences, so that what is imitated is short and ends.
    """
    for answer in answers:
        response = _shortened(answer)
        refined = edited(instruction.constraints, response) if text.words(response) else None
        if refined is None or refined == response:
            continue
        feedback = _feedback(instruction, response)
        messages = refinement_messages(
            Prompt(row_id, (Message("user", instruction.prompt),)),
            response,
            format_language_feedback(feedback.critique, feedback.advice),
            templates,
            RefineFrom.RESPONSE_AND_CRITIQUE,
        )
        dialogue = [*messages, Message("assistant", refined)]
        turns = [{"role": message.role, "content": message.content} for message in dialogue]
        return {"id": row_id, "messages": turns, "constraints": _constraints(instruction), "meta": _meta(instruction)}
    return None


def preference_row(row_id: str, instruction: Instruction, answers: Sequence[Answer]) -> Row | None:
    """(x, y+, y-): two sampled answers, one satisfies all constraints and one does not. None without such two."""
    chosen, rejected = _choose(instruction, answers, True).text, _choose(instruction, answers, False).text
    if not _satisfies(instruction, chosen) or _satisfies(instruction, rejected):
        return None
    return {
        "id": row_id,
        "prompt": instruction.prompt,
        "chosen": chosen,
        "rejected": rejected,
        "constraints": _constraints(instruction),
        "meta": _meta(instruction),
    }


def _choose(instruction: Instruction, answers: Sequence[Answer], prefer_satisfied: bool) -> Answer:
    """The first answer that was finished and has the preferred verdict, else the first finished, else the first."""

    def rank(answer: Answer) -> tuple[bool, bool]:
        return not answer.finished, _satisfies(instruction, answer.text) is not prefer_satisfied

    return min(answers, key=rank)


def _shortened(answer: Answer) -> str:
    """Whole sentences of an answer up to a length that is cheap to imitate, at least one if it ends."""
    said = text.sentences(answer.text)
    complete = said if answer.finished else said[:-1]
    kept: list[str] = []
    for sentence in complete:
        if kept and len(text.words(" ".join([*kept, sentence]))) > _LONGEST_DEMONSTRATION:
            break
        kept.append(sentence)
    shortened = " ".join(kept)
    return shortened if len(text.words(shortened)) <= _LONGEST_DEMONSTRATION else ""


def _satisfies(instruction: Instruction, response: str) -> bool:
    return all(verify(_constraints(instruction), response))


def _feedback(instruction: Instruction, response: str) -> RuleFeedback:
    return write_feedback(instruction.prompt, _constraints(instruction), response)


def _constraints(instruction: Instruction) -> list[dict[str, str | int]]:
    return [constraint.to_json() for constraint in instruction.constraints]


def _meta(instruction: Instruction) -> Row:
    topic = instruction.topic
    return {} if topic is None else {"topic": topic.name, "keywords": list(topic.keywords)}
