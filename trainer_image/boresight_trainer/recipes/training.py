"""What the training recipes share: from a model input to a trained, exported model."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from boresight_api.execution import Execution
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import DpoConfig, ModelInput, SftConfig, Training

from ..data.packing import pack_step
from ..engine import memory
from ..engine.loop import Limits, Trainer
from ..engine.lora import prepare_parameters
from ..engine.objective import Objective
from ..models.batch import Sample, build_pack
from ..models.chat import ChatTokenizer
from ..models.export import export_model
from ..models.loading import load_causal_lm
from ..models.scorer import Scorer, self_check
from ..stage import StageContext

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Learner:
    """A loaded model that is ready to train."""

    folder: Path
    chat: ChatTokenizer
    scorer: Scorer
    token_budget: int
    memory_plan: str


def load_chat(context: StageContext, model: ModelInput) -> ChatTokenizer:
    """The tokenizer and template of ``model``, without its weights."""
    return ChatTokenizer.from_folder(
        context.inputs.path(model), chat_template=model.chat_template, system_prompt=model.system_prompt
    )


def load_learner(
    context: StageContext, config: SftConfig | DpoConfig, chat: ChatTokenizer, samples: Sequence[Sample]
) -> Learner:
    """Load the model, choose what trains, prove the packed path on it, and plan the memory (logged)."""
    folder = context.inputs.path(config.model)
    model = load_causal_lm(
        folder,
        precision=config.training.precision,
        trust_remote_code=config.model.trust_remote_code,
        resolve=context.inputs.path,
    )
    scorer = Scorer(model)
    self_check(scorer)
    prepare_parameters(model, config.training, config.seed)
    device = next(model.parameters()).device
    compute_bytes = 2 if device.type == "cuda" else 4
    shape = memory.shape_of(model)
    longest = max(sample.num_tokens for sample in samples)
    budget = _token_budget(context.stage.execution, shape, longest, device, compute_bytes)
    plan = memory.plan_memory(shape, budget, compute_bytes=compute_bytes).describe()
    log.info("memory plan: %s", plan)
    return Learner(folder, chat, scorer, budget, plan)


def _token_budget(
    execution: Execution, shape: memory.ModelShape, longest: int, device: torch.device, compute_bytes: int
) -> int:
    """Tokens of a micro-batch: what the spec says, or what the memory allows; halved after running out of memory."""
    if isinstance(execution.token_budget, int):
        budget = execution.token_budget
    else:
        budget = memory.choose_token_budget(
            shape,
            memory.available_bytes(device),
            longest,
            compute_bytes=compute_bytes,
            largest=memory.GPU_BUDGET if device.type == "cuda" else memory.CPU_BUDGET,
        )
    if execution.token_budget_halvings:
        return max(budget >> execution.token_budget_halvings, longest)  # a sample is never cut
    if budget < longest:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f"compute.tokenBudget: found {budget}, but the longest sample has {longest} tokens; "
            "raise the budget or lower training.maxLength",
        )
    return budget


def export(context: StageContext, config: SftConfig | DpoConfig, learner: Learner) -> None:
    """Write the trained model into the artifact, ready for ``from_pretrained``."""
    export_model(
        learner.scorer.model,
        learner.folder,
        context.output,
        base=config.model,
        resolve=context.inputs.path,
        chat=learner.chat,
        form=config.export,
        precision=config.export_precision,
    )


def longest_conversation(context: StageContext, config: SftConfig | DpoConfig) -> int:
    """``training.maxLength``, or the model's context where that is shorter."""
    return shorter_than_context(context, config.model, config.training.max_length)


def shorter_than_context(context: StageContext, model: ModelInput, max_length: int) -> int:
    """``max_length``, or the number of positions that ``model`` has where that is smaller."""
    document = json.loads((context.inputs.path(model) / "config.json").read_text(encoding="utf-8"))
    return min(max_length, int(document.get("text_config", document).get("max_position_embeddings", max_length)))


def make_trainer(
    context: StageContext,
    learner: Learner,
    samples: Sequence[Sample],
    objective: Objective,
    training: Training,
    seed: int,
) -> Trainer:
    """The step loop for this stage, not yet started."""
    execution = context.stage.execution
    return Trainer(
        scorer=learner.scorer,
        samples=samples,
        objective=objective,
        training=training,
        seed=seed,
        limits=Limits(
            token_budget=learner.token_budget,
            checkpoint_every_seconds=execution.checkpoint_every_seconds,
            checkpoints_keep=execution.checkpoints_keep,
        ),
        progress=context.progress,
        stop=context.stop,
        checkpoint_folder=context.checkpoint_folder,
        previous_checkpoints=context.previous_checkpoints,
    )


def mean_loss(scorer: Scorer, samples: Sequence[Sample], token_budget: int) -> float | None:
    """Mean negative log-prob per scored token, without gradients; None if there is nothing to score."""
    if not samples:
        return None
    device = next(scorer.parameters()).device
    total = torch.zeros((), dtype=torch.float64)
    for pack in pack_step([sample.num_tokens for sample in samples], token_budget=token_budget)[0]:
        with torch.no_grad():
            total -= scorer(build_pack([samples[i] for i in pack], device)).logprobs.double().sum().cpu()
    return float(total / sum(sample.num_targets for sample in samples))


def conversation_length(sample: Sample) -> int:
    """Tokens of the sample's longest conversation: a segment with all its ancestors."""
    lengths: list[int] = []
    for segment in sample.segments:
        before = 0 if segment.parent is None else lengths[segment.parent]
        lengths.append(before + len(segment.tokens))
    return max(lengths)


def keep_fitting(
    samples: Sequence[Sample], *, max_length: int, max_invalid_percent: float, invalid_before: int
) -> tuple[Sample, ...]:
    """The samples whose conversations fit ``max_length``; text is never cut silently.

    ``invalid_before`` rows were already dropped when the data was read. Raises :class:`StageFailure` (InvalidData) if
    the share of dropped rows is above ``max_invalid_percent``, or nothing is left.
    """
    lengths = [conversation_length(sample) for sample in samples]
    fitting = tuple(s for s, length in zip(samples, lengths, strict=True) if length <= max_length)
    dropped = len(samples) - len(fitting)
    rows = len(samples) + invalid_before
    if dropped:
        worst = max(range(len(samples)), key=lengths.__getitem__)
        message = (
            f"row {samples[worst].id}: found {lengths[worst]} tokens, expected at most {max_length}; {dropped} of "
            f"{rows} rows are too long. Shorten them, or raise training.maxLength up to the model's context"
        )
        if not fitting or 100 * (dropped + invalid_before) > max_invalid_percent * rows:
            raise StageFailure(FailureClass.INVALID_DATA, message)
        log.warning("%s", message)
    if not fitting:
        raise StageFailure(FailureClass.INVALID_DATA, "found no row to train on, expected at least one")
    return fitting
