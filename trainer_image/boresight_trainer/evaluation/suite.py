"""What a suite needs and what it returns. Suites are torch-free: models reach them through :mod:`.models`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from boresight_api.base import canonical_json, sha256_hex
from boresight_api.stages import EvaluateConfig, ModelInput, Sampling

from ..data.records import Message, Prompt
from .statistics import Estimate


@dataclass(frozen=True, slots=True)
class Answer:
    """One model's answer to one prompt."""

    text: str
    num_tokens: int
    """As sampled, the terminator included."""
    finished: bool
    """Whether the model ended its turn itself; otherwise maxTokens cut it."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """Stands for the answer to a prompt that leaves no room for one: tokens found, and how many there may be."""

    tokens: int
    limit: int


@dataclass(frozen=True, slots=True)
class Ask:
    """A conversation that a model is to continue; ``id`` names the item in seeds, files and messages."""

    id: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """A conversation's tokens and the continuations that are scored after them."""

    tokens: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class ScoringItem:
    """What is scored together. Tokens that several contexts begin with are computed once, within and between items."""

    id: str
    contexts: tuple[Context, ...]


class Encoder(Protocol):
    """The part of :class:`~boresight_trainer.models.chat.ChatTokenizer` that suites use."""

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation with the generation prompt."""

    def conversation_ids(self, messages: Sequence[Message], response: str) -> tuple[list[int], list[int]]:
        """Token ids of the prompt and of the turn that continues it, terminator last."""

    def encode_text(self, text: str) -> list[int]:
        """Token ids of plain text, special tokens disabled."""


class OpenModel(Protocol):
    """A loaded model. Both methods keep finished batches, so that a stopped attempt is continued, not repeated."""

    @property
    def identity(self) -> str:
        """``artifact://<key>`` or the digest of the source, with template and system prompt if they were replaced."""

    @property
    def chat(self) -> Encoder:
        """Its tokenizer and template."""

    @property
    def max_length(self) -> int:
        """Longest sequence in tokens: ``maxLength``, or the model's own context where that is shorter."""

    def generate(self, asks: Sequence[Ask], sampling: Sampling, *, purpose: str) -> list[Answer | TooLong]:
        """One answer each, in the order of ``asks``; seeds follow from (run seed, purpose, ask id)."""

    def score(self, items: Sequence[ScoringItem], *, purpose: str) -> list[list[float]]:
        """Sum of log-probabilities of every continuation, per item in the order of contexts and continuations."""


class Shelf(Protocol):
    """Models by their input; at most one is in memory."""

    def open(self, model: ModelInput) -> OpenModel:
        """Load ``model``, after dropping the one that was open (no-op if it is that one)."""


@dataclass(frozen=True)
class Bench:
    """What a suite works with."""

    config: EvaluateConfig
    shelf: Shelf
    answers: Mapping[str, Mapping[str, Answer | TooLong]]
    """``answers[model name][prompt_key(prompt)]`` for every prompt a suite declared."""

    @property
    def model_names(self) -> tuple[str, ...]:
        """The candidate, then the baselines."""
        return (self.config.candidate.name, *(baseline.name for baseline in self.config.baselines))

    def answers_of(self, model: str, prompts: Sequence[Prompt]) -> list[Answer | TooLong]:
        """Answers of one model in the order of ``prompts``."""
        return [self.answers[model][prompt_key(prompt)] for prompt in prompts]


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One score. ``baseline`` is set for comparisons; ``slice`` for a part of the data."""

    name: str
    candidate: str
    estimate: Estimate
    baseline: str | None = None
    slice: str | None = None
    higher_is_better: bool | None = None
    headline: bool = False


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One line of ``samples_<task>.jsonl``: one document under one filter (a model, or a pair of models)."""

    doc_id: int
    doc: Mapping[str, Any]
    target: str
    filter: str
    arguments: Mapping[str, Any]
    responses: tuple[str, ...]
    metrics: Mapping[str, float | None]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SuiteReport:
    """Everything a suite found. ``unfit`` says why it must not be a headline; empty: it may."""

    name: str
    suite: str
    rows: tuple[ResultRow, ...]
    samples: tuple[SampleRow, ...]
    comparison: Mapping[str, Any]
    """What must be equal for two results to be comparable: prompts, decoding settings, engine."""
    details: Mapping[str, Any] = field(default_factory=dict)
    unfit: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def comparison_digest(self) -> str:
        """Digest of :attr:`comparison`; ``compare`` refuses results that differ in it."""
        return "sha256:" + sha256_hex(canonical_json(self.comparison))


class Suite(Protocol):
    """One evaluation suite, made from its entry in the configuration with its rows already loaded."""

    @property
    def name(self) -> str:
        """Its name in results."""

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """What every compared model answers for it; the same prompt in two suites is answered once."""

    def run(self, bench: Bench) -> SuiteReport:
        """Measure."""


def prompt_key(prompt: Prompt) -> str:
    """Names a prompt by id and content, as ids are unique only within one suite's data."""
    turns = [[message.role, message.content] for message in prompt.messages]
    return hashlib.sha256(json.dumps([prompt.id, turns]).encode()).hexdigest()


def rows_digest(keys: Sequence[str]) -> str:
    """Digest of an ordered set of rows."""
    return "sha256:" + sha256_hex("\n".join(keys).encode())


def document_of(prompt: Prompt) -> dict[str, Any]:
    """The prompt as it stands in sample files."""
    turns = [{"role": message.role, "content": message.content} for message in prompt.messages]
    document: dict[str, Any] = {"id": prompt.id, "messages": turns}
    if prompt.constraints:
        document["constraints"] = [dict(constraint) for constraint in prompt.constraints]
    return document
