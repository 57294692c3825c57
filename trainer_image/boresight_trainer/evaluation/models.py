"""Loaded models for suites: generation and scoring in batches that are kept, one model in memory at a time."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import numpy as np
import torch
from boresight_api.base import semantic_form, sha256_hex
from boresight_api.stages import EvaluateConfig, ModelInput, Sampling
from transformers import PreTrainedModel

from ..data.packing import pack_step
from ..data.seeds import derive_seed
from ..engine.memory import CPU_BUDGET, GPU_BUDGET
from ..generation.batches import generation_batches
from ..generation.generator import GenerationRequest
from ..generation.hf import TransformersGenerator, context_length
from ..generation.prefixes import PrefixTree
from ..models.batch import Sample, Segment, build_pack
from ..models.chat import ChatTokenizer
from ..models.loading import load_causal_lm
from ..models.scorer import Scorer, self_check
from ..stage import StageContext
from .journal import Journal, batch_name
from .suite import Answer, Ask, ScoringItem, TooLong


class ModelShelf:
    """Loads what suites ask for; the last model stays until another is asked for."""

    def __init__(self, context: StageContext, config: EvaluateConfig) -> None:
        self._context = context
        self._config = config
        self._journal = Journal(context.checkpoint_folder, context.previous_checkpoints)
        self._opened: LoadedModel | None = None

    def open(self, model: ModelInput) -> LoadedModel:
        """Load ``model``, or return it if it is the one in memory."""
        identity = identity_of(model)
        if self._opened is None or self._opened.identity != identity:
            self._opened = None
            gc.collect()  # reference cycles in transformers would keep the old weights beside the new ones
            self._opened = self._load(model, identity)
        return self._opened

    def chat(self, model: ModelInput) -> ChatTokenizer:
        """Tokenizer and template alone."""
        return ChatTokenizer.from_folder(
            self._context.inputs.path(model), chat_template=model.chat_template, system_prompt=model.system_prompt
        )

    def _load(self, model: ModelInput, identity: str) -> LoadedModel:
        self._context.progress.phase(f"load {identity[:24]}", 0)
        loaded = load_causal_lm(
            self._context.inputs.path(model),
            precision=self._config.precision,
            trust_remote_code=model.trust_remote_code,
            resolve=self._context.inputs.path,
        )
        return LoadedModel(loaded, self.chat(model), identity, self._context, self._config, self._journal)


class LoadedModel:
    """A model in memory. Finished batches of both kinds of work are in the journal."""

    def __init__(
        self,
        model: PreTrainedModel,
        chat: ChatTokenizer,
        identity: str,
        context: StageContext,
        config: EvaluateConfig,
        journal: Journal,
    ) -> None:
        self.identity = identity
        self.chat = chat
        self.max_length = min(config.max_length, context_length(model))
        self._model = model
        self._scorer: Scorer | None = None
        self._context = context
        self._config = config
        self._journal = journal

    def generate(self, asks: Sequence[Ask], sampling: Sampling, *, purpose: str) -> list[Answer | TooLong]:
        """One answer each; a generation batch is fixed by the lengths of the prompts alone and is kept when finished.

        A prompt that leaves no room for ``maxTokens`` is not asked.
        """
        wanted = [self._request(ask, sampling, purpose) for ask in asks]
        requests = [request for request in wanted if isinstance(request, GenerationRequest)]
        lengths = [len(request.prompt_ids) for request in requests]
        answers: dict[int, Answer] = {}
        self._context.progress.phase(f"generate {purpose}", len(requests))
        for batch in generation_batches(lengths, self._config.batch_size):
            answers.update(zip(batch, self._generate_batch([requests[i] for i in batch], sampling), strict=True))
            self._context.progress.advance(len(answers))
        given = (answers[i] for i in range(len(requests)))
        return [request if isinstance(request, TooLong) else next(given) for request in wanted]

    def _request(self, ask: Ask, sampling: Sampling, purpose: str) -> GenerationRequest | TooLong:
        prompt_ids = tuple(self.chat.prompt_ids(ask.messages))
        limit = self.max_length - sampling.max_tokens
        if len(prompt_ids) > limit:
            return TooLong(len(prompt_ids), limit)
        return GenerationRequest(ask.id, prompt_ids, derive_seed(self._config.seed, purpose, ask.id, 0))

    def _generate_batch(self, requests: Sequence[GenerationRequest], sampling: Sampling) -> list[Answer]:
        name = batch_name(
            "answers",
            model=self.identity,
            precision=self._config.precision.value,
            sampling=semantic_form(sampling),
            requests=[[request.id, list(request.prompt_ids), request.seed] for request in requests],
        )
        records = self._journal.read(name)
        if records is None:
            self._context.stop.check()
            generator = TransformersGenerator(
                self._model, self.chat, batch_size=self._config.batch_size, max_length=self.max_length
            )
            generations = generator.generate(requests, sampling)
            records = [[g.text, len(g.token_ids), g.finished] for g in generations]
            self._journal.write(name, records)
        return [Answer(*record) for record in records]

    def score(self, items: Sequence[ScoringItem], *, purpose: str) -> list[list[float]]:
        """Sums of log-probabilities, per item and continuation; a pack is kept when it is finished."""
        lengths = [sample_of([item]).num_tokens for item in items]
        sums: dict[int, list[float]] = {}
        self._context.progress.phase(f"score {purpose}", len(items))
        packs = pack_step(lengths, token_budget=self._token_budget(lengths), ids=[item.id for item in items])[0]
        for pack in packs:
            sums.update(zip(pack, self._score_pack([items[i] for i in pack]), strict=True))
            self._context.progress.advance(len(sums))
        return [sums[i] for i in range(len(items))]

    def _token_budget(self, lengths: Sequence[int]) -> int:
        budget = self._context.stage.execution.token_budget
        if budget != "Auto":
            return budget
        usual = GPU_BUDGET if self._model.device.type == "cuda" else CPU_BUDGET
        return max(usual, *lengths, 1)

    def _score_pack(self, items: Sequence[ScoringItem]) -> list[list[float]]:
        name = batch_name(
            "scores",
            model=self.identity,
            precision=self._config.precision.value,
            contexts=[[[context.tokens, context.continuations] for context in item.contexts] for item in items],
        )
        records = self._journal.read(name)
        if records is None:
            self._context.stop.check()
            with torch.no_grad():
                scores = self._ready_scorer()(build_pack([sample_of(items)], self._model.device))
            sums = iter(scores.sums().double().cpu().tolist())
            records = [[next(sums) for context in item.contexts for _ in context.continuations] for item in items]
            self._journal.write(name, records)
        return [list(record) for record in records]

    def _ready_scorer(self) -> Scorer:
        if self._scorer is None:
            self._scorer = Scorer(self._model)
            self_check(self._scorer)
        return self._scorer


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
