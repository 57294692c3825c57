"""The engine that needs nothing but transformers: static batches of like length, decoded by a lean loop.

Prompts are computed packed, every shared prefix once; then all rows decode in step, and finished rows leave at once. A
row's tokens depend on its prompt, its seed, and (by rounding alone) on the batch it is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import Sampling
from torch import Tensor

from ..models.attention import PACKED, AttentionPlan, plain_attention
from ..models.chat import ChatTokenizer
from ..models.layout import lay_out
from ..models.scorer import causal_lm
from ..telemetry.stop import StopFlag
from .batches import generation_batches
from .cache import DECODE, DecodingCache, PromptWriter
from .generator import Generation, GenerationRequest
from .prefixes import PrefixTree
from .sampling import Draws, draw, penalize

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

PREFILL_TOKENS = 8192
"""Prompts of a batch are computed in chunks of about so many tokens, to bound the memory of activations."""


@dataclass
class _Row:
    request: GenerationRequest
    index: int
    """Place in the batch as it was asked for."""
    limit: int
    """Longest output."""
    tokens: list[int] = field(default_factory=list)


class TransformersGenerator:
    """A :class:`~.generator.Generator` over a loaded model.

    ``max_length`` bounds prompt plus output in tokens, beside the model's own context.
    """

    def __init__(self, model: PreTrainedModel, chat: ChatTokenizer, *, batch_size: int, max_length: int) -> None:
        self._model = causal_lm(model)
        self._chat = chat
        self._batch_size = batch_size
        self._max_length = min(max_length, context_length(self._model.config))
        self._vocabulary = min(chat.vocabulary_size, self._model.get_input_embeddings().weight.shape[0])

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: Sampling,
        *,
        stop: StopFlag | None = None,
    ) -> list[Generation]:
        """See :class:`~.generator.Generator`.

        Raises :class:`StageFailure` (InvalidData) naming a request whose prompt leaves no room for an output.
        """
        for request in requests:
            self._check(request)
        results: list[Generation | None] = [None] * len(requests)
        batches = generation_batches([len(r.prompt_ids) for r in requests], self._batch_size)
        for number, indices in enumerate(batches):
            if stop is not None:
                stop.check(number)
            done = self._generate_batch([requests[i] for i in indices], sampling)
            for i, generation in zip(indices, done, strict=True):
                results[i] = generation
        return [result for result in results if result is not None]

    def _check(self, request: GenerationRequest) -> None:
        if not 0 < len(request.prompt_ids) < self._max_length:
            raise StageFailure(
                FailureClass.INVALID_DATA,
                f"prompt {request.id}: found {len(request.prompt_ids)} tokens, expected 1 to {self._max_length - 1} "
                "(maxLength, and the model's context, hold prompt and output); shorten it or raise maxLength",
            )
        if max(request.prompt_ids) >= self._model.get_input_embeddings().weight.shape[0]:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"prompt {request.id}: token id {max(request.prompt_ids)} has no embedding; the tokenizer belongs to "
                "another model",
            )

    @torch.inference_mode()
    def _generate_batch(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Generation]:
        rows = [
            _Row(request, i, min(sampling.max_tokens, self._max_length - len(request.prompt_ids)))
            for i, request in enumerate(requests)
        ]
        cache = DecodingCache([len(request.prompt_ids) for request in requests])
        with plain_attention(self._model, PACKED):
            logits = torch.cat([self._prefill(cache, chunk) for chunk in _prefill_chunks(rows)])
        with plain_attention(self._model, DECODE):
            self._decode(cache, list(rows), logits, sampling)
        return [self._result(row) for row in rows]

    def _prefill(self, cache: DecodingCache, rows: Sequence[_Row]) -> Tensor:
        """Compute the prompts of ``rows`` into ``cache``; ``[rows, vocabulary]`` logits after each of them."""
        tree = PrefixTree.of([row.request.prompt_ids for row in rows])
        lengths = [len(segment) for segment in tree.segments]
        layout = lay_out(lengths, tree.parents)
        ends = np.cumsum(lengths)
        index = np.zeros((len(rows), cache.columns), np.int64)
        for place, leaf in enumerate(tree.leaf):
            flat = np.concatenate([np.arange(ends[s] - lengths[s], ends[s]) for s in tree.chain(leaf)])
            index[place, cache.columns - len(flat) :] = flat
        device = self._model.device
        output = self._model(
            input_ids=self._place(np.concatenate(tree.segments)[None]),
            position_ids=self._place(layout.positions[None]),
            past_key_values=PromptWriter(cache, rows[0].index, self._place(index)),
            use_cache=True,
            logits_to_keep=self._place(index[:, -1]),
            packed=AttentionPlan.build(layout.rows, device),
        )
        return self._logits(output.logits[0])

    def _decode(self, cache: DecodingCache, rows: list[_Row], logits: Tensor, sampling: Sampling) -> None:
        """Draw tokens for all ``rows`` until each has drawn a terminator or reached its limit."""
        cache.begin_decoding()
        draws = Draws([row.request.seed for row in rows], max(row.limit for row in rows))
        penalty = float(sampling.repetition_penalty)
        seen = self._seen(rows) if penalty != 1 else None
        while True:
            if seen is not None:
                logits = penalize(logits, seen[: len(rows)], penalty)
            uniforms = draws.at([row.index for row in rows], len(rows[0].tokens))
            tokens = draw(logits, uniforms, sampling)
            if seen is not None:
                seen[: len(rows)].scatter_(1, tokens[:, None], True)
            for row, token in zip(rows, tokens.tolist(), strict=True):
                row.tokens.append(token)
            for place in reversed(range(len(rows))):
                if self._is_done(rows[place]):
                    cache.drop(place)
                    if seen is not None:
                        seen[place] = seen[len(rows) - 1]
                    rows[place] = rows[-1]
                    rows.pop()
            if not rows:
                return
            logits = self._step(cache, rows)

    def _step(self, cache: DecodingCache, rows: Sequence[_Row]) -> Tensor:
        """``[rows, vocabulary]`` logits after each row's newest token."""
        cache.begin_step()
        newest = np.array([[row.tokens[-1]] for row in rows])
        positions = np.array([[len(row.request.prompt_ids) + len(row.tokens) - 1] for row in rows])
        output = self._model(
            input_ids=self._place(newest),
            position_ids=self._place(positions),
            past_key_values=cache,
            use_cache=True,
            decoding=cache,
        )
        return self._logits(output.logits[:, -1])

    def _logits(self, logits: Tensor) -> Tensor:
        """FP32, without the columns behind the vocabulary that only pad the embedding."""
        return logits[:, : self._vocabulary].float()

    def _is_done(self, row: _Row) -> bool:
        return row.tokens[-1] in self._chat.terminators or len(row.tokens) == row.limit

    def _seen(self, rows: Sequence[_Row]) -> Tensor:
        """``[rows, vocabulary]``: which tokens occur in each row so far, the prompt included."""
        seen = np.zeros((len(rows), self._vocabulary), bool)
        for place, row in enumerate(rows):
            seen[place, [token for token in row.request.prompt_ids if token < self._vocabulary]] = True
        return torch.from_numpy(seen).to(self._model.device)

    def _place(self, array: npt.NDArray[np.integer[Any]]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(self._model.device, non_blocking=True)

    def _result(self, row: _Row) -> Generation:
        finished = row.tokens[-1] in self._chat.terminators
        return Generation(row.request.id, tuple(row.tokens), finished, self._chat.decode(row.tokens))


def context_length(config: PreTrainedConfig) -> int:
    """Longest sequence the model has positions for."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", None) or 1 << 20)


def _prefill_chunks(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    """Consecutive rows of at most :data:`PREFILL_TOKENS` prompt tokens, at least one row each."""
    start, tokens = 0, 0
    for i, row in enumerate(rows):
        tokens += len(row.request.prompt_ids)
        if tokens > PREFILL_TOKENS and i > start:
            yield rows[start:i]
            start, tokens = i, len(row.request.prompt_ids)
    yield rows[start:]
