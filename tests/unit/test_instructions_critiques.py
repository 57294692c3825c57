"""Rule-written feedback says exactly what fails, and reading a critique finds exactly that again."""

from __future__ import annotations

from itertools import combinations
from random import Random
from typing import Any

import pytest
from boresight_trainer.data.instructions.compose import Composer
from boresight_trainer.data.instructions.constraint import InstructionKind, Split
from boresight_trainer.data.instructions.critiques import named_constraints, write_feedback
from boresight_trainer.data.instructions.registry import KINDS, SIMPLE, kinds_named
from boresight_trainer.data.instructions.verifiers import verify
from boresight_trainer.data.language_feedback import format_language_feedback

ANSWERS = (
    "The sea is a vast and mysterious body of water, full of wonders. It covers most of the Earth.",
    "",
    "Yes.",
    '"Indeed, it is not good; it is wrong!"',
    "- no commas here\n- but a list?",
    "I CANNOT DO THAT",
    "```json\n{}\n```",
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_the_constraint_that_fails_is_named_and_read_back(kind: type[InstructionKind]) -> None:
    for seed in range(6):
        constraint = kind.draw(Random(seed), Split.TRAIN)
        edit = constraint.follow(ANSWERS[0])
        for response in (*ANSWERS, *([edit] if edit else [])):
            failed = {0} if verify([constraint.to_json()], response) == (False,) else set()
            feedback = write_feedback(f"prompt {seed}", [constraint.to_json()], response)
            assert named_constraints(feedback.critique, [constraint.to_json()]) == failed, feedback


def test_of_two_constraints_exactly_those_that_fail_are_named() -> None:
    for first, second in combinations(KINDS, 2):
        if first.claims & second.claims:
            continue
        constraints = [first.draw(Random(3), Split.TRAIN).to_json(), second.draw(Random(4), Split.TRAIN).to_json()]
        for response in ANSWERS:
            failed = {index for index, ok in enumerate(verify(constraints, response)) if not ok}
            feedback = write_feedback("prompt", constraints, response)
            assert named_constraints(feedback.critique, constraints) == failed, (feedback, constraints)


def test_feedback_says_what_was_found_and_what_to_change() -> None:
    feedback = write_feedback("x", [{"kind": "first_word", "word": "Indeed"}], "The sea is wide.")
    assert 'begins with "The", not with "Indeed"' in feedback.critique
    assert '"Indeed"' in feedback.advice


def test_an_answer_that_satisfies_everything_is_to_be_kept() -> None:
    feedback = write_feedback("x", [{"kind": "no_commas"}, {"kind": "exclamation"}], "Wide!")
    assert feedback.advice.startswith("Keep it")
    assert named_constraints(feedback.critique, [{"kind": "no_commas"}, {"kind": "exclamation"}]) == set()


def test_a_prompt_without_constraints_gets_feedback_too() -> None:
    assert write_feedback("x", [], "Wide.").advice.startswith("Keep it")


def test_the_phrasing_varies_but_is_a_pure_function() -> None:
    constraint = [{"kind": "no_commas"}]
    written = [write_feedback(f"prompt {number}", constraint, "Wide, deep.") for number in range(40)]
    assert written == [write_feedback(f"prompt {number}", constraint, "Wide, deep.") for number in range(40)]
    assert len({feedback.critique for feedback in written}) >= 3
    assert len({feedback.advice for feedback in written}) >= 2


def test_feedback_on_simple_kinds_is_short() -> None:
    drawn = Composer(set()).instructions(200, kinds_named(SIMPLE), split=Split.TRAIN, compose=1, rng=Random(0))
    for instruction in drawn:
        feedback = write_feedback(instruction.prompt, [c.to_json() for c in instruction.constraints], ANSWERS[0])
        assert len(f"{feedback.critique} {feedback.advice}".split()) <= 26


FIRST = {"kind": "first_word", "word": "Indeed"}
COMMAS = {"kind": "no_commas"}


@pytest.mark.parametrize(
    ("critique", "constraints", "named"),
    [
        ("The response doesn't start with the right word.", [FIRST, COMMAS], {0}),
        ("It should begin with Indeed. There are no commas, as asked.", [FIRST, COMMAS], {0}),
        ("Good start, but there are too many commas", [FIRST, COMMAS], {1}),
        ("The response does not follow the instruction.", [FIRST], {0}),
        ("The response does not follow the instruction.", [FIRST, COMMAS], set()),
        ("It does not begin as requested; it also fails to avoid commas.", [FIRST, COMMAS], {0, 1}),
        ("The response begins with the correct word and has no commas.", [FIRST, COMMAS], set()),
        ("", [FIRST], set()),
        ("lorem ipsum", [FIRST], set()),
        ('##Critique: Wrong: it begins with "A".\n\n##Refinement: Do not use commas.', [FIRST, COMMAS], {0}),
        ("**Critique:** It is not right: it has 3 commas.\n**Refinement:** Begin with Indeed.", [FIRST, COMMAS], {1}),
        ("##Critique: Wrong: it begins with “The”", [FIRST], {0}),
    ],
)
def test_a_models_own_words_are_read_tolerantly(
    critique: str, constraints: list[dict[str, Any]], named: set[int]
) -> None:
    assert named_constraints(critique, constraints) == named


def test_written_feedback_is_read_with_its_headings() -> None:
    feedback = write_feedback("x", [FIRST, COMMAS], "Wide, deep.")
    assert named_constraints(format_language_feedback(feedback.critique, feedback.advice), [FIRST, COMMAS]) == {0, 1}
