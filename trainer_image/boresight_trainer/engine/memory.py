"""What a stage will need in memory, before it starts; and the token budget that fits.

Counts bytes of parameters, gradients, optimizer states and saved activations. Activations are estimated for decoder
layers of Llama shape (pre-norm, gated MLP) without recomputation; those of a tower that trains are not among them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..models.attention import decoder_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GIB = 2**30
CPU_BUDGET, GPU_BUDGET = 2048, 16384
"""Tokens of a micro-batch beyond which larger ones were not faster."""
MIN_BUDGET = 256


@dataclass(frozen=True)
class ModelShape:
    """The sizes that memory depends on."""

    parameters: int
    trainable: int
    layers: int
    """Decoder layers that keep activations: those from the lowest trainable one up."""
    hidden: int
    intermediate: int
    kv_width: int
    """Heads of keys times head size."""
    vocabulary: int


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by use, for one device."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    head: int
    token_budget: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.parameters + self.gradients + self.optimizer + self.activations + self.head

    def describe(self) -> str:
        """One line for the log and for out-of-memory messages."""
        parts = ", ".join(f"{name} {value / GIB:.2f}" for name, value in asdict(self).items() if name != "token_budget")
        return f"{self.total / GIB:.2f} GiB for micro-batches of {self.token_budget} tokens ({parts})"


def shape_of(model: PreTrainedModel) -> ModelShape:
    """Read the sizes off a model whose trainable parameters are already chosen."""
    config = model.config.get_text_config()
    decoder = decoder_of(model)
    inside = {id(parameter) for parameter in (*decoder.parameters(), *model.get_output_embeddings().parameters())}
    if any(p.requires_grad and id(p) not in inside for p in model.parameters()):
        lowest = 0  # a tower trains: its gradient comes through every decoder layer
    else:
        lowest = min((_layer_index(name) for name, p in decoder.named_parameters() if p.requires_grad), default=0)
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return ModelShape(
        parameters=sum(p.numel() for p in model.parameters()),
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        layers=config.num_hidden_layers - max(0, lowest),
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        kv_width=config.num_key_value_heads * head_size,
        vocabulary=config.vocab_size,
    )


def plan_memory(shape: ModelShape, token_budget: int, *, compute_bytes: int, head_tile: int = 1024) -> MemoryPlan:
    """Bytes needed to train with micro-batches of ``token_budget`` tokens.

    ``compute_bytes`` is 4 for fp32 and 2 for bf16; trainable parameters, gradients and AdamW's two moments are fp32.
    """
    # Saved for the backward pass of one layer: both norms with input and output, q/k/v before and after rotation,
    # the attention's output, the gated MLP's four intermediates, two residual sums.
    per_token = 10 * shape.hidden + 4 * shape.kv_width + 4 * shape.intermediate
    return MemoryPlan(
        parameters=(shape.parameters - shape.trainable) * compute_bytes + shape.trainable * 4,
        gradients=shape.trainable * 4,
        optimizer=shape.trainable * 8,
        activations=shape.layers * per_token * token_budget * compute_bytes,
        head=3 * min(head_tile, token_budget) * shape.vocabulary * 4,
        token_budget=token_budget,
    )


def choose_token_budget(shape: ModelShape, available: int, longest: int, *, compute_bytes: int, largest: int) -> int:
    """The largest power-of-two budget up to ``largest`` whose plan fits 70% of ``available`` bytes.

    Never below ``longest``, the longest sample: a sample is not cut.
    """
    budget = largest
    while budget > MIN_BUDGET and plan_memory(shape, budget, compute_bytes=compute_bytes).total > 0.7 * available:
        budget //= 2
    return max(budget, longest)


def available_bytes(device: torch.device) -> int:
    """Free memory of the device; for the CPU the smaller of what the host and the container's limit leave."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    host = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    limit = Path("/sys/fs/cgroup/memory.max")
    used = Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text(encoding="ascii").strip()) != "max":
        return min(host, int(text) - int(used.read_text(encoding="ascii")))
    return host


def _layer_index(name: str) -> int:
    """Index of the decoder layer a parameter belongs to; -1 for parameters below all layers (embeddings)."""
    parts = name.split(".")
    if "layers" in parts:
        return int(parts[parts.index("layers") + 1])
    return -1 if "embed" in name else 10**6
