"""Every kind of question about media: its own answers against its own verifier, its media, its side of the split."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from boresight_trainer.data.instructions.critiques import named_constraints, write_feedback
from boresight_trainer.data.instructions.registry import parse
from boresight_trainer.data.questions.question import QuestionKind
from boresight_trainer.data.questions.sides import Side, side_of
from boresight_trainer.data.records import Modality
from boresight_trainer.data.verifiable_rows import constraints_of, satisfies
from builders_questions import ALL_KINDS, SIZE, film_of, pixels_of, question_of, sound_of
from hypothesis import given, settings
from hypothesis import strategies as st

kinds = pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.name)
SEEDS = st.integers(0, 15)
SIDES = st.sampled_from(Side)


@kinds
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=SEEDS, side=SIDES)
def test_right_answers_satisfy_and_wrong_ones_do_not(kind: QuestionKind, seed: int, side: Side) -> None:
    question = question_of(kind, seed, side)
    assert [answer for answer in question.right if not satisfies(question, answer)] == []
    assert [answer for answer in question.wrong if satisfies(question, answer.text)] == []
    assert len({answer.way for answer in question.wrong}) >= 3


@kinds
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=SEEDS, side=SIDES)
def test_critiques_are_true(kind: QuestionKind, seed: int, side: Side) -> None:
    question = question_of(kind, seed, side)
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
    first, second = (kind.question(Random(5), Side.TRAIN) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.medium.content == second.medium.content
    assert (first.prompt, first.right, first.wrong, first.constraints) == (
        second.prompt, second.right, second.wrong, second.constraints,
    )  # fmt: skip


@kinds
@pytest.mark.parametrize("side", Side)
def test_no_answer_is_much_more_frequent_than_the_others_and_none_is_missing_on_a_side(
    kind: QuestionKind, side: Side
) -> None:
    """Else a model would be right without looking."""
    rng = Random(3)
    scenes = [kind.scene(rng, side) for _ in range(200)]
    answers = Counter(scene.answer for scene in scenes if scene is not None)
    assert answers.total() == 200
    assert set(answers) == set(getattr(kind, "options", answers))
    assert max(answers.values()) / 200 <= (0.6 if len(answers) == 2 else 0.45)


@kinds
def test_media_are_what_their_names_say(kind: QuestionKind) -> None:
    question = question_of(kind, 1)
    if kind.modality is Modality.IMAGE:
        assert question.medium.extension == "png"
        assert pixels_of(question).shape == (SIZE, SIZE, 3)
    elif kind.modality is Modality.AUDIO:
        assert question.medium.extension == "wav"
        sound = sound_of(question)
        assert 0.1 < len(sound.samples) / sound.rate < 8
    else:
        assert question.medium.extension == "mp4"
        film = film_of(question)
        assert film.frames.shape == (24, SIZE, SIZE, 3)
        assert film.fps == 8
