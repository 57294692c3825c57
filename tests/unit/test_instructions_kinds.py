"""Every kind of constraint: what satisfies it, what does not, what a rule can edit, and the sides of the split."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.instructions import registry
from boresight_trainer.data.instructions.compose import edited
from boresight_trainer.data.instructions.constraint import Constraint, Finding, InstructionKind, Split
from boresight_trainer.data.instructions.registry import KINDS, NEVER_TRAINED, SIMPLE, SIMPLE_NEVER_TRAINED, parse
from boresight_trainer.data.instructions.verifiers import satisfied, verify

LONG = "The sea is a vast and mysterious body of water, full of wonders. It covers most of the Earth."

# kind and parameters; answers that satisfy it; answers that do not
CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (
        {"kind": "required_word", "word": "river"},
        ["A river flows.", "RIVER!", "It is **river**-like: a river.", "the\u00a0river"],
        ["Rivers flow.", "A driver.", ""],
    ),
    (
        {"kind": "repeated_word", "word": "river", "count": 2},
        ["River by river.", "A river, a river, a river."],
        ["One river.", "rivers rivers"],
    ),
    (
        {"kind": "forbidden_word", "word": "and"},
        ["Sand is dry.", "Bread or milk."],
        ["Bread and milk.", "AND so on.", "milk, *and* tea"],
    ),
    ({"kind": "forbidden_letter", "letter": "z"}, ["A calm sea."], ["A lazy sea.", "ZEBRA"]),
    ({"kind": "placeholder", "count": 1}, ["The [sea] is wide."], ["The sea is wide.", "The [] sea", "The [sea"]),
    (
        {"kind": "first_word", "word": "Indeed"},
        ["Indeed, it is.", "**Indeed** so.", "  indeed it is", '"Indeed," he said.', "- Indeed"],
        ["It is indeed.", "Indeedly so.", ""],
    ),
    (
        {"kind": "label", "label": "In short"},
        ["In short: yes.", "**In short:** yes"],
        ["In short, yes.", "Yes. In short: no"],
    ),
    (
        {"kind": "last_word", "word": "today"},
        ["It rains today.", "Rain *today*!", 'He said "today."'],
        ["Today it rains.", "It rains todays.", ""],
    ),
    (
        {"kind": "end_phrase", "phrase": "for sure"},
        ["It is wet, for sure.", "It is wet for SURE!", "wet\nfor sure"],
        ["For sure it is wet.", "It is for now sure.", ""],
    ),
    (
        {"kind": "signature", "name": "Ana"},
        ["It is. - Ana", "It is.\n— Ana", "It is.\n-Ana"],
        ["Ana says so.", "It is. Ana"],
    ),
    (
        {"kind": "postscript"},
        ["It is. P.S. Write back.", "It is.\n\n**P.S.** Bye"],
        ["It is.", "P.S. Only this", "It is. P.S."],
    ),
    (
        {"kind": "max_words", "limit": 4},
        ["Four words are here.", "**One** - two"],
        ["Five words are here now.", "", "..."],
    ),
    ({"kind": "min_words", "limit": 3}, ["One two three."], ["One - two!"]),
    ({"kind": "max_characters", "limit": 10}, ["0123456789", "  short  "], ["01234567890", ""]),
    (
        {"kind": "sentences", "count": 2},
        ["One. Two!", "He met Dr. Smith at 3.5 miles. Then he left.", "one\ntwo", '"One." "Two."'],
        ["One.", "One. Two. Three?"],
    ),
    ({"kind": "paragraphs", "count": 2}, ["One.\n\nTwo.", "One.\n \n\nTwo."], ["One.\nTwo.", "One.\n\nTwo.\n\nThree."]),
    (
        {"kind": "bullets", "count": 2},
        ["- a\n- b", "* a\n* b", "Here:\n• a\n• b", "- a\r\n- b"],
        ["- a", "-a\n-b", "1. a\n2. b", "- a\n- b\n- c"],
    ),
    ({"kind": "numbered_list", "count": 2}, ["1. a\n2. b", "1) a\n2) b"], ["- a\n- b", "1. a"]),
    (
        {"kind": "json_object", "key": "answer"},
        ['{"answer": "The sea."}', '```json\n{"answer": "The sea."}\n```'],
        ['{"answer": ""}', '{"Answer": "x"}', '{"answer": "x", "b": 1}', "answer: x", '["x"]', '{"answer": 5}'],
    ),
    (
        {"kind": "heading"},
        ["# Sea\nIt is wide.", "## Sea\n\nIt is wide."],
        ["# Sea", "Sea\nIt is wide.", "#Sea\nWide."],
    ),
    ({"kind": "title"}, ["<<Sea>> It is wide."], ["<Sea> It is wide.", "<<>> Sea"]),
    (
        {"kind": "two_parts"},
        ["One.\n***\nTwo.", "One. *** Two."],
        ["One.", "One.\n***", "One.\n***\nTwo.\n***\nThree."],
    ),
    ({"kind": "no_commas"}, ["Wide and deep."], ["Wide, deep.", "wide，deep"]),
    ({"kind": "quoted"}, ['"It is wide."', "“It is wide.”", '**"Wide"**'], ['It is "wide".', '"Wide', '""', '"a" b "']),
    ({"kind": "bracketed"}, ["(It is wide.)", " (Wide) "], ["It is (wide).", "()", "(Wide). "]),
    ({"kind": "bold"}, ["A **wide** sea.", "__Wide__"], ["A *wide* sea.", "A wide sea.", "** wide **"]),
    ({"kind": "exclamation"}, ["Wide!", '"Wide!"', "**Wide!**"], ["Wide.", "Wide! Really.", ""]),
    ({"kind": "question"}, ["Wide?", "Wide, right? "], ["Wide."]),
    ({"kind": "lower_case"}, ["the sea is wide.", "1. wie schön"], ["The sea.", "the Sea", ""]),
    ({"kind": "upper_case"}, ["THE SEA.", "ÄPFEL 3"], ["THE SEa.", "...", ""]),
    ({"kind": "title_case"}, ["The Sea Is Wide.", "3 Seas"], ["The sea Is", ""]),
    ({"kind": "capital_words", "count": 1}, ["The SEA is wide."], ["The Sea is wide.", "I see a sea."]),
    (
        {"kind": "language", "language": "German"},
        ["Das Meer ist groß und tief."],
        ["The sea is wide and deep.", "El mar es grande y profundo.", "", "xyzzy"],
    ),
    (
        {"kind": "addition", "a": 17, "b": 8},
        ["25", "17 + 8 = 25.", "The sum is **25**."],
        ["24", "25 or 26?", "twenty", "2 5"],
    ),
    ({"kind": "multiplication", "a": 2, "b": 5}, ["10", "ten", "2 x 5 = 10"], ["25", "Twelve"]),
    ({"kind": "letter_count", "word": "banana", "letter": "a"}, ["3", "Three times: three"], ["2"]),
    ({"kind": "word_count", "listed": "cat, dog, cow"}, ["There are 3 animals.", "three"], ["4", "cat, dog, cow"]),
    (
        {"kind": "spell_backwards", "word": "garden"},
        ["nedrag", 'It is "Nedrag".'],
        ["garden", "nedragx", "n-e-d-r-a-g"],
    ),
    ({"kind": "spell_out", "word": "sun"}, ["s-u-n", "It is S-U-N."], ["sun", "s-u-n-s", "s u n"]),
    ({"kind": "sort_words", "listed": "dog, cat"}, ["cat, dog", "Sorted: Cat, dog."], ["dog, cat", "cat dog"]),
    (
        {"kind": "yes_or_no", "question": "Is fire cold?", "answer": "no"},
        ["No", "no.", "**No!**"],
        ["Yes", "No, it is hot.", ""],
    ),
]


@pytest.mark.parametrize(
    ("constraint", "response", "expected"),
    [(c, answer, ok) for c, good, bad in CASES for ok, answers in ((True, good), (False, bad)) for answer in answers],
)
def test_a_verdict_reads_an_answer_as_a_person_would(constraint: dict[str, Any], response: str, expected: bool) -> None:
    assert satisfied(constraint, response) is expected


def test_every_kind_has_cases_and_there_are_more_than_25() -> None:
    assert {constraint["kind"] for constraint, _, _ in CASES} == {kind.kind for kind in KINDS}
    assert len(KINDS) == len({kind.kind for kind in KINDS}) >= 25


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
@pytest.mark.parametrize("split", Split)
def test_a_rule_edit_satisfies_its_constraint_and_is_stable(kind: type[InstructionKind], split: Split) -> None:
    for seed in range(8):
        constraint = kind.draw(Random(seed), split)
        for response in (LONG, "wide", "- One, and two.\n- Three?", '"Rivers and the sea!"', "The river today. " * 9):
            followed = constraint.follow(response)
            if followed is not None:
                assert constraint.examine(followed).satisfied, followed
                assert constraint.follow(followed) == followed.strip()


def test_rules_can_edit_an_ordinary_answer_for_all_but_a_few_kinds() -> None:
    without_rule = {kind.kind for kind in KINDS if kind.draw(Random(0), Split.TRAIN).follow(LONG) is None}
    assert without_rule <= {"forbidden_letter", "min_words", "paragraphs", "language"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_constraint_survives_its_json(kind: type[InstructionKind]) -> None:
    constraint = kind.draw(Random(1), Split.TRAIN)
    assert parse(constraint.to_json()) == constraint
    assert constraint.to_json()["kind"] == kind.kind


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_phrasings_are_several_and_belong_to_one_side(kind: type[InstructionKind]) -> None:
    train, evaluation = set(kind.requests.train), set(kind.requests.evaluation)
    assert len(train) >= 2
    assert evaluation
    assert not train & evaluation
    assert len(kind.advices) >= 2


def test_values_to_draw_belong_to_one_side_except_plain_numbers() -> None:
    numbers = {"limit", "count"}
    languages_and_answers = {"answer", "letter"}  # "answer" is yes or no; letters of letter_count come from split words
    for kind in KINDS:
        drawn = {
            split: {
                (name, value)
                for seed in range(60)
                for name, value in kind.draw(Random(seed), split).parameters().items()
                if name not in numbers | languages_and_answers
            }
            for split in Split
        }
        if kind.kind in {"addition", "multiplication"}:  # operands recur, sums do not
            continue
        assert not drawn[Split.TRAIN] & drawn[Split.EVALUATION], kind.kind


@pytest.mark.parametrize("name", ["addition", "multiplication"])
def test_sums_belong_to_one_side_whatever_the_seed(name: str) -> None:
    (kind,) = registry.kinds_named([name])
    sides = [{kind.draw(Random(seed), split) for seed in range(100)} for split in Split]
    assert not sides[0] & sides[1]


def test_kinds_for_evaluation_only_are_no_simple_ones() -> None:
    names = {kind.kind for kind in KINDS}
    assert len(SIMPLE) == 10
    assert set(SIMPLE) <= names - NEVER_TRAINED
    assert set(SIMPLE_NEVER_TRAINED) <= NEVER_TRAINED <= names


def test_verify_answers_in_order() -> None:
    constraints = [{"kind": "no_commas"}, {"kind": "exclamation"}]
    assert verify(constraints, "Wide, deep!") == (False, True)


def test_several_constraints_are_edited_together() -> None:
    constraints = [
        parse(c) for c in ({"kind": "first_word", "word": "Indeed"}, {"kind": "no_commas"}, {"kind": "upper_case"})
    ]
    assert edited(constraints, "It is wide, and deep.") == "INDEED IT IS WIDE AND DEEP."  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ({"kind": "no_such"}, "kind 'no_such', expected one of addition"),
        ({"word": "river"}, "kind None, expected one of"),
        (
            {"kind": "first_word"},
            'constraint "first_word", parameter "word": found None, expected a parameter of type str',
        ),
        ({"kind": "max_words", "limit": "5"}, "parameter \"limit\": found '5', expected a parameter of type int"),
        ({"kind": "max_words", "limit": True}, "found True"),
        ({"kind": "no_commas", "limit": 1}, 'parameter "limit": found 1, expected only no parameters'),
    ],
)
def test_a_malformed_constraint_is_named(constraint: dict[str, Any], message: str) -> None:
    with pytest.raises(StageFailure) as failure:
        satisfied(constraint, "x")
    assert failure.value.failure is FailureClass.INVALID_DATA
    assert message in failure.value.message


class Palindrome(Constraint):
    """A user's own kind."""

    kind = "palindrome"

    def examine(self, response: str) -> Finding:
        return Finding(response == response[::-1], "reads the same from both ends")

    @classmethod
    def from_json(cls, constraint: Any) -> Palindrome:
        return cls()


class Point:
    """An entry point."""

    def __init__(self, name: str, loaded: object) -> None:
        self.name = name
        self._loaded = loaded

    def load(self) -> object:
        return self._loaded


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that a package offers entry points."""

    def install(*points: Point) -> None:
        monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "boresight.verifiers" else ())
        registry._known.cache_clear()

    yield install
    registry._known.cache_clear()


def test_a_kind_of_the_users_own_is_found_by_its_entry_point(installed: Any) -> None:
    installed(Point("palindrome", Palindrome))
    assert satisfied({"kind": "palindrome"}, "anna")
    assert not satisfied({"kind": "palindrome"}, "anne")


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (Point("palindrome", object()), "expected a subclass of"),
        (Point("other", Palindrome), 'with kind = "other"'),
        (Point("no_commas", type("Mine", (Palindrome,), {"kind": "no_commas"})), "the kind exists already"),
    ],
)
def test_a_useless_entry_point_is_named(installed: Any, point: Point, message: str) -> None:
    installed(point)
    with pytest.raises(StageFailure, match=message):
        satisfied({"kind": "no_commas"}, "x")
