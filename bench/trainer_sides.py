"""The sides of the trainer benchmark. Each runs in a process of its own and steps when told to."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

THREADS = 2
BETA = 0.1
LEARNING_RATE = 1e-6
PAIRS = 8
VOCABULARY = 32_000
IGNORED = -100


@dataclass(frozen=True)
class Row:
    """One pair, already tokenised, so that both sides see the same ids."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


LENGTHS_SEED = 393
"""Of the seeds 0 to 999 the one whose padded, packed, shared and scored token counts are nearest to the medians."""


def make_rows() -> list[Row]:
    """Eight pairs of random tokens: prompts of 100 to 400, completions of 20 to 160."""
    draw = np.random.default_rng(LENGTHS_SEED)
    prompts = draw.integers(100, 401, PAIRS)
    completions = draw.integers(20, 161, (PAIRS, 2))

    def ids(length: int) -> list[int]:
        return draw.integers(3, VOCABULARY, length).tolist()

    return [Row(ids(x), ids(y), ids(z)) for x, (y, z) in zip(prompts, completions, strict=True)]


def make_model(attention: str, seed: int = 0) -> LlamaForCausalLM:
    """Llama shape, 6 layers of 384, vocabulary 32k, FP32. The same seed gives the same weights on every side."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=2048,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM._from_config(config, attn_implementation=attention, dtype=torch.float32)
    assert isinstance(model, LlamaForCausalLM)
    return model


def make_reference(attention: str) -> LlamaForCausalLM:
    """Different weights than the policy's: with equal ones every DPO loss is log 2 and agreement would show nothing."""
    return make_model(attention, seed=1).requires_grad_(False).eval()


@dataclass(frozen=True)
class First:
    """What a side found on the first batch, before any update."""

    loss: float
    gradient_norm: float
    setup_seconds: float
    """Time spent once to compute the cached reference of the eight pairs; 0 without one."""


def gradient_norm(parameters: Iterator[torch.nn.Parameter]) -> float:
    """Global L2 norm."""
    norms = [p.grad.norm() for p in parameters if p.grad is not None]
    return float(torch.stack(norms).norm())


def peak_bytes() -> int:
    """The largest resident set this process ever had."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def serve(connection: Connection, side: str) -> None:
    """Child process: report the first batch, then run as many steps as asked for, until told to stop."""
    torch.set_num_threads(THREADS)
    logging.disable(logging.WARNING)
    SIDES[side](connection)
    connection.close()


# ours and the padded shape ------------------------------------------------------------------------------------------


def _own_loop(connection: Connection, model: LlamaForCausalLM, loss_of: Callable[[], Tensor], setup: float) -> None:
    """The step of engine/loop.py without its logging and checkpoints: forward, backward, clip, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)

    loss = loss_of()
    loss.backward()
    connection.send(First(float(loss.detach()), gradient_norm(model.parameters()), setup))
    optimizer.zero_grad(set_to_none=True)
    while steps := connection.recv():
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            loss_of().backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seconds.append(time.perf_counter() - start)
        connection.send(seconds)
    connection.send(peak_bytes())


def _dpo_of_sums(policy: Tensor, reference: Tensor, lengths: Tensor) -> Tensor:
    """Mean DPO loss of summed log-probs ``[2 * pairs]``, chosen and rejected in turn."""
    from boresight_trainer.objectives import dpo_loss

    chosen, rejected = policy.view(-1, 2).unbind(1)
    reference_chosen, reference_rejected = reference.view(-1, 2).unbind(1)
    chosen_lengths, rejected_lengths = lengths.view(-1, 2).unbind(1)
    result = dpo_loss(
        chosen,
        rejected,
        reference_chosen,
        reference_rejected,
        chosen_lengths=chosen_lengths,
        rejected_lengths=rejected_lengths,
        beta=BETA,
    )
    return result.losses.sum() / len(chosen)


def ours_dpo(connection: Connection, *, cached: bool) -> None:
    from boresight_trainer.models.batch import Sample, build_pack
    from boresight_trainer.models.scorer import Scorer

    rows = make_rows()
    samples = [Sample.of_pair(str(i), row.prompt, row.chosen, row.rejected) for i, row in enumerate(rows)]
    policy, reference = Scorer(make_model("boresight_packed")), Scorer(make_reference("boresight_packed"))
    kept, setup = None, 0.0
    if cached:
        for _ in range(2):  # the first run also warms the process up
            start = time.perf_counter()
            with torch.no_grad():
                kept = reference(build_pack(samples)).sums()
            setup = time.perf_counter() - start
        del reference

    def loss() -> Tensor:
        pack = build_pack(samples)
        if kept is not None:
            return _dpo_of_sums(policy(pack).sums(), kept, pack.lengths)
        with torch.no_grad():
            fresh = reference(pack).sums()
        return _dpo_of_sums(policy(pack).sums(), fresh, pack.lengths)

    _own_loop(connection, policy.model, loss, setup)


def ours_sft(connection: Connection) -> None:
    from boresight_trainer.models.batch import Sample, build_pack
    from boresight_trainer.models.scorer import Scorer
    from boresight_trainer.objectives import sft_loss

    samples = [Sample.of_response(str(i), row.prompt, row.chosen) for i, row in enumerate(make_rows())]
    policy = Scorer(make_model("boresight_packed"))

    def loss() -> Tensor:
        pack = build_pack(samples)
        return sft_loss(policy(pack).logprobs) / pack.num_targets

    _own_loop(connection, policy.model, loss, 0.0)


def padded_dpo(connection: Connection) -> None:
    """What TRL does on a GPU: two padded rows a pair, the head at completions only, the reference on the fly."""
    from boresight_trainer.models.head import target_logprobs

    rows = make_rows()
    sequences = [row.prompt + response for row in rows for response in (row.chosen, row.rejected)]
    prompts = [len(row.prompt) for row in rows for _ in range(2)]
    longest = max(len(ids) for ids in sequences)
    ids = torch.tensor([run + [0] * (longest - len(run)) for run in sequences])
    attention_mask = torch.tensor([[1] * len(run) + [0] * (longest - len(run)) for run in sequences])
    spans = [(i * longest, prompt, len(run)) for i, (prompt, run) in enumerate(zip(prompts, sequences, strict=True))]
    source = torch.cat([torch.arange(start + prompt - 1, start + stop - 1) for start, prompt, stop in spans])
    lengths = torch.tensor([stop - prompt for _, prompt, stop in spans])
    policy, reference = make_model("sdpa"), make_reference("sdpa")

    def sums(model: LlamaForCausalLM) -> Tensor:
        hidden = model.model(input_ids=ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        scored = hidden.flatten(0, 1).index_select(0, source)
        logprobs = target_logprobs(scored, model.lm_head.weight, None, ids.flatten()[source + 1])
        return torch.segment_reduce(logprobs, "sum", lengths=lengths)

    def loss() -> Tensor:
        with torch.no_grad():
            fresh = sums(reference)
        return _dpo_of_sums(sums(policy), fresh, lengths)

    _own_loop(connection, policy, loss, 0.0)


# TRL ----------------------------------------------------------------------------------------------------------------

COMMON = {
    "per_device_train_batch_size": PAIRS,
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "logging_steps": 10,
    "num_train_epochs": 10_000,
    "learning_rate": LEARNING_RATE,
    "lr_scheduler_type": "constant",
    "optim": "adamw_torch_fused",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "report_to": [],
    "save_strategy": "no",
    "disable_tqdm": True,
    "seed": 0,
}


def _tokenizer() -> Any:
    """TRL wants one; the rows are tokenised already, so it only has to know its special tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _train_on_demand(connection: Connection, trainer: Any, setup: float) -> None:
    """Run ``trainer.train()``; before each step wait until it is asked for, time it from begin to end."""
    from transformers import TrainerCallback

    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    connection.send(First(float(loss.detach()), gradient_norm(trainer.model.parameters()), setup))
    trainer.model.zero_grad(set_to_none=True)

    class Gate(TrainerCallback):
        wanted = 0
        seconds: list[float] = []  # noqa: RUF012 one gate a process
        stopping = False

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if not self.wanted:
                self.wanted = connection.recv()
                self.stopping = not self.wanted
            self.start = time.perf_counter()

        def on_step_end(self, _args: Any, _state: Any, control: Any, **__: Any) -> None:
            control.should_training_stop = self.stopping
            self.seconds.append(time.perf_counter() - self.start)
            self.wanted -= 1
            if not self.wanted:
                connection.send(self.seconds)
                self.seconds = []

    trainer.add_callback(Gate())
    trainer.train()
    connection.send(peak_bytes())


def trl_dpo(connection: Connection, *, cached: bool) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class Pretokenized(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

    rows = make_rows()
    columns = {
        "prompt_ids": [row.prompt for row in rows],
        "chosen_ids": [row.chosen for row in rows],
        "rejected_ids": [row.rejected for row in rows],
    }
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        trainer = Pretokenized(
            model=make_model("sdpa"),
            ref_model=make_reference("sdpa"),
            args=DPOConfig(output_dir=folder, max_length=None, beta=BETA, precompute_ref_log_probs=cached, **COMMON),
            train_dataset=Dataset.from_dict(columns),
            processing_class=_tokenizer(),
        )
        _train_on_demand(connection, trainer, time.perf_counter() - start if cached else 0.0)


def trl_sft(connection: Connection, *, packing: bool) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = make_rows()
    columns = {
        "input_ids": [row.prompt + row.chosen for row in rows],
        "completion_mask": [[0] * len(row.prompt) + [1] * len(row.chosen) for row in rows],
    }
    total = sum(len(ids) for ids in columns["input_ids"])
    settings = dict(COMMON)
    if packing:
        settings.update(packing=True, max_length=total, per_device_train_batch_size=1)
    else:
        settings.update(max_length=None)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=make_model("sdpa"),
            args=SFTConfig(output_dir=folder, completion_only_loss=True, **settings),
            train_dataset=Dataset.from_dict(columns),
            processing_class=_tokenizer(),
        )
        _train_on_demand(connection, trainer, 0.0)


SIDES: dict[str, Callable[[Connection], None]] = {
    "ours": lambda c: ours_dpo(c, cached=False),
    "ours, cached reference": lambda c: ours_dpo(c, cached=True),
    "padded shape": padded_dpo,
    "TRL": lambda c: trl_dpo(c, cached=False),
    "TRL, cached reference": lambda c: trl_dpo(c, cached=True),
    "ours SFT": ours_sft,
    "TRL SFT padded": lambda c: trl_sft(c, packing=False),
    "TRL SFT packed": lambda c: trl_sft(c, packing=True),
}
