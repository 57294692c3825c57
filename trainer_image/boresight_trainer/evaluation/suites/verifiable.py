"""Verifiable: do the answers satisfy the constraints of their prompts, and at what price?

Programs decide, so there is no judge to doubt. Because form can be satisfied by short, dull or off-topic answers,
second measures stand beside the share: on topic, likely under the initial model, length, variety, ended by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boresight_api.stages import NamedModel

from ...data.instructions.verifiers import check_constraints, verify
from ...data.records import Prompt
from ..measures import Measure, Observation, rows_of
from ..statistics import Scale, permutation_test, sign_test
from ..suite import (
    Answer,
    Bench,
    Context,
    Encoder,
    ResultRow,
    SampleRow,
    ScoringItem,
    SuiteReport,
    TooLong,
    document_of,
)
from ..topic import on_topic
from .common import check_lengths, comparison_of, generation_arguments

CONSTRAINT_SHARE = Measure("constraintShare", Scale.SHARE, higher_is_better=True, headline=True)
PROMPT_SHARE = Measure("promptShare", Scale.SHARE, higher_is_better=True)
SECOND_MEASURES = (
    Measure("onTopicShare", Scale.SHARE, higher_is_better=True),
    Measure("fluency", Scale.REAL, higher_is_better=True),
    Measure("answerTokens", Scale.REAL, higher_is_better=None),
    Measure("distinctShare", Scale.SHARE, higher_is_better=True),
    Measure("finishedShare", Scale.SHARE, higher_is_better=True),
)


@dataclass(frozen=True)
class VerifiableSuite:
    """Prompts with constraints, answered by every compared model. ``slices_of`` names the slices of a constraint."""

    name: str
    prompts: tuple[Prompt, ...]
    slices_of: Callable[[Mapping[str, Any]], tuple[str, ...]]

    def __post_init__(self) -> None:
        check_constraints(f'suite "{self.name}"', self.prompts)

    def run(self, bench: Bench) -> SuiteReport:
        """Verify, then score the answers' likelihood under the initial model."""
        answers = {model: bench.answers_of(model, self.prompts) for model in bench.model_names}
        check_lengths(self.name, bench.config, [prompt.id for prompt in self.prompts], *answers.values())
        satisfied = {
            model: [
                verify(p.constraints, a.text) if isinstance(a, Answer) else None
                for p, a in zip(self.prompts, given, strict=True)
            ]
            for model, given in answers.items()
        }
        observed = self._second_observations(bench, answers)
        seed = bench.config.seed
        rows = [
            *self._share_rows(satisfied, seed),
            *(row for measure in SECOND_MEASURES for row in _rows_if_any(measure, observed[measure.name], seed)),
            *self._slice_rows(satisfied, seed),
        ]
        reference = reference_model(bench.config.candidate, bench.config.baselines)
        return SuiteReport(
            name=self.name,
            suite="Verifiable",
            rows=tuple(rows),
            samples=tuple(self._samples(bench, answers, satisfied, observed)),
            comparison=comparison_of(bench.config, self.prompts),
            details={"fluencyUnder": reference.name if reference else None, "tests": self._tests(bench, satisfied)},
        )

    def _share_rows(self, satisfied: Mapping[str, Sequence[Sequence[bool] | None]], seed: int) -> Iterator[ResultRow]:
        constraints = {
            m: [None if v is None else (float(sum(v)), float(len(v))) for v in verdicts]
            for m, verdicts in satisfied.items()
        }
        whole = {
            m: [_plain(None if v is None else float(all(v))) for v in verdicts] for m, verdicts in satisfied.items()
        }
        yield from rows_of(CONSTRAINT_SHARE, constraints, seed=seed)
        yield from rows_of(PROMPT_SHARE, whole, seed=seed)

    def _slice_rows(self, satisfied: Mapping[str, Sequence[Sequence[bool] | None]], seed: int) -> Iterator[ResultRow]:
        slices = [[self.slices_of(constraint) for constraint in prompt.constraints] for prompt in self.prompts]
        for name in sorted({s for prompt in slices for constraint in prompt for s in constraint}):
            places = [[i for i, s in enumerate(prompt) if name in s] for prompt in slices]
            observed = {
                model: [
                    None if verdict is None else (float(sum(verdict[i] for i in place)), float(len(place)))
                    for verdict, place in zip(verdicts, places, strict=True)
                    if place
                ]
                for model, verdicts in satisfied.items()
            }
            yield from rows_of(CONSTRAINT_SHARE, observed, seed=seed, slice_name=name)

    def _tests(self, bench: Bench, satisfied: Mapping[str, Sequence[Sequence[bool] | None]]) -> dict[str, Any]:
        """p-values of the paired difference in satisfied constraints, per baseline."""
        candidate, *baselines = bench.model_names
        found = {}
        for baseline in baselines:
            gains = [
                sum(a) - sum(b)
                for a, b in zip(satisfied[candidate], satisfied[baseline], strict=True)
                if a is not None and b is not None
            ]
            found[baseline] = {
                "signTest": sign_test(gains),
                "permutationTest": permutation_test(gains, seed=bench.config.seed),
            }
        return found

    def _second_observations(
        self, bench: Bench, answers: Mapping[str, Sequence[Answer | TooLong]]
    ) -> dict[str, dict[str, list[Observation]]]:
        """``[measure][model][prompt]``."""
        fluency = self._fluency(bench, answers)
        observed: dict[str, dict[str, list[Observation]]] = {measure.name: {} for measure in SECOND_MEASURES}
        for model, given in answers.items():
            texts = [answer.text.strip() if isinstance(answer, Answer) else None for answer in given]
            copies = Counter(texts)
            topics = [
                None if text is None else on_topic(prompt, text)
                for prompt, text in zip(self.prompts, texts, strict=True)
            ]
            observed["onTopicShare"][model] = [_plain(value) for value in topics]
            observed["fluency"][model] = [_plain(value) for value in fluency[model]]
            observed["answerTokens"][model] = [
                (float(answer.num_tokens), 1.0) if isinstance(answer, Answer) else None for answer in given
            ]
            # An answer given k times counts 1/k, so that the mean is the number of distinct answers over prompts.
            observed["distinctShare"][model] = [_plain(None if text is None else 1 / copies[text]) for text in texts]
            observed["finishedShare"][model] = [
                (float(answer.finished), 1.0) if isinstance(answer, Answer) else None for answer in given
            ]
        return observed

    def _fluency(
        self, bench: Bench, answers: Mapping[str, Sequence[Answer | TooLong]]
    ) -> dict[str, list[float | None]]:
        """Mean log-probability per token of each answer (terminator aside) under the initial model.

        All models' answers to a prompt share its tokens and are scored at once; an empty answer has no fluency.
        """
        reference = reference_model(bench.config.candidate, bench.config.baselines)
        if reference is None:
            return {model: [None] * len(self.prompts) for model in answers}
        chat = (judge := bench.shelf.open(reference.model)).chat
        items, encoded = [], []
        for number, prompt in enumerate(self.prompts):
            prefix = tuple(chat.prompt_ids(prompt.messages))
            room = min(bench.config.max_length, judge.max_length) - len(prefix)
            tokens = {model: _tokens(chat, given[number]) for model, given in answers.items()}
            distinct = tuple(dict.fromkeys(run for run in tokens.values() if 0 < len(run) <= room))
            encoded.append((tokens, distinct))
            if distinct:
                items.append(ScoringItem(prompt.id, (Context(prefix, distinct),)))
        sums = iter(judge.score(items, purpose=f"fluency of {self.name}"))
        fluency: dict[str, list[float | None]] = {model: [] for model in answers}
        for tokens, distinct in encoded:
            scores = dict(zip(distinct, next(sums), strict=True)) if distinct else {}
            for model, run in tokens.items():
                fluency[model].append(scores[run] / len(run) if run in scores else None)
        return fluency

    def _samples(
        self,
        bench: Bench,
        answers: Mapping[str, Sequence[Answer | TooLong]],
        satisfied: Mapping[str, Sequence[Sequence[bool] | None]],
        observed: Mapping[str, Mapping[str, Sequence[Observation]]],
    ) -> Iterator[SampleRow]:
        for number, prompt in enumerate(self.prompts):
            for model in bench.model_names:
                answer, verdict = answers[model][number], satisfied[model][number]
                second = {name: _value(values[model][number]) for name, values in observed.items()}
                yield SampleRow(
                    doc_id=number,
                    doc=document_of(prompt),
                    target="",
                    filter=model,
                    arguments=generation_arguments(bench.config, prompt),
                    responses=(answer.text,) if isinstance(answer, Answer) else (),
                    metrics={
                        "constraintShare": None if verdict is None else sum(verdict) / len(verdict),
                        "promptShare": None if verdict is None else float(all(verdict)),
                        **second,
                    },
                    details={} if verdict is None else {"satisfied": list(verdict)},
                )


def reference_model(candidate: NamedModel, baselines: Sequence[NamedModel]) -> NamedModel | None:
    """The model under which fluency is measured: ``initial``, else the first baseline; never the candidate itself."""
    named = [model for model in (candidate, *baselines) if model.name == "initial"]
    return (*named, *baselines, None)[0]


def _rows_if_any(measure: Measure, observed: Mapping[str, Sequence[Observation]], seed: int) -> Iterator[ResultRow]:
    """Nothing for a measure that does not exist here: fluency without a baseline, topics where prompts have none."""
    if any(observation is not None for observations in observed.values() for observation in observations):
        yield from rows_of(measure, observed, seed=seed)


def _tokens(chat: Encoder, answer: Answer | TooLong) -> tuple[int, ...]:
    return tuple(chat.encode_text(answer.text)) if isinstance(answer, Answer) else ()


def _plain(value: float | None) -> Observation:
    return None if value is None else (value, 1.0)


def _value(observation: Observation) -> float | None:
    return None if observation is None else observation[0] / observation[1]
