"""Tiny models, samples and trainers for tests of the engine and the recipes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from boresight_api.enums import Tuning
from boresight_api.stages import LoRA, Training
from boresight_trainer.engine.loop import Limits, Trainer
from boresight_trainer.engine.lora import prepare_parameters
from boresight_trainer.engine.objective import SftObjective
from boresight_trainer.models.attention import PACKED
from boresight_trainer.models.batch import Sample
from boresight_trainer.models.scorer import Scorer
from boresight_trainer.telemetry.progress import METRICS_NAME, Progress
from boresight_trainer.telemetry.stop import StopFlag
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY = 211


def a_llama(seed: int = 0) -> LlamaForCausalLM:
    """A random Llama of three layers with grouped heads."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        attn_implementation=PACKED,
    )
    return LlamaForCausalLM(config)


def some_samples(number: int, seed: int = 1) -> tuple[Sample, ...]:
    """Prompts of 3-20 and responses of 2-15 random tokens."""
    rng = np.random.default_rng(seed)

    def tokens(low: int, high: int) -> list[int]:
        return rng.integers(0, VOCABULARY, int(rng.integers(low, high))).tolist()

    return tuple(Sample.of_response(f"row-{i}", tokens(3, 20), tokens(2, 15)) for i in range(number))


def a_training(**changes: object) -> Training:
    """Three epochs of LoRA in steps of 8 unless ``changes`` say otherwise."""
    values: dict[str, object] = {
        "epochs": 3,
        "learning_rate": "0.01",
        "global_batch": 8,
        "tuning": Tuning.LORA,
        "lora": LoRA(rank=4, alpha=8),
        "max_length": 512,
    }
    values.update(changes)
    if values["tuning"] is Tuning.FULL:
        values["lora"] = None
    return Training(**values)


def a_trainer(
    folder: Path,
    *,
    samples: Sequence[Sample] | None = None,
    training: Training | None = None,
    token_budget: int = 120,
    attempt: int = 1,
    stop: StopFlag | None = None,
    checkpoint_every_seconds: float = 1e9,
) -> Trainer:
    """A trainer with its own attempt folder below ``folder``, which can resume from all earlier attempts."""
    samples = samples if samples is not None else some_samples(21)
    training = training or a_training()
    output = folder / f"output-{attempt}"
    output.mkdir(parents=True)
    scorer = Scorer(prepare_parameters(a_llama(), training, seed=5))
    return Trainer(
        scorer=scorer,
        samples=samples,
        objective=SftObjective(samples),
        training=training,
        seed=7,
        limits=Limits(token_budget, checkpoint_every_seconds),
        progress=Progress(stage="test", key=None, metrics_path=output / METRICS_NAME),
        stop=stop or StopFlag(30),
        checkpoint_folder=folder / "checkpoints" / f"run-{attempt}",
        previous_checkpoints=sorted((folder / "checkpoints").glob("*")),
    )
