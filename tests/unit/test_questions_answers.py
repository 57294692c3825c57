"""Answers to questions about media: which are right, and what the feedback on them says."""

from __future__ import annotations

from typing import Any

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.instructions.critiques import named_constraints, write_feedback
from boresight_trainer.data.instructions.registry import parse
from boresight_trainer.data.instructions.verifiers import satisfied

COLOUR = {"kind": "colour", "question": "shape_colour", "fact": "the circle is red", "answer": "red"}
CHOICE = {
    "kind": "choice",
    "question": "photo_covered",
    "fact": "the covered quarter is at the top left",
    "answer": "top left",
    "options": "top left, top right, bottom left, bottom right",
}
NUMBER = {"kind": "number", "question": "shape_count", "fact": "the number of circles is 3", "answer": 3}
GREY = COLOUR | {"answer": "grey", "fact": "the circle is grey"}


@pytest.mark.parametrize(
    ("constraint", "right", "wrong"),
    [
        (
            COLOUR,
            ["Red.", "It is red", "The circle is **RED**, clearly red."],
            ["Blue.", "It is red or blue.", "It is coloured.", "", "Reddish."],
        ),
        (GREY, ["It is gray.", "Grey!", "grey, or gray"], ["Green."]),
        (COLOUR | {"answer": "purple"}, ["It is violet."], ["It is pink."]),
        (
            CHOICE,
            ["Top left.", "At the top left of the photo", "TOP  LEFT"],
            ["Top right.", "Left.", "Top left or bottom right.", "At the top-left-most"],
        ),
        (
            NUMBER,
            ["3", "3.", "Three.", "There are three circles: 3.", "I count **3** of them"],
            ["4.", "Three or four.", "Many.", "33", "0.3", "-3", "2, no, 3"],
        ),
    ],
)
def test_the_right_answer_alone_is_right(constraint: dict[str, Any], right: list[str], wrong: list[str]) -> None:
    assert [answer for answer in right if not satisfied(constraint, answer)] == []
    assert [answer for answer in wrong if satisfied(constraint, answer)] == []


@pytest.mark.parametrize("constraint", [COLOUR, CHOICE, NUMBER], ids=lambda constraint: constraint["kind"])
@pytest.mark.parametrize("answer", ["I do not know.", "Blue.", "Bottom right.", "4", "Red or blue.", "3 or 4."])
def test_feedback_on_a_wrong_answer_says_what_is_so_and_the_edit_by_rule_is_right(
    constraint: dict[str, Any], answer: str
) -> None:
    feedback = write_feedback("What is it?", [constraint], answer)
    assert constraint["fact"] in feedback.critique
    assert constraint["fact"] in feedback.advice
    assert named_constraints(feedback.critique, [constraint]) == {0}
    edited = parse(constraint).follow(answer)
    assert edited is not None
    assert satisfied(constraint, edited)


@pytest.mark.parametrize(
    ("constraint", "answer", "critique"),
    [
        (COLOUR, "It is blue.", 'says "blue", but the circle is red.'),
        (COLOUR, "I do not know.", "names no colour, but the circle is red."),
        (NUMBER, "3 or four", 'names "3" and "4", which is more than one number, but the number of circles is 3.'),
        (COLOUR, "It is red.", 'says "red", and the circle is red.'),
    ],
)
def test_a_critique_says_what_was_found(constraint: dict[str, Any], answer: str, critique: str) -> None:
    assert write_feedback("x", [constraint], answer).critique.endswith(critique)


@pytest.mark.parametrize(("constraint", "answer"), [(COLOUR, "Red."), (CHOICE, "Top left."), (NUMBER, "Three.")])
def test_a_right_answer_is_to_be_kept_and_its_critique_blames_nothing(constraint: dict[str, Any], answer: str) -> None:
    feedback = write_feedback("x", [constraint], answer)
    assert feedback.advice.startswith("Keep it")
    assert named_constraints(feedback.critique, [constraint]) == set()


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (COLOUR | {"answer": "crimson"}, 'constraint "colour", parameter "answer": found \'crimson\', expected one of'),
        (CHOICE | {"answer": "middle"}, "expected one of top left, top right"),
        (CHOICE | {"options": "left, top left"}, "expected options of which none is part of another"),
        (NUMBER | {"answer": "3"}, "parameter of type int"),
        ({"kind": "number", "question": "q", "answer": 3}, 'parameter "fact": found None'),
    ],
)
def test_a_constraint_that_no_answer_can_satisfy_is_named(constraint: dict[str, Any], message: str) -> None:
    with pytest.raises(StageFailure) as failure:
        satisfied(constraint, "x")
    assert failure.value.failure is FailureClass.INVALID_DATA
    assert message in failure.value.message
