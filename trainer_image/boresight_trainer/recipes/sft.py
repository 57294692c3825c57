"""Supervised fine-tuning: the warm start (it learns to respond) and the feedback model (it learns to criticise)."""

from __future__ import annotations

from boresight_api.artifact import ArtifactKind
from boresight_api.outcome import Metric
from boresight_api.stages import SftConfig, SftTarget

from ..data import mixture
from ..data.dialogues import critique_messages
from ..data.language_feedback import format_language_feedback
from ..data.records import Demonstration, Feedback
from ..engine.objective import SftObjective
from ..models.batch import Sample
from ..models.chat import ChatTokenizer
from ..models.export import export_model
from ..stage import StageContext, StageResult
from .training import keep_fitting, load_chat, load_learner, make_trainer, mean_loss


def run(context: StageContext, config: SftConfig) -> StageResult:
    """Read rows, turn them into samples, train, publish the model with its held-out loss before and after."""
    chat = load_chat(context, config.model)
    rows, samples, held_out = read_samples(context, config, chat)
    learner = load_learner(context, config, chat, samples)
    trainer = make_trainer(context, learner, samples, SftObjective(samples), config.training, config.seed)
    loss_before = mean_loss(learner.scorer, held_out, learner.token_budget)
    trainer.train()
    loss_after = mean_loss(learner.scorer, held_out, learner.token_budget)
    export_model(
        learner.scorer.model,
        learner.folder,
        context.output,
        chat=chat,
        form=config.export,
        precision=config.export_precision,
    )
    metrics = {
        "rows": len(samples),
        "holdoutRows": len(held_out),
        "invalidRows": len(rows.invalid),
        "steps": trainer.total_steps,
        "tokens": trainer.tokens,
        "holdoutLossBefore": loss_before,
        "holdoutLoss": loss_after,
        "memoryPlan": learner.memory_plan,
    }
    headline = [] if loss_after is None else [Metric(name="holdoutLoss", value=f"{loss_after:.4f}")]
    return StageResult(ArtifactKind.MODEL, metrics, tuple(headline), mixture.source_records(config.data, rows))


def read_samples(
    context: StageContext, config: SftConfig, chat: ChatTokenizer
) -> tuple[mixture.Rows[Demonstration] | mixture.Rows[Feedback], tuple[Sample, ...], tuple[Sample, ...]]:
    """Rows as read, and the samples to train on and to hold out."""
    load = mixture.load_feedback if config.target is SftTarget.CRITIQUE else mixture.load_demonstrations
    rows = load(
        config.data,
        holdout=config.holdout,
        seed=config.seed,
        max_invalid_percent=config.max_invalid_percent,
        resolve=context.inputs.path,
    )

    def encode(row: Demonstration | Feedback) -> Sample:
        if isinstance(row, Feedback):
            prompt = critique_messages(row.prompt, row.response, config.templates)
            target = format_language_feedback(row.critique, row.advice)
        else:
            prompt, target = row.prompt.messages, row.response
        return Sample.of_response(row.prompt.id, *chat.conversation_ids(prompt, target))

    samples = keep_fitting(
        [encode(row) for row in rows.train],
        max_length=config.training.max_length,
        max_invalid_percent=float(config.max_invalid_percent),
        invalid_before=len(rows.invalid),
    )
    held_out = [encode(row) for row in rows.holdout]
    return rows, samples, tuple(s for s in held_out if s.num_tokens <= config.training.max_length)
