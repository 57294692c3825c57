"""The arithmetic of the suites, with models whose words the test decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import ModelInput, Sampling
from boresight_trainer.data.records import Feedback, Message, Prompt
from boresight_trainer.evaluation.build import slices_of
from boresight_trainer.evaluation.judges.check_set import PLANTED
from boresight_trainer.evaluation.judges.judge import Ballot, Duel, Verdict
from boresight_trainer.evaluation.statistics import Method
from boresight_trainer.evaluation.suite import Bench, ResultRow, SuiteReport, TooLong
from boresight_trainer.evaluation.suites.holdout import HoldoutSuite
from boresight_trainer.evaluation.suites.pairwise import PairwiseSuite
from boresight_trainer.evaluation.suites.verifiable import VerifiableSuite, reference_model
from boresight_trainer.evaluation.topic import on_topic, topic_stems
from builders_evaluation import (
    A_DIGEST,
    MakeBelieveModel,
    MakeBelieveShelf,
    a_bench,
    a_model,
    a_prompt,
    an_answer,
    an_evaluation,
)

NO_COMMAS = {"kind": "no_commas"}
LOWER = {"kind": "lower_case"}
NEVER_TRAINED = {"kind": "question"}


def row(
    report: SuiteReport, name: str, candidate: str, baseline: str | None = None, part: str | None = None
) -> ResultRow:
    (found,) = [
        r for r in report.rows if (r.name, r.candidate, r.baseline, r.slice) == (name, candidate, baseline, part)
    ]
    return found


def value(report: SuiteReport, *where: str | None) -> float | None:
    return row(report, *where).estimate.value  # type: ignore[arg-type]


# -- Verifiable ------------------------------------------------------------------------------------------


def a_verifiable(prompts: Sequence[Prompt]) -> VerifiableSuite:
    return VerifiableSuite("Verifiable", tuple(prompts), slices_of)


PROMPTS = (a_prompt(0, NO_COMMAS, LOWER), a_prompt(1, NO_COMMAS), a_prompt(2, NO_COMMAS, NEVER_TRAINED))
ANSWERS = {
    "policy": ["the moon is bright", "The moon is round.", "Is the moon far?"],
    "warm-start": ["the moon, bright", "The moon is round.", "The moon."],
    "initial": ["The moon, bright.", "Well, no.", "The moon."],
}


@pytest.fixture
def verifiable() -> SuiteReport:
    return a_verifiable(PROMPTS).run(a_bench(PROMPTS, ANSWERS))


@pytest.mark.parametrize(
    ("name", "candidate", "baseline", "expected"),
    [
        ("constraintShare", "policy", None, 5 / 5),
        ("constraintShare", "warm-start", None, 3 / 5),
        ("constraintShare", "initial", None, 1 / 5),
        ("promptShare", "policy", None, 1.0),
        ("promptShare", "warm-start", None, 1 / 3),
        ("promptShare", "initial", None, 0.0),
        ("constraintShareDifference", "policy", "warm-start", 2 / 5),
        ("constraintShareDifference", "policy", "initial", 4 / 5),
        ("promptShareDifference", "policy", "initial", 1.0),
        ("onTopicShare", "initial", None, 2 / 3),
        ("answerTokens", "policy", None, (19 + 19 + 17) / 3),
        ("distinctShare", "initial", None, 1.0),
        ("finishedShare", "policy", None, 1.0),
    ],
)
def test_shares_and_paired_differences(
    verifiable: SuiteReport, name: str, candidate: str, baseline: str | None, expected: float
) -> None:
    assert value(verifiable, name, candidate, baseline) == pytest.approx(expected)


def test_n_counts_constraints_and_clusters_are_prompts(verifiable: SuiteReport) -> None:
    estimate = row(verifiable, "constraintShare", "warm-start").estimate
    assert (estimate.n, estimate.clusters) == (5, 3)
    assert row(verifiable, "constraintShare", "policy").estimate.method is Method.WILSON


def test_slices_are_kinds_and_what_nobody_trained_on(verifiable: SuiteReport) -> None:
    assert value(verifiable, "constraintShare", "policy", None, "kinds-never-trained") == 1.0
    assert value(verifiable, "constraintShare", "initial", None, "kinds-never-trained") == 0.0
    assert row(verifiable, "constraintShare", "initial", None, "kind-no_commas").estimate.n == 3
    assert value(verifiable, "constraintShareDifference", "policy", "initial", "kind-lower_case") == 1.0


def test_answers_to_questions_about_media_have_slices_by_question() -> None:
    red = {"kind": "colour", "question": "shape_colour", "fact": "the circle is red", "answer": "red"}
    two = {"kind": "number", "question": "shape_count", "fact": "the number of circles is 2", "answer": 2}
    prompts = (a_prompt(0, red), a_prompt(1, two))
    report = a_verifiable(prompts).run(a_bench(prompts, {"policy": ["Red.", "Three."], "initial": ["Blue.", "Two."]}))
    assert value(report, "constraintShare", "policy", None, "question-shape_colour") == 1.0
    assert value(report, "constraintShare", "policy", None, "question-shape_count") == 0.0
    assert {r.slice for r in report.rows if r.slice} == {
        "kind-colour", "kind-number", "question-shape_colour", "question-shape_count",
    }  # fmt: skip


def test_two_models_that_never_differ_are_not_known_to_be_equal() -> None:
    report = a_verifiable(PROMPTS).run(a_bench(PROMPTS, {"policy": ANSWERS["initial"], "initial": ANSWERS["initial"]}))
    estimate = row(report, "promptShareDifference", "policy", "initial").estimate
    assert (estimate.value, estimate.method) == (0.0, Method.WILSON)
    assert estimate.low is not None
    assert estimate.low < -0.5


def test_a_policy_that_says_the_same_to_everything_is_seen() -> None:
    prompts = [a_prompt(i, NO_COMMAS) for i in range(4)]
    report = a_verifiable(prompts).run(
        a_bench(prompts, {"policy": ["ok", "ok ", "ok", "moon"], "initial": list("abcd")})
    )
    assert value(report, "constraintShare", "policy") == 1.0
    assert value(report, "distinctShare", "policy") == pytest.approx(2 / 4)
    assert value(report, "onTopicShare", "policy") == pytest.approx(1 / 4)
    assert value(report, "distinctShareDifference", "policy", "initial") == pytest.approx(-1 / 2)


def test_fluency_is_under_the_initial_model_and_shares_the_prompt() -> None:
    model = MakeBelieveModel(
        logprob=lambda context, answer: -0.5 * len(answer) if "moon" in answer else -2.0 * len(answer)
    )
    bench = a_bench(PROMPTS, ANSWERS, model=model)
    report = a_verifiable(PROMPTS).run(bench)
    assert isinstance(bench.shelf, MakeBelieveShelf)
    assert bench.shelf.opened == ["embedded://initial"]
    assert value(report, "fluency", "policy") == pytest.approx(-0.5)
    assert value(report, "fluency", "initial") == pytest.approx((-0.5 - 2.0 - 0.5) / 3)
    assert report.details["fluencyUnder"] == "initial"
    # prompt 1: policy and warm-start said the same, which is scored once
    assert [len(item.contexts[0].continuations) for item in model.scored] == [3, 2, 2]


def test_an_empty_answer_has_no_fluency_and_fails_nothing_else() -> None:
    prompts = [a_prompt(i, NO_COMMAS) for i in range(3)]
    report = a_verifiable(prompts).run(a_bench(prompts, {"policy": ["", "moon", "moon"], "initial": ["a", "b", "c"]}))
    estimate = row(report, "fluency", "policy").estimate
    assert (estimate.n, estimate.invalid) == (2, 1)
    assert row(report, "fluencyDifference", "policy", "initial").estimate.invalid == 1
    assert report.samples[0].metrics["fluency"] is None


def test_without_a_baseline_there_is_no_fluency_and_no_difference() -> None:
    report = a_verifiable(PROMPTS).run(a_bench(PROMPTS, {"policy": ANSWERS["policy"]}))
    assert {r.baseline for r in report.rows} == {None}
    assert "fluency" not in {r.name for r in report.rows}


@pytest.mark.parametrize(
    ("candidate", "baselines", "expected"),
    [
        ("policy", ["warm-start", "initial"], "initial"),
        ("candidate", ["baseline"], "baseline"),
        ("initial", ["other"], "initial"),
        ("policy", [], None),
    ],
)
def test_who_measures_fluency(candidate: str, baselines: list[str], expected: str | None) -> None:
    found = reference_model(a_model(candidate), [a_model(name) for name in baselines])
    assert (found.name if found else None) == expected


def test_an_answer_that_was_cut_counts_as_not_finished() -> None:
    prompts = [a_prompt(i, NO_COMMAS) for i in range(2)]
    report = a_verifiable(prompts).run(a_bench(prompts, {"policy": [an_answer("moon", finished=False), "moon"]}))
    assert value(report, "finishedShare", "policy") == 0.5


def test_prompts_without_constraints_are_refused_by_name() -> None:
    with pytest.raises(StageFailure, match=r'1 of 2 prompts have no constraints \(first: "p1"') as failure:
        a_verifiable([a_prompt(0, NO_COMMAS), a_prompt(1)])
    assert failure.value.failure is FailureClass.INVALID_DATA


def test_samples_hold_every_model_s_answer_and_verdicts(verifiable: SuiteReport) -> None:
    lines = {(s.doc_id, s.filter): s for s in verifiable.samples}
    assert len(lines) == 9
    line = lines[0, "warm-start"]
    assert line.responses == ("the moon, bright",)
    assert line.details["satisfied"] == [False, True]
    assert line.metrics["constraintShare"] == 0.5


@pytest.mark.parametrize(
    ("changes", "prompts", "same"),
    [
        ({}, PROMPTS, True),
        ({"sampling": Sampling(temperature="0.7", max_tokens=8)}, PROMPTS, False),
        ({"seed": 8}, PROMPTS, False),
        ({"batch_size": 16}, PROMPTS, False),
        ({}, PROMPTS[::-1], False),
        ({}, (a_prompt(0, NO_COMMAS), *PROMPTS[1:]), False),
    ],
)
def test_the_comparison_digest_names_prompts_and_decoding(
    verifiable: SuiteReport, changes: dict[str, Any], prompts: Sequence[Prompt], same: bool
) -> None:
    other = a_verifiable(prompts).run(a_bench(prompts, {"other": ["moon"] * 3}, **changes))
    assert (other.comparison_digest == verifiable.comparison_digest) is same


# -- on topic ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "response", "expected"),
    [
        (a_prompt(0, text="Tell me about bees. Use the word 'ocean'."), "Honey is sweet.", 1.0),
        (a_prompt(0, text="Tell me about bees. Use the word 'ocean'."), "The ocean is blue.", 0.0),
        (a_prompt(0, text="Why do lighthouses blink?"), "A lighthouse warns ships.", 1.0),
        (a_prompt(0, text="Why do lighthouses blink?"), "I like soup.", 0.0),
        (a_prompt(0, {"kind": "required_word", "word": "zebra"}, text="Use 'zebra'. About lanterns."), "zebra", 0.0),
        (a_prompt(0, {"kind": "addition", "a": 1, "b": 2}, text="What is the moon plus 2?"), "3", None),
        (a_prompt(0, text="Write three sentences."), "Yes.", None),
        (
            a_prompt(
                0,
                {"kind": "colour", "question": "shape_colour", "fact": "the moon is red", "answer": "red"},
                text="Which colour does the moon have?",
            ),
            "Red.",
            None,
        ),
    ],
)
def test_on_topic(prompt: Prompt, response: str, expected: float | None) -> None:
    assert on_topic(prompt, response) == expected


def test_words_about_form_are_no_topic() -> None:
    assert topic_stems(a_prompt(0, text="In exactly two lower case sentences, explain turbines.")) >= {"turbi"}
    assert "sente" not in topic_stems(a_prompt(0, text="In exactly two sentences, explain turbines."))


# -- Pairwise ------------------------------------------------------------------------------------------

CHECK = {pair.question: pair for pair in PLANTED}


@dataclass
class Scripted:
    """Passes its examination, unless told to fail; decides by the answers' first letters otherwise."""

    first: Callable[[str, str], float | None]
    examined_well: bool = True
    has_probabilities: bool = True
    duels: int = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "Local", "model": "somewhere", "revision": A_DIGEST}

    def judge(self, duels: Sequence[Duel], *, purpose: str) -> list[Verdict]:
        return [
            Verdict(self._ballot(d, d.candidate, d.baseline), self._ballot(d, d.baseline, d.candidate)) for d in duels
        ]

    def _ballot(self, duel: Duel, a: str, b: str) -> Ballot:
        if duel.question in CHECK:
            return Ballot(float(not self.examined_well or a == CHECK[duel.question].better), "")
        self.duels += 1
        return Ballot(self.first(a, b), "")


def strength(a: str, b: str) -> float:
    """A probability from how far the answers' leading digits lie apart: 9 beats 1 surely, 5 and 4 nearly tie."""
    return 0.5 + (int(a[0]) - int(b[0])) / 20


def pairwise(judge: Scripted, answers: Mapping[str, Sequence[str]], **changes: Any) -> SuiteReport:
    prompts = tuple(a_prompt(i) for i in range(len(next(iter(answers.values())))))
    suite = PairwiseSuite("Pairwise", prompts, make_judge=lambda bench: judge, **changes)
    return suite.run(a_bench(prompts, answers))


def test_win_rates_hard_and_soft() -> None:
    report = pairwise(Scripted(strength), {"policy": ["9", "9", "1", "5"], "initial": ["1", "1", "9", "4"]})
    assert value(report, "winRate", "policy", "initial") == pytest.approx(3 / 4)
    assert value(report, "softWinRate", "policy", "initial") == pytest.approx((0.9 + 0.9 + 0.1 + 0.55) / 4)
    assert value(report, "positionConsistency", "policy", "initial") == 1.0
    assert value(report, "firstPositionRate", "policy", "initial") == 0.5
    assert row(report, "winRate", "policy", "initial").headline


def test_a_judge_that_follows_the_position_makes_ties() -> None:
    report = pairwise(Scripted(lambda a, b: 0.8), {"policy": ["9", "8"], "initial": ["1", "2"]})
    assert value(report, "winRate", "policy", "initial") == 0.5
    assert value(report, "tieShare", "policy", "initial") == 1.0
    assert value(report, "positionConsistency", "policy", "initial") == 0.0
    assert value(report, "firstPositionRate", "policy", "initial") == 1.0


def test_equal_answers_are_ties_without_asking_and_say_nothing_about_the_judge() -> None:
    judge = Scripted(strength)
    report = pairwise(judge, {"policy": ["9", "5", "5"], "initial": ["1", "5 ", "5"]})
    assert judge.duels == 2
    assert value(report, "winRate", "policy", "initial") == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert row(report, "positionConsistency", "policy", "initial").estimate.n == 1


def test_replies_not_understood_are_counted_and_decide_nothing() -> None:
    judge = Scripted(lambda a, b: None if "8" in a else strength(a, b))
    report = pairwise(judge, {"policy": ["9", "8", "9"], "initial": ["1", "1", "1"]})
    estimate = row(report, "winRate", "policy", "initial").estimate
    assert (estimate.value, estimate.n, estimate.invalid) == (1.0, 2, 1)
    assert report.samples[1].metrics == {"winRate": None, "softWinRate": None}


def test_every_baseline_is_compared() -> None:
    report = pairwise(Scripted(strength), {"policy": ["5"] * 3, "warm-start": ["4"] * 3, "initial": ["9"] * 3})
    assert value(report, "winRate", "policy", "warm-start") == 1.0
    assert value(report, "winRate", "policy", "initial") == 0.0
    assert {sample.filter for sample in report.samples} == {"policy-vs-warm-start", "policy-vs-initial"}


def test_a_judge_without_probabilities_has_no_soft_win_rate() -> None:
    report = pairwise(Scripted(strength, has_probabilities=False), {"policy": ["9"], "initial": ["1"]})
    assert "softWinRate" not in {r.name for r in report.rows}


def test_an_unfit_judge_is_shown_with_its_reasons() -> None:
    report = pairwise(Scripted(strength, examined_well=False), {"policy": ["9"], "initial": ["1"]})
    assert len(report.unfit) == 2
    assert value(report, "winRate", "policy", "initial") == 1.0
    assert value(report, "checkPlantedShare", "judge") == 0.0


def test_a_fit_judge_has_no_reasons() -> None:
    assert pairwise(Scripted(strength), {"policy": ["9"], "initial": ["1"]}).unfit == ()


def test_a_related_judge_is_flagged() -> None:
    report = pairwise(Scripted(strength), {"policy": ["9"], "initial": ["1"]}, contestants=("initial",))
    assert report.details["judgeIsContestant"] == ["initial"]
    assert report.warnings == ('the judge is related to "initial": it may prefer its own words',)


def test_the_same_judge_read_from_another_place_is_comparable() -> None:
    report = pairwise(Scripted(strength), {"policy": ["9"], "initial": ["1"]})
    assert report.comparison["judge"] == {"kind": "Local", "revision": A_DIGEST}


# -- Holdout ------------------------------------------------------------------------------------------

BAD, GOOD = "Honey, as we know.", "honey is sweet."
FEEDBACK_MODEL = ModelInput(uri="embedded://tiny", digest=A_DIGEST)


def a_feedback(number: int, response: str, *constraints: Mapping[str, Any], prompt: str | None = None) -> Feedback:
    x = Prompt(prompt or f"p{number}", (Message("user", "Tell me about honey."),), constraints)
    return Feedback(x, response, "Wrong: it has 1 comma.", "Leave it out.", response_number=number)


def holdout(rows: Sequence[Feedback], model: MakeBelieveModel, **changes: Any) -> SuiteReport:
    bench = Bench(an_evaluation(**changes), MakeBelieveShelf(model), {})
    return HoldoutSuite("Holdout", tuple(rows), FEEDBACK_MODEL).run(bench)


def critic(*critiques: str | TooLong) -> MakeBelieveModel:
    """Writes the given critiques in turn."""
    remaining = iter(critiques)
    return MakeBelieveModel(answer=lambda ask: next(remaining), logprob=lambda context, target: -0.25 * len(target))


NAMES_COMMAS = "##Critique: Wrong: it has 2 commas.\n\n##Refinement: Leave out the commas."
NAMES_CASE = "##Critique: Wrong: it is not in lower case.\n\n##Refinement: Use small letters."
NAMES_BOTH = "##Critique: Wrong: it has commas. Wrong: it is not in lower case.\n\n##Refinement: Change it."
PRAISES = "##Critique: Good: it has no commas.\n\n##Refinement: Keep it as it is."


def test_loss_is_per_token_over_all_rows() -> None:
    model = critic(PRAISES, PRAISES)
    report = holdout([a_feedback(0, GOOD), a_feedback(1, BAD)], model)
    assert value(report, "lossPerToken", "feedback-model") == pytest.approx(0.25)
    target = "##Critique: Wrong: it has 1 comma.\n\n##Refinement: Leave it out."
    assert row(report, "lossPerToken", "feedback-model").estimate.n == 2 * (len(target) + 1)


@pytest.mark.parametrize(
    ("critiques", "precision", "recall", "parsable"),
    [
        pytest.param([NAMES_BOTH, PRAISES], 1.0, 1.0, 1.0, id="names what failed, praises what did not"),
        pytest.param([NAMES_COMMAS, PRAISES], 1.0, 1 / 2, 1.0, id="misses one"),
        pytest.param([NAMES_BOTH, NAMES_BOTH], 2 / 4, 1.0, 1.0, id="blames everything"),
        pytest.param([PRAISES, PRAISES], None, 0.0, 1.0, id="praises everything"),
        pytest.param([NAMES_CASE, NAMES_CASE], 1 / 2, 1 / 2, 1.0, id="always the same"),
        pytest.param([NAMES_BOTH, "hm"], 1.0, 1.0, 1 / 2, id="one without headings"),
    ],
)
def test_critiques_are_held_against_the_verifiers(
    critiques: list[str], precision: float | None, recall: float, parsable: float
) -> None:
    rows = [a_feedback(0, BAD, NO_COMMAS, LOWER), a_feedback(1, GOOD, NO_COMMAS, LOWER)]
    report = holdout(rows, critic(*critiques))
    assert value(report, "critiquePrecision", "feedback-model") == precision
    assert value(report, "critiqueRecall", "feedback-model") == recall
    assert value(report, "parsableShare", "feedback-model") == parsable
    assert value(report, "failingShare", "feedback-model") == 2 / 4


def test_rows_without_constraints_have_loss_and_form_only() -> None:
    report = holdout([a_feedback(0, GOOD), a_feedback(1, BAD)], critic(PRAISES, "hm"))
    assert {r.name for r in report.rows} == {"lossPerToken", "parsableShare", "finishedShare"}


def test_rows_without_constraints_among_others_are_counted() -> None:
    report = holdout([a_feedback(0, BAD, NO_COMMAS), a_feedback(1, BAD)], critic(NAMES_COMMAS, NAMES_COMMAS))
    estimate = row(report, "critiqueRecall", "feedback-model").estimate
    assert (estimate.value, estimate.n, estimate.invalid) == (1.0, 1, 1)


def test_rows_of_one_prompt_are_one_cluster() -> None:
    rows = [a_feedback(i, BAD, NO_COMMAS, prompt="same") for i in range(3)] + [a_feedback(3, BAD, NO_COMMAS)]
    report = holdout(rows, critic(*[NAMES_COMMAS] * 4))
    assert row(report, "lossPerToken", "feedback-model").estimate.clusters == 2


def test_a_row_longer_than_max_length_is_counted_not_cut() -> None:
    report = holdout([a_feedback(0, GOOD), a_feedback(1, "x" * 600)], critic(PRAISES, PRAISES), max_length=500)
    estimate = row(report, "lossPerToken", "feedback-model").estimate
    assert (estimate.clusters, estimate.invalid) == (1, 1)
    assert report.samples[1].metrics["lossPerToken"] is None


def test_critiques_are_drawn_as_in_synthesis() -> None:
    sampling = Sampling(temperature="0.5", max_tokens=33)
    model = critic(PRAISES)
    holdout([a_feedback(0, GOOD)], model, critique_sampling=sampling)
    assert model.asked == [(sampling, "critique")]


LONG = TooLong(600, 504)


def test_a_prompt_without_room_for_a_critique_is_counted_not_fatal() -> None:
    rows = [a_feedback(0, BAD, NO_COMMAS), a_feedback(1, GOOD, NO_COMMAS)]
    report = holdout(rows, critic(NAMES_COMMAS, LONG), max_invalid_percent=50)
    for name in ("parsableShare", "finishedShare", "critiqueRecall"):
        estimate = row(report, name, "feedback-model").estimate
        assert (estimate.value, estimate.n, estimate.invalid) == (1.0, 1, 1)
    assert (report.samples[1].responses, report.samples[1].metrics["parsableShare"]) == ((), None)


def test_a_prompt_without_room_for_an_answer_is_counted_in_both_comparisons() -> None:
    prompts = [a_prompt(i, NO_COMMAS) for i in range(3)]
    answers = {"policy": ["a", "b, c", LONG], "initial": ["x, y", "d", "e"]}
    bench = a_bench(prompts, answers, max_invalid_percent=34)
    report = a_verifiable(prompts).run(bench)
    for where in (("policy",), ("policy", "initial")):
        name = "constraintShare" if len(where) == 1 else "constraintShareDifference"
        estimate = row(report, name, *where).estimate
        assert (estimate.n, estimate.invalid) == (2, 1)
    assert row(report, "constraintShare", "initial").estimate.invalid == 0
    compared = PairwiseSuite("Pairwise", tuple(prompts), make_judge=lambda _: Scripted(lambda a, b: 0.7)).run(bench)
    estimate = row(compared, "winRate", "policy", "initial").estimate
    assert (estimate.n, estimate.invalid) == (2, 1)


@pytest.mark.parametrize(("answered", "percent"), [(["a", LONG], 49), ([LONG, LONG], 100)])
def test_too_many_prompts_without_room_are_refused_by_name(answered: list[str | TooLong], percent: int) -> None:
    prompts = [a_prompt(i, NO_COMMAS) for i in range(2)]
    bench = a_bench(prompts, {"policy": answered, "initial": ["a", "b"]}, max_invalid_percent=percent)
    message = r'suite "Verifiable": row p[01]: found a prompt of 600 tokens, expected at most 504'
    with pytest.raises(StageFailure, match=message) as caught:
        a_verifiable(prompts).run(bench)
    assert caught.value.failure is FailureClass.INVALID_DATA
