"""Supervised fine-tuning: the warm start (it learns to respond) and the feedback model (it learns to criticise)."""

from __future__ import annotations

from dataclasses import dataclass

from boresight_api.artifact import ArtifactKind, SourceRecord
from boresight_api.enums import SftTarget
from boresight_api.outcome import Metric
from boresight_api.stages import SftConfig

from ..data import mixture
from ..data.dialogues import critique_messages
from ..data.language_feedback import format_language_feedback
from ..data.records import Demonstration, Feedback
from ..engine.objective import SftObjective
from ..models.batch import Sample
from ..models.chat import ChatTokenizer
from ..stage import StageContext, StageResult
from .training import export, keep_fitting, load_chat, load_learner, longest_conversation, make_trainer, mean_loss


@dataclass(frozen=True)
class SftSamples:
    """What a stage trains on, what it holds out, and where both came from."""

    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]
    invalid_rows: int
    sources: tuple[SourceRecord, ...]


def run(context: StageContext, config: SftConfig) -> StageResult:
    """Read rows, turn them into samples, train, publish the model with its held-out loss before and after."""
    chat = load_chat(context, config.model)
    samples = read_samples(context, config, chat)
    learner = load_learner(context, config, chat, samples.train)
    objective = SftObjective(samples.train)
    trainer = make_trainer(context, learner, samples.train, objective, config.training, config.seed)
    loss_before = mean_loss(learner.scorer, samples.held_out, learner.token_budget)
    trainer.train()
    loss_after = mean_loss(learner.scorer, samples.held_out, learner.token_budget)
    export(context, config, learner)
    metrics = {
        "rows": len(samples.train),
        "holdoutRows": len(samples.held_out),
        "invalidRows": samples.invalid_rows,
        "steps": trainer.total_steps,
        "tokens": trainer.tokens,
        "holdoutLossBefore": loss_before,
        "holdoutLoss": loss_after,
        "memoryPlan": learner.memory_plan,
    }
    headline = () if loss_after is None else (Metric(name="holdoutLoss", value=f"{loss_after:.4f}"),)
    return StageResult(ArtifactKind.MODEL, metrics, headline, samples.sources)


def read_samples(context: StageContext, config: SftConfig, chat: ChatTokenizer) -> SftSamples:
    """Rows as samples. Raises :class:`StageFailure` (InvalidData) if too many are invalid or too long."""

    def demonstration(row: Demonstration) -> Sample:
        return Sample.of_response(row.id, *chat.conversation_ids(row.prompt.messages, row.response))

    def feedback(row: Feedback) -> Sample:
        prompt = critique_messages(row.prompt, row.response, config.templates)
        return Sample.of_response(
            row.id, *chat.conversation_ids(prompt, format_language_feedback(row.critique, row.advice))
        )

    if config.target is SftTarget.CRITIQUE:
        feedback_rows = mixture.load_feedback(
            config.data,
            holdout=config.holdout,
            seed=config.seed,
            max_invalid_percent=config.max_invalid_percent,
            resolve=context.inputs.path,
        )
        train = tuple(map(feedback, feedback_rows.train))
        held_out = tuple(map(feedback, feedback_rows.holdout))
        invalid, sources = len(feedback_rows.invalid), mixture.source_records(config.data, feedback_rows)
    else:
        rows = mixture.load_demonstrations(
            config.data,
            holdout=config.holdout,
            seed=config.seed,
            max_invalid_percent=config.max_invalid_percent,
            resolve=context.inputs.path,
        )
        train = tuple(map(demonstration, rows.train))
        held_out = tuple(map(demonstration, rows.holdout))
        invalid, sources = len(rows.invalid), mixture.source_records(config.data, rows)
    longest = longest_conversation(context, config)
    fitting = keep_fitting(
        train, max_length=longest, max_invalid_percent=float(config.max_invalid_percent), invalid_before=invalid
    )
    scored = tuple(sample for sample in held_out if sample.num_tokens <= longest)
    too_long = len(train) - len(fitting) + len(held_out) - len(scored)
    return SftSamples(fitting, scored, invalid + too_long, sources)
