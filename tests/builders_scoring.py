"""Tiny random models of the proven families, and samples of every shape, for tests of packs and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from boresight_trainer.models.attention import PACKED
from boresight_trainer.models.batch import Sample, Segment
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCABULARY = 211
WINDOW = 7
"""Shorter than most test sequences, so that sliding windows cut into prompts."""

SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "attn_implementation": PACKED,
}
"""Large weights: the softmaxes are peaked, so that a wrong key shows."""


def _build(kind: type, config: object) -> PreTrainedModel:
    torch.manual_seed(3)
    model = kind(config)
    for parameter in model.parameters():
        if parameter.dim() == 1:  # norm weights start at 1 and biases at 0: equal values would hide mistakes
            torch.nn.init.normal_(parameter, mean=parameter[0].item(), std=0.2)
    return model


FAMILIES: dict[str, Callable[..., PreTrainedModel]] = {
    "llama, grouped heads": lambda **o: _build(LlamaForCausalLM, LlamaConfig(**SHAPE | o)),
    "llama, tied embeddings": lambda **o: _build(
        LlamaForCausalLM, LlamaConfig(**SHAPE | {"tie_word_embeddings": True} | o)
    ),
    "qwen2, biases": lambda **o: _build(Qwen2ForCausalLM, Qwen2Config(**SHAPE | o)),
    "qwen2, sliding upper layer": lambda **o: _build(
        Qwen2ForCausalLM,
        Qwen2Config(**SHAPE | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1} | o),
    ),
    "qwen3, query and key norms": lambda **o: _build(Qwen3ForCausalLM, Qwen3Config(**SHAPE | {"head_dim": 16} | o)),
}

UNPROVEN: dict[str, Callable[..., PreTrainedModel]] = {
    "mistral, sliding window": lambda **o: _build(
        MistralForCausalLM, MistralConfig(**SHAPE | {"sliding_window": WINDOW} | o)
    ),
}


def some_ids(length: int, seed: int) -> list[int]:
    """Random token ids."""
    return np.random.default_rng(seed).integers(0, VOCABULARY, length).tolist()


def a_segment(length: int, seed: int, parent: int | None, scored_from: int = 0) -> Segment:
    """A segment of random tokens."""
    return Segment(np.array(some_ids(length, seed), np.int32), parent, scored_from)


def a_chain_of_three() -> Sample:
    """x, an answer y that is scored from its third token on, two critiques of y, and a second answer to x."""
    return Sample(
        "chain",
        (
            a_segment(11, 1, None, 11),
            a_segment(8, 2, 0, 3),
            a_segment(9, 3, 1),
            a_segment(6, 4, 1),
            a_segment(5, 5, 0),
        ),
    )


def samples_of_every_shape() -> list[Sample]:
    """Pairs, plain responses, trees, single tokens and empty prompts; no two responses are alike."""
    return [
        Sample.of_pair("pair", some_ids(13, 10), some_ids(9, 11), some_ids(17, 12)),
        Sample.of_response("plain", some_ids(21, 13), some_ids(5, 14)),
        a_chain_of_three(),
        Sample.of_pair("one token each", some_ids(4, 15), [7], [8]),
        Sample.of_pair("one token before", [9], some_ids(3, 16), some_ids(12, 17)),
        Sample.of_response("empty prompt", [], some_ids(6, 18)),
        Sample.of_pair("empty prompt of a pair", [], some_ids(4, 19), some_ids(2, 20)),
        Sample.of_pair("not shared", some_ids(6, 21), some_ids(7, 22), some_ids(8, 23), share=False),
    ]


def some_pairs(number: int, seed: int = 40) -> list[Sample]:
    """Pairs of random lengths."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 20, (number, 3))
    return [
        Sample.of_pair(f"pair {i}", *(some_ids(int(n), seed + 3 * i + k) for k, n in enumerate(row, 1)))
        for i, row in enumerate(lengths)
    ]


def dense_attention(samples: Sequence[Sample], window: int | None = None) -> np.ndarray:
    """``[tokens, tokens]`` which key each query may see, written from the definition: ancestors, then itself."""
    owner = [
        (s, number)
        for s, sample in enumerate(samples)
        for number, seg in enumerate(sample.segments)
        for _ in seg.tokens
    ]
    chains = {}
    for s, sample in enumerate(samples):
        for number in range(len(sample.segments)):
            chain, at = [], number
            while at is not None:
                chain.append((s, at))
                at = sample.segments[at].parent
            chains[s, number] = chain
    visible = np.zeros((len(owner), len(owner)), bool)
    for query in range(len(owner)):
        keys = [key for key in range(query + 1) if owner[key] in chains[owner[query]]]
        visible[query, keys if window is None else keys[-window:]] = True
    return visible


def weighted(logprobs: Tensor) -> Tensor:
    """A loss in which every target has a weight of its own, so that no two can be exchanged unseen."""
    return logprobs @ torch.linspace(-1.3, 0.7, len(logprobs))


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """The gradients that a backward has left, by parameter."""
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(
    packed: nn.Module, plain: nn.Module, without_effect: Callable[[str], bool] = lambda _: False
) -> None:
    """Every parameter has a gradient, other than zero, and in both models the same.

    ``without_effect`` names those that cannot change any output, so that their gradients are rounding: the biases of
    keys without rotary positions, which a softmax does not see.
    """
    expected = gradients(plain)
    assert expected.keys() == gradients(packed).keys()
    largest = max(gradient.norm() for gradient in expected.values())
    for name, gradient in gradients(packed).items():
        norm = expected[name].norm()
        if without_effect(name):
            assert max(norm, gradient.norm()) <= 1e-5 * largest, name
            continue
        assert norm > 0, name
        assert (gradient - expected[name]).norm() / norm <= 1e-4, name
