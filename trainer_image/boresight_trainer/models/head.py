"""Log-probabilities of target tokens without ever holding the logits of all of them.

The vocabulary is walked in tiles. The forward keeps an online log-sum-exp (Milakov and Gimelshein, arXiv 1805.02867);
the backward computes each tile again, or, where the output weights are frozen, needs none: the gradient of a log-prob
is ``weight[target] - E_p[weight]`` up to the incoming scalar, and the expectation is accumulated in the forward.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

TILE_BYTES = 32 << 20
"""Size of one FP32 tile of logits. Measured on two cores; larger tiles only cost memory."""

_MAX_ROWS = 4096
"""Targets of one tile; more are done in blocks."""


def target_logprobs(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *, tile_bytes: int = TILE_BYTES
) -> Tensor:
    """``log softmax(hidden @ weight.T + bias)[targets]``, ``[N]`` FP32.

    ``hidden`` is ``[N, H]``, ``weight`` ``[V, H]``, ``bias`` ``[V]`` or None, ``targets`` ``[N]`` int64. Beyond its
    inputs it holds one tile of ``tile_bytes`` and, for the backward, one number a target (with frozen weights one
    FP32 vector ``[N, H]``). Sums over the vocabulary and over targets are FP32 whatever the inputs are.
    """
    blocks = [
        _TargetLogprobs.apply(rows, weight, bias, ids, tile_bytes)  # type: ignore[no-untyped-call]
        for rows, ids in zip(torch.split(hidden, _MAX_ROWS), torch.split(targets, _MAX_ROWS), strict=True)
    ]
    result: Tensor = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
    return result


class _TargetLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, tile_bytes: int
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        frozen = needs_hidden and not (needs_weight or needs_bias)
        tiles = _tiles(hidden.shape[0], weight.shape[0], tile_bytes)
        target_weight = weight.index_select(0, targets).float()
        target_logits = (hidden.float() * target_weight).sum(1)
        if bias is not None:
            target_logits += bias.index_select(0, targets).float()
        logsumexp, expected = _walk(hidden, weight, bias, tiles, expectation=frozen)
        if frozen:
            assert expected is not None
            ctx.save_for_backward((target_weight - expected).to(hidden.dtype))
        elif any(ctx.needs_input_grad):
            ctx.save_for_backward(hidden, weight, bias, targets, logsumexp)
        ctx.frozen, ctx.tiles = frozen, tiles
        return target_logits - logsumexp

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        if ctx.frozen:
            (direction,) = ctx.saved_tensors
            return (gradient[:, None] * direction).to(direction.dtype), None, None, None, None
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        hidden, weight, bias, targets, logsumexp = ctx.saved_tensors
        grad_hidden = torch.zeros(hidden.shape, dtype=torch.float32, device=hidden.device) if needs_hidden else None
        grad_weight = torch.empty_like(weight) if needs_weight else None
        grad_bias = torch.empty_like(bias) if needs_bias else None
        for start, stop in ctx.tiles:
            # d logprob / d logits = onehot(target) - softmax, times the incoming gradient of each target.
            tile = _logits(hidden, weight, bias, start, stop).sub_(logsumexp[:, None]).exp_().mul_(-gradient[:, None])
            tile = _add_at_targets(tile, targets, gradient, start, stop)
            if grad_bias is not None:
                grad_bias[start:stop] = tile.sum(0)
            tile = tile.to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden += tile @ weight[start:stop].to(hidden.dtype)
            if grad_weight is not None:
                grad_weight[start:stop] = tile.t() @ hidden
        return None if grad_hidden is None else grad_hidden.to(hidden.dtype), grad_weight, grad_bias, None, None


def _tiles(rows: int, vocabulary: int, tile_bytes: int) -> list[tuple[int, int]]:
    """Column ranges so that ``rows`` FP32 rows of one range fit ``tile_bytes``, of nearly equal width."""
    width = max(256, tile_bytes // (4 * max(rows, 1)))
    count = -(-vocabulary // width)
    edges = [vocabulary * number // count for number in range(count + 1)]
    return list(pairwise(edges))


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, start: int, stop: int) -> Tensor:
    """``[N, stop - start]`` FP32."""
    logits = (hidden @ weight[start:stop].to(hidden.dtype).t()).float()
    return logits if bias is None else logits.add_(bias[start:stop].float())


def _walk(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, tiles: list[tuple[int, int]], *, expectation: bool
) -> tuple[Tensor, Tensor | None]:
    """``[N]`` log-sum-exp of the logits and, if asked for, ``[N, H]`` the expected weight under their softmax."""
    top = torch.full((hidden.shape[0],), float("-inf"), device=hidden.device)
    total = torch.zeros_like(top)
    expected = torch.zeros(hidden.shape, device=hidden.device) if expectation else None
    for start, stop in tiles:
        tile = _logits(hidden, weight, bias, start, stop)
        new_top = torch.maximum(top, tile.amax(1))
        tile.sub_(new_top[:, None]).exp_()
        shrink = (top - new_top).exp_()
        total = total * shrink + tile.sum(1)
        if expected is not None:
            expected.mul_(shrink[:, None]).add_(tile.to(hidden.dtype) @ weight[start:stop].to(hidden.dtype))
        top = new_top
    if expected is not None:
        expected /= total[:, None]
    return top + total.log(), expected


def _add_at_targets(tile: Tensor, targets: Tensor, gradient: Tensor, start: int, stop: int) -> Tensor:
    """Add each target's gradient at its column where the column lies in this tile; one entry a row, no duplicates."""
    inside = (targets >= start) & (targets < stop)
    column = (targets - start).clamp_(0, stop - start - 1)
    return tile.scatter_add_(1, column[:, None], torch.where(inside, gradient, 0.0)[:, None])
