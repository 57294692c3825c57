"""A model that is asked many things: sampled in generation batches that are kept, in memory only while it speaks."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from boresight_api.base import semantic_form
from boresight_api.stages import ModelInput, Sampling, SynthesisConfig

from ..data.records import Message
from ..data.seeds import derive_seed
from ..evaluation.journal import Journal, batch_name
from ..evaluation.models import identity_of
from ..generation.batches import generation_batches
from ..generation.generator import Generation, GenerationRequest
from ..generation.hf import TransformersGenerator
from ..models.loading import load_causal_lm
from ..stage import StageContext
from .training import load_chat, shorter_than_context


@dataclass(frozen=True, slots=True)
class Question:
    """What to sample an output for. Its seed follows from the run's seed, the purpose, ``item`` and ``index``."""

    id: str
    messages: tuple[Message, ...]
    item: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class Spoken:
    """An output with what is needed to sample it again."""

    prompt_ids: tuple[int, ...]
    seed: int
    token_ids: tuple[int, ...]
    finished: bool
    text: str

    @property
    def content_tokens(self) -> int:
        """Tokens without the terminator."""
        return len(self.token_ids) - self.finished


class BatchLog:
    """One line of ``metrics.jsonl`` a generation batch, whether it was sampled now or by an earlier attempt."""

    def __init__(self, context: StageContext) -> None:
        self._progress = context.progress
        self._batches = 0

    @property
    def batches(self) -> int:
        """Batches finished in this stage so far."""
        return self._batches

    def batch(self, phase: str, records: Sequence[Any]) -> None:
        """Count and log a finished batch. How long it took is no part of the artifact."""
        self._batches += 1
        tokens = sum(len(record[0]) for record in records)
        self._progress.log({"step": self._batches, "phase": phase, "items": len(records), "tokens": tokens})


class Speaker:
    """One model of a synthesis. ``journal`` keeps finished batches, so a stopped stage repeats at most one of them."""

    def __init__(
        self, context: StageContext, config: SynthesisConfig, model: ModelInput, journal: Journal, log: BatchLog
    ) -> None:
        self.identity = identity_of(model)
        self.chat = load_chat(context, model)
        self._context = context
        self._config = config
        self._model = model
        self._journal = journal
        self._log = log
        self._generator: TransformersGenerator | None = None
        self._max_length = shorter_than_context(context, model, config.max_length)

    def longest_prompt(self, sampling: Sampling) -> int:
        """Tokens of the longest prompt that leaves room for ``maxTokens`` within ``maxLength`` and the context."""
        return self._max_length - sampling.max_tokens

    def answer(
        self,
        purpose: str,
        questions: Sequence[Question],
        sampling: Sampling,
        sampled: Callable[[int, Spoken], object] = lambda _number, _spoken: None,
    ) -> list[Spoken | None]:
        """One output each, in order; None where the prompt is too long.

        ``sampled`` is told each output (and the number of its question) that this process has sampled, as soon as its
        batch is kept: not those of earlier attempts and of other processes. The model is loaded only if a batch is left
        to sample, and is out of memory again afterwards. Raises :class:`StageFailure` (Preempted) between batches if a
        stop was requested.
        """
        requests: dict[int, GenerationRequest] = {}
        for i, question in enumerate(questions):
            prompt_ids = tuple(self.chat.prompt_ids(question.messages))
            if len(prompt_ids) <= self.longest_prompt(sampling):
                seed = derive_seed(self._config.seed, purpose, question.item, question.index)
                requests[i] = GenerationRequest(question.id, prompt_ids, seed)
        spoken: list[Spoken | None] = [None] * len(questions)
        asked = list(requests)

        def hear(place: int, output: Any, is_new: bool) -> None:
            number, (token_ids, finished) = asked[place], output
            request, text = requests[number], self.chat.decode(token_ids)
            said = Spoken(request.prompt_ids, request.seed, tuple(token_ids), finished, text)
            spoken[number] = said
            if is_new:
                sampled(number, said)

        self._sample(purpose, list(requests.values()), sampling, hear)
        return spoken

    def _sample(
        self,
        purpose: str,
        requests: Sequence[GenerationRequest],
        sampling: Sampling,
        hear: Callable[[int, Any, bool], None],
    ) -> None:
        """Pass ``[token ids, finished]`` of each request, from the journal or sampled now, to ``hear``: with the
        request's place, and whether it was sampled now."""
        batches = generation_batches([len(request.prompt_ids) for request in requests], self._config.batch_size)
        asked = [[requests[i] for i in batch] for batch in batches]
        names = [self._name(purpose, batch, sampling) for batch in asked]
        kept = {place for place, name in enumerate(names) if self._journal.has(name)}
        done = sum(len(batches[place]) for place in kept)
        progress = self._context.progress
        progress.phase(purpose, len(requests), done)
        made: set[int] = set()

        def make(place: int) -> list[Any]:
            made.add(place)
            return self._sample_batch(asked[place], sampling)

        for place, lines in self._journal.finish(names, make):
            header, *records = lines
            for i, record in zip(batches[place], records, strict=True):
                hear(i, record, place in made)
            self._log.batch(purpose, records)
            if place not in kept:
                done += len(records)
                tokens = sum(len(record[0]) for record in records)
                progress.advance(done, tokensPerSecond=round(tokens / max(header["seconds"], 1e-3), 1))
        self._generator = None
        gc.collect()  # reference cycles in transformers would keep these weights beside the next model's

    def _sample_batch(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Any]:
        """A line with the seconds it took, then ``[token ids, finished]`` of each request."""
        self._context.stop.check(self._log.batches)
        generator = self._generator or self._load()
        started = time.monotonic()
        generations: list[Generation] = generator.generate(requests, sampling)
        seconds = round(time.monotonic() - started, 3)
        return [{"seconds": seconds}, *([list(g.token_ids), g.finished] for g in generations)]

    def _load(self) -> TransformersGenerator:
        model = load_causal_lm(
            self._context.inputs.path(self._model),
            precision=self._config.precision,
            trust_remote_code=self._model.trust_remote_code,
            resolve=self._context.inputs.path,
        )
        size = self._config.batch_size
        self._generator = TransformersGenerator(model, self.chat, batch_size=size, max_length=self._max_length)
        return self._generator

    def _name(self, purpose: str, requests: Sequence[GenerationRequest], sampling: Sampling) -> str:
        return batch_name(
            purpose,
            model=self.identity,
            precision=self._config.precision.value,
            sampling=semantic_form(sampling),
            requests=[[request.id, list(request.prompt_ids), request.seed] for request in requests],
        )
