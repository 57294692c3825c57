"""Attention over packs with shared prefixes, registered with transformers as ``boresight_packed``.

One function, two kernels. On a CPU (and for FP32 on a GPU) one SDPA call a row; on a GPU in half precision one
variable-length call whose index arrays come from the same rows. A pack's plan travels as the keyword ``packed`` through
the model's forward; a call without it is refused, so that generation can never run through here by mistake (use
:func:`plain_attention` around it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel

from .layout import Piece, Row, varlen_arrays

PACKED = "boresight_packed"
"""Name of the attention implementation."""

_WITHOUT_EFFECT = frozenset({"position_ids", "use_cache", "cache_position", "is_causal"})
"""Keywords that models pass along and that change nothing here: rotary positions are already applied."""


@dataclass(frozen=True, eq=False)
class VarlenPlan:
    """Index arrays of one variable-length call, on the device."""

    key_index: Tensor
    cu_queries: Tensor
    cu_keys: Tensor
    max_queries: int
    max_keys: int


@dataclass(frozen=True, eq=False)
class AttentionPlan:
    """Which keys each query of a pack sees, ready for the kernel of the pack's device."""

    rows: tuple[Row, ...]
    num_tokens: int
    varlen: VarlenPlan | None
    """Present on a GPU."""
    _masks: dict[tuple[int | None, torch.dtype, torch.device], Tensor] = field(default_factory=dict)

    @classmethod
    def build(cls, rows: Sequence[Row], device: torch.device) -> AttentionPlan:
        """The plan for rows that cover the flat axis."""
        varlen = None
        if device.type == "cuda":
            arrays = varlen_arrays(rows)
            key_index, cu_queries, cu_keys = (
                torch.from_numpy(array).to(device, non_blocking=True)
                for array in (arrays.key_index, arrays.cu_queries, arrays.cu_keys)
            )
            varlen = VarlenPlan(key_index, cu_queries, cu_keys, arrays.max_queries, arrays.max_keys)
        return cls(tuple(rows), rows[-1].stop, varlen)

    def mask(self, row: Row, window: int | None, like: Tensor) -> Tensor | None:
        """``[queries, keys]`` additive mask of a row, or None where top-left causality is right.

        All masks of a pack are views of one staircase, made once for all layers.
        """
        if not row.prefix and (window is None or row.num_queries <= window):
            return None
        key = (window, like.dtype, like.device)
        deepest = max(row.num_prefix for row in self.rows)
        if key not in self._masks:
            longest = max(row.num_queries for row in self.rows if row.prefix or window is not None)
            self._masks[key] = _staircase(longest, deepest, window, like)
        skip = deepest - row.num_prefix
        return self._masks[key][: row.num_queries, skip : skip + row.num_keys]


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: AttentionPlan | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer over a pack.

    Implements ``scaling``, grouped queries (fewer key than query heads) and ``sliding_window`` (a token sees itself and
    the ``sliding_window - 1`` before it in its chain). ``query`` is ``[1, heads, T, head_dim]``, ``key`` and ``value``
    are ``[1, key_heads, T, head_dim]``; the result is ``[1, T, heads, head_dim]``.

    Raises ``ValueError`` for any other argument that is not neutral (dropout, soft-cap, sinks, a mask, a bias), for
    attention that is not causal, and for a call without a pack.
    """
    if packed is None:
        raise ValueError(
            f"{PACKED} attention was called without a pack; generation and plain forwards need another implementation: "
            "wrap them in boresight_trainer.models.attention.plain_attention(model)"
        )
    _refuse_unsupported(module, attention_mask, dropout, others)
    _check_layer(module, sliding_window)
    if not query.shape[0] == key.shape[0] == 1 or not query.shape[2] == key.shape[2] == packed.num_tokens:
        raise ValueError(
            f"{PACKED} attention: query {list(query.shape)} and key {list(key.shape)}, "
            f"expected one flat axis of {packed.num_tokens} tokens and no cache"
        )
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)  # rotary positions have made queries and keys FP32
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if packed.varlen is not None and query.dtype in (torch.float16, torch.bfloat16):
        return _varlen(query, key, value, packed.varlen, scaling, sliding_window), None
    return _row_by_row(query, key, value, packed, scaling, sliding_window), None


def _row_by_row(
    query: Tensor, key: Tensor, value: Tensor, plan: AttentionPlan, scaling: float | None, window: int | None
) -> Tensor:
    sizes = [row.num_queries for row in plan.rows]
    groups = query.shape[1] // key.shape[1]
    queries, keys, values = (torch.split(tensor, sizes, dim=2) for tensor in (query, key, value))
    outputs = []
    for number, row in enumerate(plan.rows):
        mask = plan.mask(row, window, query)
        attended = functional.scaled_dot_product_attention(
            queries[number],
            _repeat_heads(_with_prefix(keys, plan.rows, row.prefix, number), groups),
            _repeat_heads(_with_prefix(values, plan.rows, row.prefix, number), groups),
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
        )
        outputs.append(attended.transpose(1, 2))
    return torch.cat(outputs, dim=1)


def _with_prefix(chunks: Sequence[Tensor], rows: Sequence[Row], prefix: Sequence[Piece], own: int) -> Tensor:
    """Keys (or values) of a row: those of its prefix, then its own. ``[1, heads, keys, head_dim]``."""
    if not prefix:
        return chunks[own]
    pieces = [chunks[p.row].narrow(2, p.start - rows[p.row].start, p.stop - p.start) for p in prefix]
    return torch.cat([*pieces, chunks[own]], dim=2)


def _repeat_heads(tensor: Tensor, groups: int) -> Tensor:
    return tensor if groups == 1 else tensor.repeat_interleave(groups, dim=1)


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, plan: VarlenPlan, scaling: float | None, window: int | None
) -> Tensor:
    flat_query, flat_key, flat_value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    attended = varlen_attn(
        flat_query.contiguous(),
        flat_key.index_select(0, plan.key_index),
        flat_value.index_select(0, plan.key_index),
        plan.cu_queries,
        plan.cu_keys,
        plan.max_queries,
        plan.max_keys,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(attended, Tensor)
    return attended.unsqueeze(0)


def _staircase(queries: int, deepest: int, window: int | None, like: Tensor) -> Tensor:
    """``[queries, deepest + queries]``: query i sees columns up to ``deepest + i``, at most ``window`` of them."""
    row = torch.arange(queries, device=like.device)[:, None]
    ahead = torch.arange(-deepest, queries, device=like.device)[None, :] - row
    hidden = ahead > 0 if window is None else (ahead > 0) | (ahead <= -window)
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, float("-inf"))


def _refuse_unsupported(
    module: nn.Module, attention_mask: Tensor | None, dropout: float, others: Mapping[str, Any]
) -> None:
    if attention_mask is not None:
        raise ValueError(f"{PACKED} attention takes no attention mask; the pack says which keys a query sees")
    if dropout:
        raise ValueError(f"attention dropout is {dropout}; packed scoring needs 0 (set attention_dropout to 0)")
    if not (getattr(module, "is_causal", True) and others.get("is_causal") in (None, True)):
        raise ValueError(f"{type(module).__name__} is not causal; {PACKED} attention implements causal attention only")
    for name, value in others.items():
        neutral = value is None or (isinstance(value, bool | int | float) and not value)
        if name not in _WITHOUT_EFFECT and not neutral:
            raise ValueError(
                f"{type(module).__name__} passes {name}={_brief(value)}, which {PACKED} attention does not implement; "
                "this model family is not supported"
            )


def _check_layer(module: nn.Module, sliding_window: int | None) -> None:
    """A layer that slides must say so in its call: with packs there is no mask that could do it unseen."""
    layer_types = getattr(getattr(module, "config", None), "layer_types", None)
    if layer_types is None:
        return
    kind = layer_types[getattr(module, "layer_idx", 0)]
    if kind not in ("full_attention", "sliding_attention"):
        raise ValueError(f"{type(module).__name__} uses {kind}, which {PACKED} attention does not implement")
    if kind == "sliding_attention" and sliding_window is None:
        raise ValueError(f"{type(module).__name__} slides by mask alone; {PACKED} attention needs sliding_window")


def _brief(value: object) -> str:
    return f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else repr(value)


def decoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The language model within ``model``: all of it but the head and, in a multimodal model, the towers."""
    decoder: PreTrainedModel = model.get_decoder()
    return decoder


@contextmanager
def plain_attention(model: PreTrainedModel, implementation: str = "sdpa") -> Iterator[None]:
    """Within it the language model attends as transformers does, as towers always do: to generate, or to compare."""
    decoder = decoder_of(model)
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation(implementation)
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)


# No mask function goes with it: without one transformers builds no mask, whereas with one it first looks for packed
# sequences in the positions, which costs a host sync a forward.
AttentionInterface.register(PACKED, packed_attention)
