"""Every kind of question about media: its own answers against its own verifier, its media, its side of the split."""

from __future__ import annotations

import io
from collections import Counter
from random import Random

import pytest
from boresight_trainer.data.instructions.critiques import named_constraints, write_feedback
from boresight_trainer.data.instructions.registry import parse
from boresight_trainer.data.questions.question import Question, QuestionKind
from boresight_trainer.data.questions.sides import Side, side_of
from boresight_trainer.data.records import Modality
from boresight_trainer.data.verifiable_rows import constraints_of, satisfies
from builders_questions import ALL_KINDS, answer_of, question_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

kinds = pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
SEEDS = st.integers(0, 2**32 - 1)


@kinds
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=SEEDS, side=st.sampled_from(Side))
def test_right_answers_satisfy_and_wrong_ones_do_not(kind: QuestionKind, seed: int, side: Side) -> None:
    question = question_of(kind, seed, side)
    assert [answer for answer in question.right if not satisfies(question, answer)] == []
    assert [answer for answer in question.wrong if satisfies(question, answer.text)] == []
    assert len({answer.way for answer in question.wrong}) >= 3


@kinds
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=SEEDS)
def test_critiques_are_true(kind: QuestionKind, seed: int) -> None:
    question = question_of(kind, seed)
    constraints = constraints_of(question)
    for answer in question.right:
        feedback = write_feedback(question.prompt, constraints, answer)
        assert feedback.advice.startswith("Keep it")
        assert named_constraints(feedback.critique, constraints) == set()
    for wrong in question.wrong:
        feedback = write_feedback(question.prompt, constraints, wrong.text)
        assert question.constraints[0].fact in feedback.critique
        assert named_constraints(feedback.critique, constraints) == {0}
        assert satisfies(question, str(parse(constraints[0]).follow(wrong.text)))


@kinds
def test_the_words_are_complete_and_in_several_forms(kind: QuestionKind) -> None:
    questions = [question_of(kind, seed) for seed in range(12)]
    for question in questions:
        texts = [question.prompt, *question.right, *(wrong.text for wrong in question.wrong)]
        assert not [text for text in texts if "{" in text or "}" in text]
    assert len(set(kind.forms)) >= 3
    assert len(set(kind.statements)) >= 3
    assert len({question.prompt for question in questions}) > 1


@kinds
@pytest.mark.parametrize("side", Side)
def test_everything_that_decides_a_scene_is_on_its_side(kind: QuestionKind, side: Side) -> None:
    for seed in range(8):
        medium = question_of(kind, seed, side).medium
        assert medium.keys
        assert {side_of(key) for key in medium.keys} == {side}


@kinds
def test_the_same_seed_asks_the_same_about_the_same_bytes(kind: QuestionKind) -> None:
    first, second = question_of(kind, 5), question_of(kind, 5)
    assert first.medium.content == second.medium.content
    assert (first.prompt, first.right, first.wrong, first.constraints) == (
        second.prompt, second.right, second.wrong, second.constraints,
    )  # fmt: skip


@kinds
def test_no_answer_is_much_more_frequent_than_the_others_and_none_is_missing_on_a_side(kind: QuestionKind) -> None:
    """Else a model would be right without looking."""
    for side in Side:
        rng = Random(3)
        questions = [question for _ in range(draws_of(kind)) if (question := kind.question(rng, side)) is not None]
        answers = Counter(answer_of(question) for question in questions)
        options = getattr(kind, "options", None)
        assert options is None or set(answers) == set(options)
        assert max(answers.values()) / answers.total() <= (0.75 if len(answers) == 2 else 0.5)


def draws_of(kind: QuestionKind) -> int:
    """As many as show every option: scenes are cheap but for encoded videos."""
    return 24 if kind.modality is Modality.VIDEO else 60


@kinds
def test_media_are_what_their_names_say(kind: QuestionKind) -> None:
    opens(question_of(kind, 1))


def opens(question: Question) -> None:
    medium = question.medium
    assert medium.modality is Modality.IMAGE
    image = Image.open(io.BytesIO(medium.content))
    image.load()
    assert (image.format, medium.extension) == ("PNG", "png")
    assert image.size == (112, 112)
