"""The engine that needs nothing but transformers: static batches of like length, decoded by a lean loop.

Prompts are computed packed, every shared prefix once; then all rows decode in step, and finished rows leave at once. A
row's tokens depend on its prompt, its seed, and (by rounding alone) on the batch it is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import Sampling
from torch import Tensor

from ..models.attention import PACKED, AttentionPlan, decoder_of, plain_attention
from ..models.batch import PackMedia, pack_positions, place_media
from ..models.chat import ChatTokenizer
from ..models.features import MediaFeatures
from ..models.layout import lay_out
from ..models.medium import segment_positions
from ..models.scorer import causal_lm
from ..telemetry.stop import StopFlag
from .batches import generation_batches
from .cache import DECODE, DecodingCache, PromptWriter
from .generator import Generation, GenerationRequest
from .prompts import prompt_segments
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
    start: int
    """Position of its first token: the prompt's length, unless media count otherwise."""
    tokens: list[int] = field(default_factory=list)


class TransformersGenerator:
    """A :class:`~.generator.Generator` over a loaded model.

    ``max_length`` bounds prompt plus output in tokens, beside the model's own context. ``media`` runs the towers of a
    multimodal model: each distinct medium of a batch once.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        chat: ChatTokenizer,
        *,
        batch_size: int,
        max_length: int,
        media: MediaFeatures | None = None,
    ) -> None:
        self._model = causal_lm(model)
        self._chat = chat
        self._media = media
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
        if request.media and self._media is None:
            raise StageFailure(
                FailureClass.INVALID_DATA,
                f"prompt {request.id}: found {request.media[0].medium.modality}, but {type(self._model).__name__} "
                "speaks here as a model of text alone",
            )

    @torch.inference_mode()
    def _generate_batch(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Generation]:
        rows = [
            _Row(
                request,
                i,
                min(sampling.max_tokens, self._max_length - len(request.prompt_ids)),
                segment_positions(len(request.prompt_ids), request.media)[1],
            )
            for i, request in enumerate(requests)
        ]
        cache = DecodingCache([len(request.prompt_ids) for request in requests])
        features = self._features(requests)
        with plain_attention(self._model, PACKED):
            logits = torch.cat([self._prefill(cache, chunk, features) for chunk in _prefill_chunks(rows)])
        with plain_attention(self._model, DECODE):
            self._decode(cache, list(rows), logits, sampling)
        return [self._result(row) for row in rows]

    def _features(self, requests: Sequence[GenerationRequest]) -> dict[str, Tensor]:
        """Features of all distinct media of the batch, by medium."""
        if self._media is None:
            return {}
        distinct = {span.medium.id: span.medium for request in requests for span in request.media}
        return self._media.of(self._model, list(distinct.values()))

    def _prefill(self, cache: DecodingCache, rows: Sequence[_Row], features: Mapping[str, Tensor]) -> Tensor:
        """Compute the prompts of ``rows`` into ``cache``; ``[rows, vocabulary]`` logits after each of them."""
        prompts = prompt_segments([row.request for row in rows])
        lengths = [len(segment) for segment in prompts.tokens]
        layout = lay_out(lengths, prompts.parents)
        ends = np.cumsum(lengths)
        index = np.zeros((len(rows), cache.columns), np.int64)
        for place, chain in enumerate(prompts.chains):
            flat = np.concatenate([np.arange(ends[s] - lengths[s], ends[s]) for s in chain])
            index[place, cache.columns - len(flat) :] = flat
        device = self._model.device
        positions = pack_positions(layout.positions, lengths, prompts.parents, prompts.media)
        return self._logits(
            self._place(np.concatenate(prompts.tokens)[None]),
            place_media(lengths, prompts.media, device),
            features,
            keep=self._place(index[:, -1]),
            position_ids=self._place(positions[..., None, :]),
            past_key_values=PromptWriter(cache, rows[0].index, self._place(index)),
            packed=AttentionPlan.build(layout.rows, device),
        )[0]

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
        positions = np.array([[row.start + len(row.tokens) - 1] for row in rows])
        return self._logits(
            self._place(newest), None, {}, position_ids=self._place(positions), past_key_values=cache, decoding=cache
        )[:, -1]

    def _logits(
        self,
        input_ids: Tensor,
        media: PackMedia | None,
        features: Mapping[str, Tensor],
        *,
        keep: Tensor | None = None,
        **others: Any,
    ) -> Tensor:
        """``[batch, kept, vocabulary]`` FP32 logits, without the columns that only pad the embedding.

        ``keep`` are the positions whose logits are wanted, None for all.
        """
        if self._media is None:
            wanted = {} if keep is None else {"logits_to_keep": keep}
            logits = self._model(input_ids=input_ids, use_cache=True, **wanted, **others).logits
        else:
            # Below the class's own forward, which would look for media among the tokens.
            embeddings = self._media.embed(self._model, input_ids.flatten(), media, features)
            shaped = embeddings.view(*input_ids.shape, -1)
            hidden = decoder_of(self._model)(inputs_embeds=shaped, use_cache=True, **others).last_hidden_state
            logits = self._model.get_output_embeddings()(hidden if keep is None else hidden.index_select(1, keep))
            bias = self._media.family.head_bias(self._model)
            logits = logits if bias is None else logits + bias
        fp32: Tensor = logits[..., : self._vocabulary].float()
        return fp32

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
