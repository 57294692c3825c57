"""Verdicts from two orders, the local judge's log-probabilities, and the judge's own examination."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from boresight_api.stages import ModelInput
from boresight_trainer.evaluation.judges.check_set import PLANTED, examine
from boresight_trainer.evaluation.judges.judge import Ballot, Duel, Verdict, judge_messages
from boresight_trainer.evaluation.judges.local import LocalJudge
from builders_evaluation import A_DIGEST, MakeBelieveModel, MakeBelieveShelf, text_of

JUDGE = ModelInput(uri="embedded://tiny", digest=A_DIGEST)


def ballot(first: float | None) -> Ballot:
    return Ballot(first, "")


@pytest.mark.parametrize(
    ("candidate_first", "baseline_first", "outcome", "consistent", "probability"),
    [
        pytest.param(0.9, 0.2, 1.0, True, 0.85, id="both orders for the candidate"),
        pytest.param(0.1, 0.8, 0.0, True, 0.15, id="both orders for the baseline"),
        pytest.param(0.9, 0.9, 0.5, False, 0.5, id="always the first place: a tie"),
        pytest.param(0.2, 0.2, 0.5, False, 0.5, id="always the second place: a tie"),
        pytest.param(0.5, 0.1, 0.5, False, 0.7, id="exactly undecided once: a tie"),
        pytest.param(None, 0.2, None, False, None, id="one reply not understood: invalid"),
        pytest.param(1.0, None, None, False, None, id="the other reply not understood: invalid"),
    ],
)
def test_a_verdict_counts_when_both_orders_agree(
    candidate_first: float | None,
    baseline_first: float | None,
    outcome: float | None,
    consistent: bool,
    probability: float | None,
) -> None:
    verdict = Verdict(ballot(candidate_first), ballot(baseline_first))
    assert verdict.outcome == outcome
    assert verdict.consistent is consistent
    assert verdict.probability == (None if probability is None else pytest.approx(probability))


def test_braces_in_answers_stay_as_they_are() -> None:
    text = judge_messages("{a} or {b}?", "{b}{question}", "{a}")[0].content
    assert "[Request]\n{a} or {b}?\n" in text
    assert "[Answer A]\n{b}{question}\n" in text
    assert "[Answer B]\n{a}\n" in text


def prefers(word: str) -> Callable[[str, str], float]:
    """Log-probability of a letter: high if the answer under that letter contains ``word``."""

    def logprob(context: str, letter: str) -> float:
        a, b = context.split("[Answer A]\n")[1].split("\n\n[Answer B]\n")
        return -0.1 if word in {"A": a, "B": b.split("\n\nWhich answer")[0]}[letter] else -3.0

    return logprob


def test_the_local_judge_reads_the_letters_probabilities_in_both_orders() -> None:
    model = MakeBelieveModel(logprob=prefers("good"))
    judge = LocalJudge(MakeBelieveShelf(model), JUDGE, max_length=4096)
    verdicts = judge.judge([Duel("1", "Q?", "good", "bad"), Duel("2", "Q?", "bad", "good")], purpose="test")
    assert [v.outcome for v in verdicts] == [1.0, 0.0]
    assert verdicts[0].probability == pytest.approx(1 / (1 + 2.718281828**-2.9), abs=1e-6)
    assert verdicts[0].probability == pytest.approx(1 - (verdicts[1].probability or 0))


def test_the_letters_continue_both_orders_of_the_prompt() -> None:
    model = MakeBelieveModel()
    LocalJudge(MakeBelieveShelf(model), JUDGE, max_length=4096).judge([Duel("1", "Q?", "xy", "zw")], purpose="test")
    (item,) = model.scored
    orders = [text_of(context.tokens) for context in item.contexts]
    assert orders == [judge_messages("Q?", *pair)[0].content for pair in (("xy", "zw"), ("zw", "xy"))]
    assert [[text_of(run) for run in context.continuations] for context in item.contexts] == [["A", "B"]] * 2


def test_a_duel_too_long_for_the_judge_is_invalid_not_cut() -> None:
    model = MakeBelieveModel(logprob=prefers("good"))
    judge = LocalJudge(MakeBelieveShelf(model), JUDGE, max_length=500)
    duels = [Duel("1", "Q?", "good", "bad"), Duel("2", "Q?", "long " * 100, "bad"), Duel("3", "Q?", "bad", "good")]
    assert [v.outcome for v in judge.judge(duels, purpose="test")] == [1.0, None, 0.0]


@dataclass
class RuleJudge:
    """Decides by a rule over (question, answer A, answer B)."""

    rule: Callable[[str, str, str], float | None]
    has_probabilities: bool = False

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "Rule", "revision": "1"}

    def judge(self, duels: Sequence[Duel], *, purpose: str) -> list[Verdict]:
        return [
            Verdict(
                ballot(self.rule(d.question, d.candidate, d.baseline)),
                ballot(self.rule(d.question, d.baseline, d.candidate)),
            )
            for d in duels
        ]


BETTER = {(pair.question, pair.better) for pair in PLANTED}


def knows(question: str, a: str, b: str) -> float:
    del b
    return float((question, a) in BETTER)


@pytest.mark.parametrize(
    ("rule", "planted", "consistency", "first_position", "reasons"),
    [
        pytest.param(knows, 1.0, 1.0, 0.5, 0, id="knows"),
        pytest.param(lambda q, a, b: 1.0, 0.0, 0.0, 1.0, 2, id="always the first place"),
        pytest.param(lambda q, a, b: 1 - knows(q, a, b), 0.0, 1.0, 0.5, 1, id="always the worse answer"),
        pytest.param(lambda q, a, b: None, 0.0, 0.0, None, 2, id="never understood"),
    ],
)
def test_the_examination(
    rule: Callable[[str, str, str], float | None],
    planted: float,
    consistency: float,
    first_position: float | None,
    reasons: int,
) -> None:
    report = examine(RuleJudge(rule), seed=1)
    assert report.planted.value == planted
    assert report.consistency.value == consistency
    assert report.first_position.value == first_position
    assert len(report.unfit) == reasons
    assert report.planted.n == len(PLANTED)


def test_identical_answers_are_a_tie_for_any_judge_that_is_no_dice() -> None:
    assert examine(RuleJudge(knows), seed=1).identical_ties.value == 1.0


def test_the_reason_names_what_was_found_and_what_is_expected() -> None:
    report = examine(RuleJudge(lambda q, a, b: 1.0), seed=1)
    assert report.unfit == (
        f"planted winners found: 0% of {len(PLANTED)}, expected at least 80%",
        f"position consistency: 0% of {len(PLANTED)}, expected at least 70%",
    )


def test_what_a_judge_knows_beside_its_bias_for_a_position_is_seen() -> None:
    biased = examine(RuleJudge(lambda q, a, b: 0.8 + 0.1 * knows(q, a, b)), seed=1)
    assert (biased.planted.value, biased.leaning.value) == (0.0, 1.0)
    ignorant = examine(RuleJudge(lambda q, a, b: 0.8), seed=1)
    assert (ignorant.planted.value, ignorant.leaning.value) == (0.0, 0.0)


def test_preferring_length_does_not_pass() -> None:
    def longer(question: str, a: str, b: str) -> float:
        return float(len(a) > len(b))

    def shorter(question: str, a: str, b: str) -> float:
        return float(len(a) < len(b))

    for rule in (longer, shorter):
        assert examine(RuleJudge(rule), seed=1).unfit


def test_the_check_set_has_every_question_once_and_a_winner_each() -> None:
    assert len({pair.question for pair in PLANTED}) == len(PLANTED)
    assert all(pair.better != pair.worse for pair in PLANTED)
