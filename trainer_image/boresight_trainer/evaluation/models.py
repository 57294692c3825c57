"""Loaded models for suites: generation and scoring in batches that are kept, one model in memory at a time."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from boresight_api.base import semantic_form, sha256_hex
from boresight_api.stages import EvaluateConfig, ModelInput, Sampling
from transformers import PreTrainedModel

from ..data.packing import pack_step
from ..data.seeds import derive_seed
from ..generation.batches import generation_batches
from ..generation.generator import GenerationRequest
from ..generation.hf import TransformersGenerator, context_length
from ..generation.prefixes import PrefixTree
from ..models.batch import Sample, Segment, build_pack
from ..models.chat import ChatTokenizer
from ..models.loading import load_causal_lm, load_config
from ..models.scorer import Scorer, self_check
from ..stage import StageContext
from .journal import Journal, Records, batch_name, journal_of
from .suite import Answer, Ask, ScoringItem, TooLong

PACK_TOKENS = 4096
"""Tokens that are scored together, unless one item alone has more."""


class ModelShelf:
    """Loads what suites ask for; the last model stays until another is asked for."""

    def __init__(self, context: StageContext, config: EvaluateConfig) -> None:
        self._context = context
        self._config = config
        self._journal = journal_of(context)
        self._opened: LoadedModel | None = None

    def open(self, model: ModelInput) -> LoadedModel:
        """Load ``model``, or return it if it is the one in memory."""
        if self._opened is None or self._opened.identity != identity_of(model):
            self._opened = None
            gc.collect()  # reference cycles in transformers would keep the old weights beside the new ones
            self._opened = LoadedModel(model, self.chat(model), self._context, self._config, self._journal)
        return self._opened

    def chat(self, model: ModelInput) -> ChatTokenizer:
        """Tokenizer and template alone."""
        return ChatTokenizer.from_folder(
            self._context.inputs.path(model), chat_template=model.chat_template, system_prompt=model.system_prompt
        )


class LoadedModel:
    """A model, in memory from the first batch that is not in the journal: a merge never loads one."""

    def __init__(
        self, model: ModelInput, chat: ChatTokenizer, context: StageContext, config: EvaluateConfig, journal: Journal
    ) -> None:
        self.identity = identity_of(model)
        self.chat = chat
        self._input = model
        self._context = context
        self._config = config
        self._journal = journal
        found = load_config(
            context.inputs.path(model), trust_remote_code=model.trust_remote_code, resolve=context.inputs.path
        )
        self.max_length = min(config.max_length, context_length(found))

    @cached_property
    def _model(self) -> PreTrainedModel:
        document = self._context.progress.document
        self._context.progress.phase(f"load {self.identity[:24]}", 0)
        loaded = load_causal_lm(
            self._context.inputs.path(self._input),
            precision=self._config.precision,
            trust_remote_code=self._input.trust_remote_code,
            resolve=self._context.inputs.path,
        )
        self._context.progress.phase(document["phase"], document["totalSteps"], document["step"])
        return loaded

    @cached_property
    def _scorer(self) -> Scorer:
        scorer = Scorer(self._model)
        self_check(scorer)
        return scorer

    def generate(self, asks: Sequence[Ask], sampling: Sampling, *, purpose: str) -> list[Answer | TooLong]:
        """One answer each; a generation batch is fixed by the lengths of the prompts alone and is kept when finished.

        A prompt that leaves no room for ``maxTokens`` is not asked.
        """
        wanted = [self._request(ask, sampling, purpose) for ask in asks]
        requests = [request for request in wanted if isinstance(request, GenerationRequest)]
        lengths = [len(request.prompt_ids) for request in requests]
        answers: dict[int, Answer] = {}
        batches = generation_batches(lengths, self._config.batch_size)
        asked = [[requests[i] for i in batch] for batch in batches]
        names = [self._answers_name(batch, sampling) for batch in asked]
        self._context.progress.phase(f"generate {purpose}", len(requests))
        for place, records in self._journal.finish(names, lambda place: self._generate(asked[place], sampling)):
            answers.update(zip(batches[place], (Answer(*record) for record in records), strict=True))
            self._context.progress.advance(len(answers))
        given = (answers[i] for i in range(len(requests)))
        return [request if isinstance(request, TooLong) else next(given) for request in wanted]

    def _request(self, ask: Ask, sampling: Sampling, purpose: str) -> GenerationRequest | TooLong:
        prompt_ids = tuple(self.chat.prompt_ids(ask.messages))
        limit = self.max_length - sampling.max_tokens
        if len(prompt_ids) > limit:
            return TooLong(len(prompt_ids), limit)
        return GenerationRequest(ask.id, prompt_ids, derive_seed(self._config.seed, purpose, ask.id, 0))

    def _answers_name(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> str:
        return batch_name(
            "answers",
            model=self.identity,
            precision=self._config.precision.value,
            sampling=semantic_form(sampling),
            requests=[[request.id, list(request.prompt_ids), request.seed] for request in requests],
        )

    def _generate(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> Records:
        self._context.stop.check()
        generator = TransformersGenerator(
            self._model, self.chat, batch_size=self._config.batch_size, max_length=self.max_length
        )
        return [[g.text, len(g.token_ids), g.finished] for g in generator.generate(requests, sampling)]

    def score(self, items: Sequence[ScoringItem], *, purpose: str) -> list[list[float]]:
        """Sums of log-probabilities, per item and continuation; a pack is kept when it is finished.

        What is scored together follows from the items alone, not from the device or its memory: so the packs of a
        process with a device are those that a merge without one looks for.
        """
        lengths = [sample_of([item]).num_tokens for item in items]
        budget = max(PACK_TOKENS, *lengths, 1)
        packs = pack_step(lengths, token_budget=budget, ids=[item.id for item in items])[0]
        packed = [[items[i] for i in pack] for pack in packs]
        names = [self._scores_name(pack) for pack in packed]
        sums: dict[int, list[float]] = {}
        self._context.progress.phase(f"score {purpose}", len(items))
        for place, records in self._journal.finish(names, lambda place: self._score(packed[place])):
            sums.update(zip(packs[place], (list(record) for record in records), strict=True))
            self._context.progress.advance(len(sums))
        return [sums[i] for i in range(len(items))]

    def _scores_name(self, items: Sequence[ScoringItem]) -> str:
        return batch_name(
            "scores",
            model=self.identity,
            precision=self._config.precision.value,
            contexts=[[[context.tokens, context.continuations] for context in item.contexts] for item in items],
        )

    def _score(self, items: Sequence[ScoringItem]) -> Records:
        self._context.stop.check()
        with torch.no_grad():
            scores = self._scorer(build_pack([sample_of(items)], self._model.device))
        sums = iter(scores.sums().double().cpu().tolist())
        return [[next(sums) for context in item.contexts for _ in context.continuations] for item in items]


def identity_of(model: ModelInput) -> str:
    """Key or digest (a URI only for what has neither), and the digest of a replaced template or system prompt."""
    weights = model.key or model.digest or model.uri
    if model.chat_template is None and model.system_prompt is None:
        return weights
    return f"{weights}+{sha256_hex(repr((model.chat_template, model.system_prompt)).encode())[:16]}"


def sample_of(items: Sequence[ScoringItem]) -> Sample:
    """All contexts as one tree of shared prefixes, then every continuation, in order, where its context ends."""
    contexts = [context for item in items for context in item.contexts]
    tree = PrefixTree.of([context.tokens for context in contexts])
    segments = [
        Segment(np.asarray(tokens, dtype=np.int32), parent, len(tokens))
        for tokens, parent in zip(tree.segments, tree.parents, strict=True)
    ]
    segments += [
        Segment(np.asarray(run, dtype=np.int32), leaf, 0)
        for context, leaf in zip(contexts, tree.leaf, strict=True)
        for run in context.continuations
    ]
    return Sample(", ".join(item.id for item in items), tuple(segments))
