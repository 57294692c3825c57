"""Synthesis (arXiv 2412.15838, step II): y from the initial model, c from the feedback model, y* from the initial model
again; pairs that prefer y* to y.

The phases go one after the other, so one model is in memory at a time. Nothing is carried from one phase to the next
but token ids: keeping the keys and values of (x, y) for y* would save a tenth of the time on a CPU, and take memory
without bound (docs/synthesis.md has the measurement).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from boresight_api.artifact import ArtifactKind
from boresight_api.base import semantic_form
from boresight_api.enums import Acceptance, Engine
from boresight_api.execution import StagePart
from boresight_api.outcome import FailureClass, Metric, StageFailure
from boresight_api.stages import SynthesisConfig

from ..data import mixture
from ..data.dialogues import critique_messages, refinement_messages
from ..data.filters import KEPT, count_matches
from ..data.records import Prompt
from ..evaluation.journal import journal_of
from ..stage import StageContext, StageResult
from .refinement import refinement_report
from .speaker import BatchLog, Question, Speaker, Spoken
from .synthesis_items import Item, Judged, count_done, judge, mean_tokens, verdict_of, write

log = logging.getLogger(__name__)


def run(context: StageContext, config: SynthesisConfig) -> StageResult:
    """Read prompts, sample y, c and y*, filter, write the records and the pairs."""
    _refuse_unrunnable(config)
    journal, log_lines = journal_of(context), BatchLog(context)
    initial = Speaker(context, config, config.model, journal, log_lines)
    feedback = Speaker(context, config, config.feedback_model, journal, log_lines)
    rows = mixture.load_prompts(
        config.prompts,
        holdout=config.holdout,
        seed=config.seed,
        max_invalid_percent=config.max_invalid_percent,
        resolve=context.inputs.path,
    )
    prompts = keep_fitting(rows.train, initial, config, len(rows.invalid))
    items = respond(initial, prompts, config)
    items = criticise(feedback, items, config)
    items = refine(initial, items, config)
    if context.stage.execution.part is StagePart.SHARD:
        return StageResult(ArtifactKind.PAIRS)  # the merge does the rest, from everybody's batches
    for item in items:
        if not item.fits:  # the others were counted by those who sampled them, as they did
            count_done(item, config.filters)
    judged = [judge(item, config.filters) for item in items]
    filters = count_matches([each.matched for each in judged], config.filters)
    _require_pairs(judged, filters)
    write(context.output, judged, constants(config, initial, feedback), initial.chat.system_prompt)
    refinement = refinement_report([i.prompt.id for i in items], [each.verified for each in judged], config.seed)
    metrics = {
        "prompts": len(prompts),
        "invalidRows": len(rows.invalid) + len(rows.train) - len(prompts),
        "items": len(items),
        "pairs": _count_kept(judged),
        "filters": filters,
        "meanTokens": mean_tokens(items),
        "defaultSystemPrompts": {
            "model": initial.chat.default_system_prompt,
            "feedbackModel": feedback.chat.default_system_prompt,
        },
        **({"refinement": refinement} if refinement is not None else {}),
    }
    sources = mixture.source_records(config.prompts, rows)
    return StageResult(ArtifactKind.PAIRS, metrics, headline(metrics), sources)


def keep_fitting(
    prompts: Sequence[Prompt], initial: Speaker, config: SynthesisConfig, invalid_before: int
) -> list[Prompt]:
    """The prompts that leave room for an answer.

    Raises :class:`StageFailure` (InvalidData) if the share of invalid rows is above ``maxInvalidPercent``.
    """
    limit = initial.longest_prompt(config.sampling)
    lengths = [len(initial.chat.prompt_ids(prompt.messages)) for prompt in prompts]
    fitting = [prompt for prompt, length in zip(prompts, lengths, strict=True) if length <= limit]
    dropped, rows = len(prompts) - len(fitting), len(prompts) + invalid_before
    if dropped:
        worst = max(range(len(prompts)), key=lengths.__getitem__)
        message = (
            f"row {prompts[worst].id}: found a prompt of {lengths[worst]} tokens, expected at most {limit} (maxLength "
            f"or the model's context, less sampling.maxTokens); {dropped} of {rows} rows are too long. Shorten them, "
            "raise maxLength up to the model's context, or lower maxTokens"
        )
        if not fitting or 100 * (dropped + invalid_before) > config.max_invalid_percent * rows:
            raise StageFailure(FailureClass.INVALID_DATA, message)
        log.warning("%s", message)
    return fitting


def respond(initial: Speaker, prompts: Sequence[Prompt], config: SynthesisConfig) -> list[Item]:
    """y = M(x), ``samplesPerPrompt`` times."""
    count = config.samples_per_prompt
    wanted = [
        Question(prompt.id if count == 1 else f"{prompt.id}#{sample}", prompt.messages, prompt.id, sample)
        for prompt in prompts
        for sample in range(count)
    ]
    spoken = initial.answer("response", wanted, config.sampling)
    sources = (prompt for prompt in prompts for _ in range(count))
    return [
        Item(question.id, prompt, question.id, response)
        for question, prompt, response in zip(wanted, sources, spoken, strict=True)
        if response is not None
    ]


def criticise(feedback: Speaker, items: Sequence[Item], config: SynthesisConfig) -> list[Item]:
    """c = M_feedback(x, y), ``critiquesPerResponse`` times."""
    count = config.critiques_per_response
    critics = [
        replace(item, id=item.id if count == 1 else f"{item.id}.{number}") for item in items for number in range(count)
    ]
    wanted = [
        Question(
            item.id,
            critique_messages(item.prompt, item.response.text, config.templates),
            item.response_id,
            index % count,
        )
        for index, item in enumerate(critics)
    ]

    def count_dropped(number: int, critique: Spoken) -> None:
        item = replace(critics[number], critique=critique)
        if verdict_of(item, config.filters) != KEPT:
            count_done(item, config.filters)

    spoken = feedback.answer("critique", wanted, config.critique_sampling, count_dropped)
    return [
        replace(item, critique=critique, fits=critique is not None)
        for item, critique in zip(critics, spoken, strict=True)
    ]


def refine(initial: Speaker, items: Sequence[Item], config: SynthesisConfig) -> list[Item]:
    """y* = M(x, y, c), unless a filter has dropped the item for its critique."""
    promising = [i for i, item in enumerate(items) if verdict_of(item, config.filters) == KEPT]
    wanted = []
    for item in (items[i] for i in promising):
        messages = refinement_messages(
            item.prompt,
            item.response.text,
            item.critique_text,
            config.templates,
            config.refine_from,
        )
        wanted.append(Question(item.id, messages, item.id))

    def count(number: int, refinement: Spoken) -> None:
        count_done(replace(items[promising[number]], refined=refinement), config.filters)

    answers = initial.answer("refinement", wanted, config.refinement_sampling, count)
    refined = list(items)
    for i, spoken in zip(promising, answers, strict=True):
        refined[i] = replace(items[i], refined=spoken, fits=spoken is not None)
    return refined


def constants(config: SynthesisConfig, initial: Speaker, feedback: Speaker) -> dict[str, Any]:
    """What is the same in every record: models by key or digest, and decoding settings."""
    return {
        "models": {"model": initial.identity, "feedbackModel": feedback.identity},
        "sampling": {
            "response": semantic_form(config.sampling),
            "critique": semantic_form(config.critique_sampling),
            "refinement": semantic_form(config.refinement_sampling),
        },
    }


def headline(metrics: Mapping[str, Any]) -> tuple[Metric, ...]:
    """Pairs, items, and the shares of y and y* that satisfy every constraint where that is known."""
    shares = (
        {f"{name}Share": metrics["refinement"][name]["value"] for name in ("response", "refined")}
        if ("refinement" in metrics)
        else {}
    )
    return (
        Metric(name="pairs", value=str(metrics["pairs"])),
        Metric(name="items", value=str(metrics["items"])),
        *(Metric(name=name, value=f"{value:.3f}") for name, value in shares.items()),
    )


def _count_kept(judged: Sequence[Judged]) -> int:
    return sum(each.verdict == KEPT for each in judged)


def _require_pairs(judged: Sequence[Judged], filters: Mapping[str, Mapping[str, Any]]) -> None:
    if _count_kept(judged) == 0:
        counts = ", ".join(f"{name} {entry['matched']}" for name, entry in filters.items() if entry["matched"])
        raise StageFailure(
            FailureClass.INVALID_DATA,
            f"synthesis: found no pair left of {len(judged)} items (filters matched: {counts}), expected at least one; "
            "look at the critiques of the feedback model, raise maxTokens, or set a filter to Keep",
        )


def _refuse_unrunnable(config: SynthesisConfig) -> None:
    """The plan names these by field; this is for a stage.json that was written by other hands."""
    if config.engine is not Engine.TRANSFORMERS:
        raise StageFailure(
            FailureClass.INVALID_CONFIG, f"engine: found {config.engine}, this release runs Transformers"
        )
    if config.filters.acceptance is not Acceptance.NONE:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f"filters.acceptance: found {config.filters.acceptance}, this release runs None",
        )
