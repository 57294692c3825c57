"""Drawing the next token. One uniform number a row and step decides, so rows do not depend on one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from boresight_api.stages import Sampling
from torch import Tensor

_FIRST_CANDIDATES = 256
_BLOCK = 256


class Draws:
    """The uniform numbers of a batch: row i's number at step n is a function of row i's seed and n alone."""

    def __init__(self, seeds: Sequence[int], steps: int) -> None:
        generators = (np.random.Generator(np.random.Philox(key=seed)) for seed in seeds)
        self._numbers = np.stack([generator.random(steps) for generator in generators])

    def at(self, rows: Sequence[int], step: int) -> Tensor:
        """``[rows]`` float64 in [0, 1)."""
        return torch.from_numpy(self._numbers[list(rows), step])


def draw(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """Token ids ``[rows]`` from ``logits`` ``[rows, vocabulary]`` (FP32) by inverting the distribution function.

    Temperature, then top-k, then top-p (the smallest set of the likeliest tokens that holds at least that much
    probability), as transformers and vLLM order them. Temperature 0 takes the likeliest token.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    if sampling.temperature != 1:
        logits = logits / float(sampling.temperature)
    vocabulary = logits.shape[-1]
    if 0 < sampling.top_k < vocabulary:
        logits, candidates = logits.topk(sampling.top_k)
        kept = _nucleus(logits.softmax(-1, dtype=torch.float64), float(sampling.top_p))
        return candidates.gather(1, _invert(kept, uniforms))[:, 0]
    if sampling.top_p < 1:
        return _draw_from_nucleus(logits, uniforms, float(sampling.top_p))
    return _invert_in_blocks(logits, uniforms)


def penalize(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits of ``seen`` tokens made less likely: divided if positive, multiplied if negative (arXiv 1909.05858)."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def _draw_from_nucleus(logits: Tensor, uniforms: Tensor, top_p: float) -> Tensor:
    """Sorting a vocabulary is slow: the likeliest few hold the nucleus nearly always, and else more are taken."""
    total = logits.logsumexp(-1, keepdim=True)
    count, vocabulary = _FIRST_CANDIDATES, logits.shape[-1]
    while True:
        count = min(count, vocabulary)
        likeliest, candidates = logits.topk(count)
        probabilities = (likeliest - total).double().exp()
        if count == vocabulary or bool((probabilities.sum(-1) >= top_p).all()):
            return candidates.gather(1, _invert(_nucleus(probabilities, top_p), uniforms))[:, 0]
        count *= 8


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Descending ``probabilities`` with zeros outside the nucleus; the likeliest token always stays."""
    before = probabilities.cumsum(-1) - probabilities
    outside = before >= top_p
    outside[:, 0] = False
    return probabilities.masked_fill(outside, 0.0)


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """``[rows, 1]`` index at which the cumulated ``weights`` (float64) pass ``uniforms`` of their sum."""
    cumulated = weights.cumsum(-1)
    target = uniforms.to(weights.device)[:, None] * cumulated[:, -1:]
    index = torch.searchsorted(cumulated, target, right=True)
    last = weights.shape[-1] - 1 - (weights.flip(-1) > 0).int().argmax(-1, keepdim=True)
    return index.minimum(last)  # rounding must not reach a token of probability 0


def _invert_in_blocks(logits: Tensor, uniforms: Tensor) -> Tensor:
    """As :func:`_invert` over a whole vocabulary, but cumulating sums of blocks, then one block: much faster."""
    rows, vocabulary = logits.shape
    weights = (logits - logits.amax(-1, keepdim=True)).exp_()
    if vocabulary % _BLOCK:
        weights = torch.nn.functional.pad(weights, (0, -vocabulary % _BLOCK))
    padded = weights.view(rows, -1, _BLOCK)
    sums = padded.sum(-1).double()
    block = _invert(sums, uniforms)
    before = (sums.cumsum(-1) - sums).gather(1, block)
    within = padded.gather(1, block[:, :, None].expand(-1, 1, _BLOCK))[:, 0].double()
    rest = uniforms.to(logits.device)[:, None] * sums.sum(-1, keepdim=True) - before
    share = (rest / within.sum(-1, keepdim=True)).clamp_(0.0, 1.0)
    return (block * _BLOCK + _invert(within, share[:, 0]))[:, 0]
