"""Pairwise: a judge compares the candidate's answers with each baseline's, both ways round.

A verdict counts when both orders name the same answer; otherwise it is a tie. How often that happens, and how often the
first place wins, says how far the judge can be trusted; whether it can at all is decided by its check set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...data.dialogues import prompt_text
from ...data.records import Prompt
from ..judges.check_set import CheckReport, examine
from ..judges.judge import Ballot, Duel, Judge, Verdict
from ..length_control import length_controlled_win_rate
from ..statistics import Estimate, Scale, estimate_mean
from ..suite import Answer, Bench, ResultRow, SampleRow, SuiteReport, TooLong, document_of
from .common import check_lengths, comparison_of, generation_arguments

JUDGE = "judge"
_IDENTICAL = Verdict(Ballot(0.5, "identical answers, not asked"), Ballot(0.5, "identical answers, not asked"))
_UNANSWERED = Verdict(Ballot(None, "prompt too long, not answered"), Ballot(None, "prompt too long, not answered"))


@dataclass(frozen=True)
class PairwiseSuite:
    """Prompts, and who judges. ``contestants``: compared models that share weights or a base with the judge."""

    name: str
    prompts: tuple[Prompt, ...]
    make_judge: Callable[[Bench], Judge]
    contestants: tuple[str, ...] = ()

    def run(self, bench: Bench) -> SuiteReport:
        """Examine the judge, then let it compare; an unfit judge's verdicts are shown, never a headline."""
        candidate, *baselines = bench.model_names
        answers = {model: bench.answers_of(model, self.prompts) for model in bench.model_names}
        check_lengths(self.name, bench.config, [prompt.id for prompt in self.prompts], *answers.values())
        judge = self.make_judge(bench)
        report = examine(judge, seed=bench.config.seed)
        rows: list[ResultRow] = list(_check_rows(report, soft=judge.has_probabilities))
        samples: list[SampleRow] = []
        for baseline in baselines:
            verdicts = self._duels(judge, candidate, baseline, answers[candidate], answers[baseline])
            duel = Result(candidate, baseline, verdicts, answers[candidate], answers[baseline])
            rows += duel.rows(soft=judge.has_probabilities, seed=bench.config.seed)
            samples += self._samples(bench, duel)
        return SuiteReport(
            name=self.name,
            suite="Pairwise",
            rows=tuple(rows),
            samples=tuple(samples),
            comparison=comparison_of(bench.config, self.prompts, judge=_comparable(judge)),
            details={"judge": dict(judge.identity), "judgeIsContestant": list(self.contestants)},
            unfit=report.unfit,
            warnings=tuple(
                f'the judge is related to "{name}": it may prefer its own words' for name in self.contestants
            ),
        )

    def _duels(
        self,
        judge: Judge,
        candidate: str,
        baseline: str,
        first: Sequence[Answer | TooLong],
        second: Sequence[Answer | TooLong],
    ) -> list[Verdict]:
        """A verdict per prompt; equal answers are a tie without asking, a missing one is invalid."""
        pairs = list(zip(self.prompts, first, second, strict=True))
        open_questions = [
            Duel(prompt.id, prompt_text(prompt), a.text, b.text)
            for prompt, a, b in pairs
            if isinstance(a, Answer) and isinstance(b, Answer) and not _same(a, b)
        ]
        asked = iter(judge.judge(open_questions, purpose=f"{self.name}: {candidate} against {baseline}"))
        return [_unasked(a, b) or next(asked) for _, a, b in pairs]

    def _samples(self, bench: Bench, duel: Result) -> Iterator[SampleRow]:
        for number, (prompt, verdict) in enumerate(zip(self.prompts, duel.verdicts, strict=True)):
            yield SampleRow(
                doc_id=number,
                doc=document_of(prompt),
                target="",
                filter=f"{duel.candidate}-vs-{duel.baseline}",
                arguments=generation_arguments(bench.config, prompt),
                responses=(verdict.candidate_first.raw, verdict.baseline_first.raw),
                metrics={"winRate": verdict.outcome, "softWinRate": verdict.probability},
                details={
                    "candidate": _text(duel.candidate_answers[number]),
                    "baseline": _text(duel.baseline_answers[number]),
                    "consistent": verdict.consistent,
                },
            )


@dataclass(frozen=True)
class Result:
    """Verdicts of one candidate against one baseline, with the answers they are about."""

    candidate: str
    baseline: str
    verdicts: Sequence[Verdict]
    candidate_answers: Sequence[Answer | TooLong]
    baseline_answers: Sequence[Answer | TooLong]

    def rows(self, *, soft: bool, seed: int) -> Iterator[ResultRow]:
        """Win rates (raw, soft, length-controlled), and what says how the judge behaved."""
        valid = [i for i, verdict in enumerate(self.verdicts) if verdict.valid]
        asked = [i for i in valid if self.verdicts[i] is not _IDENTICAL]
        invalid = len(self.verdicts) - len(valid)
        outcomes = [self.verdicts[i].outcome or 0.0 for i in valid]

        def share(name: str, values: Sequence[float], better: bool | None, *, headline: bool = False) -> ResultRow:
            estimate = estimate_mean(values, scale=Scale.SHARE, invalid=invalid, seed=seed)
            return self._row(name, estimate, better, headline=headline)

        yield share("winRate", outcomes, better=True, headline=True)
        controlled = length_controlled_win_rate(
            outcomes,
            [len(_text(self.candidate_answers[i])) for i in valid],
            [len(_text(self.baseline_answers[i])) for i in valid],
            invalid=invalid,
            seed=seed,
        )
        yield self._row("lengthControlledWinRate", controlled, better=True)
        if soft:
            yield share("softWinRate", [self.verdicts[i].probability or 0.0 for i in valid], better=True)
        yield share("tieShare", [float(outcome == 0.5) for outcome in outcomes], better=None)
        yield share("positionConsistency", [float(self.verdicts[i].consistent) for i in asked], better=True)
        yield self._row("firstPositionRate", self._first_positions(asked, invalid, seed), better=None)

    def _first_positions(self, asked: Sequence[int], invalid: int, seed: int) -> Estimate:
        """Share of replies that name the first answer; both replies to a prompt are one cluster."""
        ballots = [
            (i, ballot)
            for i in asked
            for ballot in (self.verdicts[i].candidate_first, self.verdicts[i].baseline_first)
            if ballot.letter is not None
        ]
        values = [float(ballot.letter == "A") for _, ballot in ballots]
        clusters = [str(i) for i, _ in ballots]
        return estimate_mean(values, scale=Scale.SHARE, clusters=clusters, invalid=invalid, seed=seed)

    def _row(self, name: str, estimate: Estimate, better: bool | None, *, headline: bool = False) -> ResultRow:
        return ResultRow(name, self.candidate, estimate, self.baseline, higher_is_better=better, headline=headline)


def _check_rows(report: CheckReport, *, soft: bool) -> Iterator[ResultRow]:
    yield ResultRow("checkPlantedShare", JUDGE, report.planted, higher_is_better=True)
    yield ResultRow("checkConsistency", JUDGE, report.consistency, higher_is_better=True)
    if soft:
        yield ResultRow("checkLeaningShare", JUDGE, report.leaning, higher_is_better=True)
    yield ResultRow("checkIdenticalTies", JUDGE, report.identical_ties, higher_is_better=True)
    yield ResultRow("checkFirstPositionRate", JUDGE, report.first_position)


def _unasked(a: Answer | TooLong, b: Answer | TooLong) -> Verdict | None:
    """The verdict that needs no judge, if there is one."""
    if isinstance(a, TooLong) or isinstance(b, TooLong):
        return _UNANSWERED
    return _IDENTICAL if _same(a, b) else None


def _text(answer: Answer | TooLong) -> str:
    return answer.text if isinstance(answer, Answer) else ""


def _same(a: Answer, b: Answer) -> bool:
    return a.text.strip() == b.text.strip()


def _comparable(judge: Judge) -> dict[str, str]:
    """Who judges by content: the same weights read from another place are the same judge."""
    identity = dict(judge.identity)
    if identity["revision"] != "unpinned":
        identity.pop("endpoint", None)
        if identity["kind"] == "Local":
            identity.pop("model")
    return {name: str(value) for name, value in identity.items()}
