"""Log-probabilities of target tokens without the logits of all of them ever existing at once.

The vocabulary is walked in tiles. The forward keeps an online log-sum-exp (Milakov and Gimelshein, arXiv 1805.02867).
The backward computes a tile's softmax again, except for the tiles that fitted a fixed allowance and were kept. With
frozen output weights (LoRA) it needs none: the gradient of a log-probability with respect to the hidden state is
``weight[target] - E_p[weight]`` times the incoming scalar, and that expectation is accumulated in the forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class HeadMemory:
    """How much memory the head may use, in bytes."""

    tile: int
    """One FP32 tile of logits. Larger ones are not faster once the matrix units are busy."""
    kept: int
    """Softmax tiles kept from forward to backward; each one saves a quarter of its cost."""

    @staticmethod
    def of(device: torch.device) -> HeadMemory:
        """The default: tiles about the size of the last cache on a CPU, large enough to fill a GPU."""
        return HeadMemory(tile=16 << 20 if device.type == "cpu" else 256 << 20, kept=256 << 20)


def target_logprobs(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, memory: HeadMemory | None = None
) -> Tensor:
    """``log softmax(hidden @ weight.T + bias)[targets]``, ``[N]`` FP32.

    ``hidden`` is ``[N, H]``, ``weight`` ``[V, H]``, ``bias`` ``[V]`` or None, ``targets`` ``[N]`` int64. Products are
    in the dtype of ``hidden`` (or of autocast, where it is on); all sums over the vocabulary and over targets are FP32.
    """
    device = hidden.device
    if torch.is_autocast_enabled(device.type):
        hidden = hidden.to(torch.get_autocast_dtype(device.type))
    with torch.autocast(device.type, enabled=False):
        result: Tensor = _TargetLogprobs.apply(  # type: ignore[no-untyped-call]
            hidden, weight, bias, targets, memory or HeadMemory.of(device)
        )
    return result


@dataclass(frozen=True, slots=True)
class _KeptTile:
    """``exp(logits - top)`` of one tile, ``[N, width]``, and ``top`` ``[N]``."""

    exponentials: Tensor
    top: Tensor


@dataclass(frozen=True, slots=True)
class _Walk:
    """What the forward found on its way through the vocabulary."""

    logsumexp: Tensor
    expected: Tensor | None
    """``[N, H]`` the output weight expected under the softmax, if it was asked for."""
    kept: dict[tuple[int, int], _KeptTile]


class _TargetLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, memory: HeadMemory
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        trained = needs_weight or needs_bias
        tiles = _tiles(hidden.shape[0], weight.shape[0], memory.tile)
        target_weight = weight.index_select(0, targets).to(hidden.dtype).float()
        target_logits = (hidden.float() * target_weight).sum(1)
        if bias is not None:
            target_logits += bias.index_select(0, targets).float()
        walk = _walk(
            hidden, weight, bias, tiles, expectation=needs_hidden and not trained, keep=memory.kept if trained else 0
        )
        if trained:
            ctx.save_for_backward(hidden, weight, bias, targets, walk.logsumexp)
            ctx.kept, ctx.tiles = walk.kept, tiles
        elif walk.expected is not None:
            ctx.save_for_backward((target_weight - walk.expected).to(hidden.dtype))
        ctx.trained = trained
        return target_logits - walk.logsumexp

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        if not ctx.trained:
            (direction,) = ctx.saved_tensors
            return direction * gradient[:, None].to(direction.dtype), None, None, None, None
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        hidden, weight, bias, targets, logsumexp = ctx.saved_tensors
        grad_hidden = torch.zeros(hidden.shape, device=hidden.device) if needs_hidden else None
        grad_weight = torch.empty_like(weight) if needs_weight else None
        grad_bias = torch.empty_like(bias) if needs_bias else None
        for start, stop in ctx.tiles:
            # d logprob / d logits = onehot(target) - softmax, times the incoming gradient of each target.
            kept = ctx.kept.pop((start, stop), None)
            if kept is None:
                tile = _logits(hidden, weight, bias, start, stop).sub_(logsumexp[:, None]).exp_()
                tile.mul_(-gradient[:, None])
            else:
                tile = kept.exponentials.mul_((kept.top - logsumexp).exp_().mul_(-gradient)[:, None])
            _add_at_targets(tile, targets, gradient, start, stop)
            if grad_bias is not None:
                grad_bias[start:stop] = tile.sum(0)
            tile = tile.to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden += _product(tile, weight[start:stop].to(hidden.dtype))
            if grad_weight is not None:
                _product_into(grad_weight[start:stop], tile.t(), hidden)
        return None if grad_hidden is None else grad_hidden.to(hidden.dtype), grad_weight, grad_bias, None, None


def _walk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tiles: list[tuple[int, int]],
    *,
    expectation: bool,
    keep: int,
) -> _Walk:
    top = torch.full((hidden.shape[0],), float("-inf"), device=hidden.device)
    total = torch.zeros_like(top)
    expected = torch.zeros(hidden.shape, device=hidden.device) if expectation else None
    kept: dict[tuple[int, int], _KeptTile] = {}
    for start, stop in tiles:
        tile = _logits(hidden, weight, bias, start, stop)
        new_top = torch.maximum(top, tile.amax(1))
        tile.sub_(new_top[:, None]).exp_()
        shrink = (top - new_top).exp_()
        total = total * shrink + tile.sum(1)
        if expected is not None:
            product = _product(tile.to(hidden.dtype), weight[start:stop].to(hidden.dtype))
            expected = product.add_(expected.mul_(shrink[:, None]))
        if (keep := keep - tile.nbytes) >= 0:
            kept[start, stop] = _KeptTile(tile, new_top)
        top = new_top
    if expected is not None:
        expected /= total[:, None]
    return _Walk(top + total.log(), expected, kept)


def _tiles(rows: int, vocabulary: int, tile_bytes: int) -> list[tuple[int, int]]:
    """Column ranges of nearly equal width, so that ``rows`` FP32 rows of one range fit ``tile_bytes``."""
    width = max(256, tile_bytes // (4 * max(rows, 1)))
    count = -(-vocabulary // width)
    return list(pairwise(vocabulary * number // count for number in range(count + 1)))


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, start: int, stop: int) -> Tensor:
    """``[N, stop - start]`` FP32."""
    logits = _product(hidden, weight[start:stop].to(hidden.dtype).t())
    return logits if bias is None else logits.add_(bias[start:stop].float())


def _product(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` in FP32, without rounding half-precision products on the way where the device can do that."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return (left @ right).float()


def _product_into(out: Tensor, left: Tensor, right: Tensor) -> None:
    """``out[:] = left @ right``, in place where the dtypes agree."""
    if out.dtype == left.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(_product(left, right))


def _add_at_targets(tile: Tensor, targets: Tensor, gradient: Tensor, start: int, stop: int) -> None:
    """Add each target's gradient at its column where that lies in this tile: one entry a row, so no duplicates."""
    inside = (targets >= start) & (targets < stop)
    column = (targets - start).clamp_(0, stop - start - 1)
    tile.scatter_add_(1, column[:, None], torch.where(inside, gradient, 0.0)[:, None])
