"""The judge's own examination: pairs whose winner is planted, asked in both orders, and pairs of identical answers.

A judge that misses planted winners, or follows the position instead of the answer, must not decide between models. The
set is fixed: questions a small model can follow, losers that are wrong, off topic, garbled, refusing or disobedient, as
long as the winner on average, so that preferring length does not help.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..statistics import Estimate, Scale, estimate_mean
from .judge import Duel, Judge, Verdict

PLANTED_AT_LEAST = 0.8
CONSISTENT_AT_LEAST = 0.7


@dataclass(frozen=True, slots=True)
class Planted:
    """A question with a better and a worse answer."""

    question: str
    better: str
    worse: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """How the judge did. An unparsed reply counts as a missed winner and as inconsistent."""

    planted: Estimate
    """Share of planted winners found (both orders agree on the winner)."""
    consistency: Estimate
    """Share of planted pairs with the same winner in both orders."""
    leaning: Estimate
    """Share of planted pairs in which the mean probability over both orders is above 1/2 for the winner: what a judge
    knows beside its bias for a position."""
    identical_ties: Estimate
    """Share of identical pairs judged a tie."""
    first_position: Estimate
    """Share of replies that name the answer in first place; 0.5 is unbiased."""

    @property
    def unfit(self) -> tuple[str, ...]:
        """Why the judge must not decide; empty if it may."""
        limits = (
            ("planted winners found", self.planted, PLANTED_AT_LEAST),
            ("position consistency", self.consistency, CONSISTENT_AT_LEAST),
        )
        return tuple(
            f"{what}: {estimate.value:.0%} of {estimate.n}, expected at least {limit:.0%}"
            for what, estimate, limit in limits
            if estimate.value is not None and estimate.value < limit
        )


def examine(judge: Judge, *, seed: int) -> CheckReport:
    """Ask ``judge`` the whole set."""
    duels = [_duel(number, pair) for number, pair in enumerate(PLANTED)]
    same = [Duel(f"identical-{n}", pair.question, pair.better, pair.better) for n, pair in enumerate(PLANTED[::3])]
    verdicts = judge.judge([*duels, *same], purpose="check-set")
    return grade(verdicts[: len(duels)], verdicts[len(duels) :], seed=seed)


def grade(planted: list[Verdict], identical: list[Verdict], *, seed: int) -> CheckReport:
    """Turn verdicts into the report; in the odd planted duels the *baseline* is the planted winner."""
    winners = [1 - number % 2 for number in range(len(planted))]
    found = [float(verdict.outcome == winner) for verdict, winner in zip(planted, winners, strict=True)]
    leaning = [
        float(v.probability is not None and abs(v.probability - winner) < 0.5)
        for v, winner in zip(planted, winners, strict=True)
    ]
    firsts, names = [], []
    for number, verdict in enumerate(planted):
        for ballot in (verdict.candidate_first, verdict.baseline_first):
            if ballot.letter is not None:
                firsts.append(float(ballot.letter == "A"))
                names.append(str(number))
    unparsed = 2 * len(planted) - len(firsts)
    return CheckReport(
        planted=estimate_mean(found, scale=Scale.SHARE, seed=seed),
        consistency=estimate_mean([float(v.consistent) for v in planted], scale=Scale.SHARE, seed=seed),
        leaning=estimate_mean(leaning, scale=Scale.SHARE, seed=seed),
        identical_ties=estimate_mean([float(v.outcome == 0.5) for v in identical], scale=Scale.SHARE, seed=seed),
        first_position=estimate_mean(firsts, scale=Scale.SHARE, clusters=names, invalid=unparsed, seed=seed),
    )


def _duel(number: int, pair: Planted) -> Duel:
    """Winners take turns on both sides, so that a judge which always names one side fails."""
    if number % 2 == 0:
        return Duel(f"planted-{number}", pair.question, pair.better, pair.worse)
    return Duel(f"planted-{number}", pair.question, pair.worse, pair.better)


PLANTED: tuple[Planted, ...] = (
    # wrong facts
    Planted("What is the capital of France?", "The capital of France is Paris.", "The capital of France is Cairo."),
    Planted(
        "How many legs does a spider have?",
        "A spider has eight legs.",
        "A spider has exactly three legs, like a stool.",
    ),
    Planted(
        "Which planet do we live on?",
        "We live on Earth, the third planet from the Sun.",
        "We live on Jupiter, which is a small and rocky planet.",
    ),
    Planted(
        "At what temperature does water freeze, in degrees Celsius?",
        "Water freezes at 0 degrees Celsius.",
        "Water freezes at 450 degrees Celsius, in the middle of a fire.",
    ),
    Planted("What is 7 plus 5?", "7 plus 5 is 12.", "7 plus 5 is 30."),
    Planted(
        "What colour is fresh grass?",
        "Fresh grass is green.",
        "Fresh grass is bright purple with black stripes.",
    ),
    # off topic
    Planted(
        "Explain why people sleep.",
        "Sleep lets the body recover and the brain sort what it learned during the day.",
        "The train to the coast leaves at noon, and tickets are sold at the counter near the gate.",
    ),
    Planted(
        "Give me one tip for growing tomatoes.",
        "Plant them in full sun and water the soil regularly.",
        "The history of chess goes back many centuries, and the queen is its strongest piece.",
    ),
    Planted(
        "Describe what a bridge is for.",
        "A bridge carries people or vehicles over water, a valley or a road.",
        "My favourite soup has carrots.",
    ),
    Planted(
        "What does a doctor do?",
        "A doctor examines patients, finds out what is wrong and treats them.",
        "Guitars usually have six strings that are tuned from low to high, and some have twelve.",
    ),
    Planted(
        "Why is it useful to read books?",
        "Reading teaches new things, trains attention and lets you see the world through other eyes.",
        "Cement is mixed with water.",
    ),
    Planted(
        "Name a good breakfast.",
        "Oatmeal with fruit is a good breakfast.",
        "The printer on the second floor is out of paper again.",
    ),
    # garbled
    Planted(
        "What is a volcano?",
        "A volcano is an opening in the Earth's crust through which lava, ash and gas escape.",
        "Volcano the of is is a of mountain mountain mountain the lava of of the the the.",
    ),
    Planted(
        "Write one sentence about the sea.",
        "The sea was calm and blue in the morning light.",
        "sea sea sea sea sea sea sea sea sea sea",
    ),
    Planted(
        "How do I boil an egg?",
        "Put the egg into boiling water for about eight minutes, then cool it in cold water.",
        "Egg put xq zzt boil the the how how 77 77 egg ggg.",
    ),
    Planted(
        "Why do birds have feathers?",
        "Feathers keep birds warm and make flight possible.",
        "Fthrs brd ooo wrm flllg aaa bbb ccc ddd eee fff.",
    ),
    Planted(
        "Tell me what a clock shows.",
        "A clock shows the time of day.",
        "clock clock time the clock, clock? clock! clock; clock",
    ),
    Planted(
        "What is snow?",
        "Snow is frozen water that falls from clouds as small ice crystals.",
        "Is snow is snow is is is. Snow. Is. Is. Snow is is.",
    ),
    # refusing
    Planted(
        "Suggest a name for a black cat.",
        "You could call it Midnight.",
        "I am sorry, but I cannot help with that request at all.",
    ),
    Planted(
        "How many days are in a week?",
        "There are seven days in a week.",
        "I cannot answer this question.",
    ),
    Planted(
        "Give me a short recipe for lemonade.",
        "Mix the juice of two lemons with water and sugar, then add ice.",
        "I will not provide any recipes. Please ask somebody else about it.",
    ),
    Planted(
        "What do bees make?",
        "Bees make honey and wax.",
        "As a language model, I have no opinion and cannot comment on it.",
    ),
    Planted(
        "Which season comes after winter?",
        "Spring comes after winter.",
        "Sorry, I do not want to talk about seasons today.",
    ),
    Planted(
        "Name a fruit that is yellow.",
        "A banana is a yellow fruit.",
        "I am unable to name any fruit for you, whatever its colour.",
    ),
    # disobedient
    Planted(
        "Name three animals.",
        "Dog, horse, owl.",
        "Dog.",
    ),
    Planted(
        "Describe rain without using the word 'water'. One sentence.",
        "Rain is a soft drumming of drops from grey clouds.",
        "Rain is water that falls as water drops, and the water makes water puddles of water.",
    ),
    Planted(
        "Answer only with the word yes or no: is fire hot?",
        "Yes.",
        "Fire is a chemical reaction that people have used for cooking since the earliest times.",
    ),
    Planted(
        "Write the numbers from 1 to 5, separated by commas.",
        "1, 2, 3, 4, 5",
        "5 then 9 then 2",
    ),
    Planted(
        "Translate the word 'house' into Spanish.",
        "The Spanish word is 'casa'.",
        "House is a word with five letters.",
    ),
    Planted(
        "Write 'good morning' in capital letters.",
        "GOOD MORNING",
        "good morning",
    ),
)
