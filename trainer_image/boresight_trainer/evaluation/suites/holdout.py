"""Holdout: how well the feedback model predicts held-out critiques, and whether its own find what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from boresight_api.base import semantic_form, sha256_hex
from boresight_api.stages import ModelInput

from ...data.dialogues import critique_messages
from ...data.instructions.critiques import named_constraints
from ...data.instructions.verifiers import verify
from ...data.language_feedback import LanguageFeedback, format_language_feedback, parse_language_feedback
from ...data.records import Feedback, Prompt
from ..statistics import Estimate, Scale, estimate_ratio
from ..suite import (
    Answer,
    Ask,
    Bench,
    Context,
    OpenModel,
    ResultRow,
    SampleRow,
    ScoringItem,
    SuiteReport,
    TooLong,
    document_of,
    prompt_key,
    rows_digest,
)
from .common import check_lengths

FEEDBACK_MODEL = "feedback-model"


@dataclass(frozen=True, slots=True)
class Loss:
    """Negative log-likelihood of one held-out critique, in nats, and its target tokens (terminator included)."""

    nll: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What one written critique claims, against what the verifiers say. Both None for a row without constraints."""

    parsable: bool
    named: frozenset[int] | None
    failed: frozenset[int] | None


@dataclass(frozen=True)
class HoldoutSuite:
    """Held-out rows (x, y, c) and the feedback model; the compared models have no part in it."""

    name: str
    rows: tuple[Feedback, ...]
    feedback_model: ModelInput

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Nothing has to be answered."""
        return ()

    def run(self, bench: Bench) -> SuiteReport:
        """Score the held-out critiques, then let the model write its own and check what they name."""
        model = bench.shelf.open(self.feedback_model)
        losses = self._losses(model, bench)
        asks = [Ask(row.id, critique_messages(row.prompt, row.response, bench.config.templates)) for row in self.rows]
        written = model.generate(asks, bench.config.critique_sampling, purpose="critique")
        check_lengths(self.name, bench.config, [row.id for row in self.rows], written)
        findings = [
            find(row, critique.text) if isinstance(critique, Answer) else None
            for row, critique in zip(self.rows, written, strict=True)
        ]
        return SuiteReport(
            name=self.name,
            suite="Holdout",
            rows=tuple(self._result_rows(losses, written, findings, bench.config.seed)),
            samples=tuple(self._samples(bench, asks, losses, written, findings)),
            comparison={
                "rows": rows_digest([_content_key(row) for row in self.rows]),
                "templates": semantic_form(bench.config.templates),
                "sampling": semantic_form(bench.config.critique_sampling),
                "engine": bench.config.engine.value,
                "precision": bench.config.precision.value,
                "batchSize": bench.config.batch_size,
                "maxLength": bench.config.max_length,
                "seed": bench.config.seed,
            },
            details={"feedbackModel": model.identity},
        )

    def _losses(self, model: OpenModel, bench: Bench) -> list[Loss | None]:
        """None for a row longer than maxLength: it would have been an invalid row in training, too."""
        encoded = []
        for row in self.rows:
            request = critique_messages(row.prompt, row.response, bench.config.templates)
            target = format_language_feedback(row.critique, row.advice)
            prompt, response = model.chat.conversation_ids(request, target)
            fits = len(prompt) + len(response) <= min(bench.config.max_length, model.max_length)
            encoded.append((tuple(prompt), tuple(response)) if fits else None)
        items = [
            ScoringItem(row.id, (Context(ids[0], (ids[1],)),))
            for row, ids in zip(self.rows, encoded, strict=True)
            if ids is not None
        ]
        sums = iter(model.score(items, purpose=f"loss of {self.name}"))
        return [None if ids is None else Loss(-next(sums)[0], len(ids[1])) for ids in encoded]

    def _result_rows(
        self,
        losses: Sequence[Loss | None],
        written: Sequence[Answer | TooLong],
        findings: Sequence[Finding | None],
        seed: int,
    ) -> Iterator[ResultRow]:
        """Rows of one prompt are one cluster, as a prompt may have several responses with a critique each."""
        ids = [row.prompt.id for row in self.rows]

        def ratio(pairs: Sequence[tuple[float, float] | None], scale: Scale) -> Estimate:
            valid = [(pair, cluster) for pair, cluster in zip(pairs, ids, strict=True) if pair is not None]
            return estimate_ratio(
                [pair[0] for pair, _ in valid],
                [pair[1] for pair, _ in valid],
                scale=scale,
                clusters=[cluster for _, cluster in valid],
                invalid=len(pairs) - len(valid),
                seed=seed,
            )

        def row(name: str, estimate: Estimate, better: bool | None, *, headline: bool = False) -> ResultRow:
            return ResultRow(name, FEEDBACK_MODEL, estimate, higher_is_better=better, headline=headline)

        nll = [None if loss is None else (loss.nll, float(loss.tokens)) for loss in losses]
        parsable = [None if finding is None else (float(finding.parsable), 1.0) for finding in findings]
        finished = [(float(answer.finished), 1.0) if isinstance(answer, Answer) else None for answer in written]
        yield row("lossPerToken", ratio(nll, Scale.REAL), better=False, headline=True)
        yield row("parsableShare", ratio(parsable, Scale.SHARE), better=True)
        yield row("finishedShare", ratio(finished, Scale.SHARE), better=True)
        if all(finding is None or finding.named is None for finding in findings):
            return
        hits = [
            None if f is None or f.named is None or f.failed is None else (f, len(f.named & f.failed)) for f in findings
        ]
        precision = [None if hit is None else (float(hit[1]), float(len(hit[0].named or ()))) for hit in hits]
        recall = [None if hit is None else (float(hit[1]), float(len(hit[0].failed or ()))) for hit in hits]
        failing = [
            None if hit is None else (float(len(hit[0].failed or ())), float(len(row.prompt.constraints)))
            for hit, row in zip(hits, self.rows, strict=True)
        ]
        yield row("critiquePrecision", ratio(precision, Scale.SHARE), better=True, headline=True)
        yield row("critiqueRecall", ratio(recall, Scale.SHARE), better=True, headline=True)
        # The precision of a critic that names every constraint: what critiquePrecision has to beat.
        yield row("failingShare", ratio(failing, Scale.SHARE), better=None)

    def _samples(
        self,
        bench: Bench,
        asks: Sequence[Ask],
        losses: Sequence[Loss | None],
        written: Sequence[Answer | TooLong],
        findings: Sequence[Finding | None],
    ) -> Iterator[SampleRow]:
        sampling = semantic_form(bench.config.critique_sampling)
        for number, row in enumerate(self.rows):
            loss, finding, critique = losses[number], findings[number], written[number]
            turns = [{"role": message.role, "content": message.content} for message in asks[number].messages]
            yield SampleRow(
                doc_id=number,
                doc={**document_of(row.prompt), "id": row.id, "response": row.response},
                target=format_language_feedback(row.critique, row.advice),
                filter=FEEDBACK_MODEL,
                arguments={"gen_args_0": {"arg_0": turns, "arg_1": sampling}},
                responses=(critique.text,) if isinstance(critique, Answer) else (),
                metrics={
                    "lossPerToken": None if loss is None else loss.nll / loss.tokens,
                    "parsableShare": None if finding is None else float(finding.parsable),
                    "finishedShare": float(critique.finished) if isinstance(critique, Answer) else None,
                },
                details={}
                if finding is None or finding.named is None or finding.failed is None
                else {"named": sorted(finding.named), "failed": sorted(finding.failed)},
            )


def find(row: Feedback, critique: str) -> Finding:
    """Compare what ``critique`` names as failed with what the verifiers find in the row's response."""
    parsable = isinstance(parse_language_feedback(critique), LanguageFeedback)
    constraints = row.prompt.constraints
    if not constraints:
        return Finding(parsable, None, None)
    verdict = verify(constraints, row.response)
    failed = frozenset(i for i, satisfied in enumerate(verdict) if not satisfied)
    return Finding(parsable, frozenset(named_constraints(critique, constraints)), failed)


def _content_key(row: Feedback) -> str:
    return prompt_key(row.prompt) + sha256_hex("\0".join((row.response, row.critique, row.advice or "")).encode())
