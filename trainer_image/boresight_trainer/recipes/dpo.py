"""Direct preference optimisation (arXiv 2305.18290) of the policy, on synthesised or on binary pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from boresight_api.artifact import ArtifactKind, SourceRecord
from boresight_api.enums import DPOLoss
from boresight_api.outcome import Metric
from boresight_api.stages import DpoConfig

from ..data import mixture
from ..data.pairs import read_pairs
from ..engine.loop import Schedule
from ..engine.objective import DpoObjective
from ..engine.reference import ReferenceCache, reference_scores
from ..models.attention import PACKED
from ..models.batch import Sample
from ..models.chat import ChatTokenizer
from ..stage import StageContext, StageResult
from .training import Learner, export, keep_fitting, load_chat, load_learner, longest_conversation, make_trainer


def run(context: StageContext, config: DpoConfig) -> StageResult:
    """Read pairs, score them once with the reference, train, publish the policy."""
    chat = load_chat(context, config.model)
    pairs, invalid, sources = read_samples(context, config, chat)
    samples = keep_fitting(
        pairs,
        max_length=longest_conversation(context, config),
        max_invalid_percent=float(config.max_invalid_percent),
        invalid_before=invalid,
    )
    learner = load_learner(context, config, chat, samples)
    reference, computed = reference_of(context, config, learner, samples)
    objective = DpoObjective(samples, reference, config.dpo, next(learner.scorer.parameters()).device)
    trainer = make_trainer(context, learner, samples, objective, config.training, config.seed)
    trainer.train()
    export(context, config, learner)
    metrics = {
        "pairs": len(samples),
        "invalidRows": invalid + len(pairs) - len(samples),
        "steps": trainer.total_steps,
        "tokens": trainer.tokens,
        "referenceScoresComputed": computed,
        "memoryPlan": learner.memory_plan,
    }
    headline = (Metric(name="pairs", value=str(len(samples))),)
    return StageResult(ArtifactKind.MODEL, metrics, headline, sources)


def read_samples(
    context: StageContext, config: DpoConfig, chat: ChatTokenizer
) -> tuple[list[Sample], int, tuple[SourceRecord, ...]]:
    """Pairs as samples, the number of invalid rows, and what was read.

    Synthesised pairs carry the ids that were sampled, and are never tokenised again; binary ones are text.
    """
    if config.pairs is not None:
        found = read_pairs(context.inputs.path(config.pairs))
        return [Sample.of_pair(p.id, p.prompt_ids, p.chosen_ids, p.rejected_ids) for p in found], 0, ()
    rows = mixture.load_preferences(
        config.data,
        holdout=config.holdout,
        seed=config.seed,
        max_invalid_percent=config.max_invalid_percent,
        resolve=context.inputs.path,
    )
    samples = []
    for row in rows.train:
        prompt_ids, chosen_ids = chat.conversation_ids(row.prompt.messages, row.chosen)
        _, rejected_ids = chat.conversation_ids(row.prompt.messages, row.rejected)
        samples.append(Sample.of_pair(row.prompt.id, prompt_ids, chosen_ids, rejected_ids))
    return samples, len(rows.invalid), mixture.source_records(config.data, rows)


def reference_of(
    context: StageContext, config: DpoConfig, learner: Learner, samples: Sequence[Sample]
) -> tuple[list[torch.Tensor] | None, int]:
    """Reference scores of every pair and how many were computed now; None for a loss without a reference."""
    if config.dpo.loss is DPOLoss.SIMPO:
        return None, 0
    identity = {
        "model": config.model.key or config.model.digest or config.model.uri,
        "precision": str(next(learner.scorer.parameters()).dtype),
        "attention": f"{PACKED}/{next(learner.scorer.parameters()).device.type}",
    }
    cache = ReferenceCache(context.store.cache("reference"), identity)
    packs = Schedule(samples, config.training, config.seed, learner.token_budget).first_epoch()
    return reference_scores(learner.scorer, samples, packs, cache, context.progress, context.stop)
