"""The scorer: a causal language model that turns a pack into the log-probabilities of its targets.

It is the one module that a strategy wraps: backbone and tiled head run inside its forward, and no code outside touches
a parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from boresight_api.outcome import FailureClass, StageFailure
from torch import Tensor, nn
from transformers import PreTrainedModel

from .attention import PACKED, decoder_of, plain_attention
from .batch import Pack, Sample, build_pack
from .features import MediaFeatures
from .head import HeadMemory, target_logprobs

_PROVEN = frozenset(
    {
        "ChameleonForConditionalGeneration",
        "LlamaForCausalLM",
        "LlavaNextForConditionalGeneration",
        "LlavaForConditionalGeneration",
        "Qwen2AudioForConditionalGeneration",
        "Qwen2ForCausalLM",
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5OmniThinkerForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen3ForCausalLM",
    }
)
"""Model classes of the exactness tests; any other is compared with plain transformers at start."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Terms of each response, ragged: the log-probabilities of its targets, ``R`` responses in sample order."""

    logprobs: Tensor
    """``[N]`` FP32, response after response."""
    lengths: Tensor
    """``[R]`` int64: how many terms each response has."""

    def sums(self) -> Tensor:
        """``[R]`` summed log-probability of each response."""
        return torch.segment_reduce(self.logprobs, "sum", lengths=self.lengths, unsafe=True)


class Scorer(nn.Module):
    """``forward(pack) -> Scores`` for a transformers model that generates text, with or without PEFT adapters.

    ``media`` runs the towers of a multimodal model; a model of text alone has none.

    Raises ``StageFailure(INVALID_CONFIG)`` at construction for a model whose logits or positions the packed path does
    not reproduce: logit soft-cap or scale, RoPE scaling that depends on the longest position, an output layer that is
    not a plain linear one.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        media: MediaFeatures | None = None,
        head_memory: HeadMemory | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._media = media
        self._head_memory = head_memory
        _check_model(causal_lm(model))

    def forward(self, pack: Pack) -> Scores:
        """Score every target of the pack. Raises ``ValueError`` if a token id lies outside the vocabulary."""
        model = causal_lm(self.model)
        head = model.get_output_embeddings()
        if pack.max_token_id >= model.get_input_embeddings().weight.shape[0]:
            raise ValueError(
                f"token id {pack.max_token_id} in {', '.join(pack.sample_ids)}, but the model has embeddings for "
                f"{model.get_input_embeddings().weight.shape[0]} tokens; the tokenizer belongs to another model"
            )
        hidden = decoder_of(model)(
            **self._inputs(model, pack),
            position_ids=pack.position_ids[..., None, :],
            use_cache=False,
            packed=pack.attention,
        ).last_hidden_state[0]
        bias = self._media.family.head_bias(model) if self._media is not None and head.bias is None else head.bias
        logprobs = target_logprobs(
            hidden.index_select(0, pack.target_positions),
            head.weight,
            bias,
            pack.target_ids,
            self._head_memory,
        )
        return Scores(logprobs, pack.lengths)

    def _inputs(self, model: PreTrainedModel, pack: Pack) -> dict[str, Tensor]:
        """The pack's tokens, or their embeddings where towers may take part."""
        if self._media is not None:
            return {"inputs_embeds": self._media.embed(model, pack.input_ids, pack.media)[None]}
        if pack.media is not None:
            raise ValueError(
                f"{pack.media.distinct[0].modality} in {', '.join(pack.sample_ids)}, but {type(model).__name__} is "
                "scored as a model of text alone"
            )
        return {"input_ids": pack.input_ids[None]}


def causal_lm(model: PreTrainedModel) -> PreTrainedModel:
    """The causal language model itself, below PEFT's wrapper (adapters sit inside its layers)."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _check_model(model: PreTrainedModel) -> None:
    name = type(model).__name__
    attention = decoder_of(model).config._attn_implementation
    if attention != PACKED:
        raise ValueError(f'{name} was loaded with attention "{attention}", expected "{PACKED}"')
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear:
        raise _unsupported(name, f"its output layer is {type(head).__name__}, expected a linear layer without adapters")
    for config in _configs(model.config.to_dict()):
        for field, neutral in _LOGIT_CHANGES.items():
            if config.get(field) not in (None, neutral):
                raise _unsupported(name, f"{field} is {config[field]}, which the tiled head does not implement")
        kind = config.get("rope_type")
        if kind in ("dynamic", "longrope"):
            raise _unsupported(name, f'RoPE type "{kind}" rescales all positions by the longest one in a pack')


_LOGIT_CHANGES: Mapping[str, float] = {
    "final_logit_softcapping": 0.0,
    "logit_scale": 1.0,
    "logits_scaling": 1.0,
    "lm_head_multiplier": 1.0,
}
"""Configuration fields by which a family changes its logits after the output layer, with their neutral values."""


def _configs(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A configuration and everything nested in it (text configuration, RoPE parameters of each layer type)."""
    yield config
    for value in config.values():
        if isinstance(value, Mapping):
            yield from _configs(value)


def _unsupported(name: str, reason: str) -> StageFailure:
    return StageFailure(
        FailureClass.INVALID_CONFIG, f"model: {name} cannot be trained here: {reason}; choose another model"
    )


def self_check(scorer: Scorer) -> None:
    """Compare the packed path with plain transformers on four pairs, each with a shared prompt.

    Does nothing for a model class that the test suite proves exact.

    Raises ``StageFailure(INVALID_CONFIG)`` if a log-probability differs by more than rounding.
    """
    model = causal_lm(scorer.model)
    if type(model).__name__ in _PROVEN:
        return
    vocabulary = model.get_input_embeddings().weight.shape[0]
    draw = np.random.default_rng(0)
    lengths = ((24, 17, 9), (0, 31, 2), (1, 40, 12), (33, 2, 20))
    samples = [
        Sample.of_pair(f"self-check {row}", *(draw.integers(0, vocabulary, length).tolist() for length in row))
        for row in lengths
    ]
    with torch.no_grad():
        packed = scorer(build_pack(samples, model.device)).logprobs
        plain = plain_logprobs(model, samples)
    difference = float((packed - plain).abs().max())
    limit = 1e-4 if model.dtype == torch.float32 else 0.25
    if not difference <= limit:
        raise _unsupported(
            type(model).__name__,
            f"packed scoring differs from plain transformers by {difference:.2g} a token (limit {limit:g})",
        )


def plain_logprobs(model: PreTrainedModel, samples: Sequence[Sample]) -> Tensor:
    """``[N]`` FP32: the same log-probabilities by plain transformers, one whole sequence a response, full logits."""
    results = []
    with plain_attention(model):
        for sample in samples:
            for number, segment in enumerate(sample.segments):
                if segment.is_response:
                    results.append(_plain_response(model, sample, number))
    return torch.cat(results)


def _plain_response(model: PreTrainedModel, sample: Sample, number: int) -> Tensor:
    segment = sample.segments[number]
    runs = [segment.tokens]
    parent = segment.parent
    while parent is not None:
        runs.insert(0, sample.segments[parent].tokens)
        parent = sample.segments[parent].parent
    ids = torch.from_numpy(np.concatenate(runs).astype(np.int64)).to(model.device)[None]
    count = len(sample.targets(number)[1])
    logprobs: Tensor = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    return logprobs[-count - 1 : -1].gather(1, ids[0, -count:, None])[:, 0]
