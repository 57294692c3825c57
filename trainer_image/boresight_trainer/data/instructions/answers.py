"""Answers y sampled from a model. The only part of the maker that needs torch, imported when a model is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from boresight_api.stages import ModelInput, Sampling

from ...store.file import FileStore
from ...store.inputs import Inputs
from ..records import Message
from .make import AnswerRequest
from .rows import Answer

if TYPE_CHECKING:
    from ...generation.generator import Generator
    from ...models.chat import ChatTokenizer

_MAX_LENGTH = 4096
BATCH_SIZE = 32
"""Answers sampled together. A batch depends on nothing outside it, so any one can be sampled again alone."""


class ModelAnswers:
    """Samples from one model. ``on_answers`` is told how many of how many are done."""

    def __init__(
        self,
        generator: Generator,
        chat: ChatTokenizer,
        sampling: Sampling,
        on_answers: Callable[[int, int], None] | None = None,
    ) -> None:
        self._generator = generator
        self._chat = chat
        self._sampling = sampling
        self._on_answers = on_answers

    def answers(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
        """One answer per request, in order; the requests are taken in batches of :data:`BATCH_SIZE`."""
        from ...generation.generator import GenerationRequest

        answers: list[Answer] = []
        for start in range(0, len(requests), BATCH_SIZE):
            batch = [
                GenerationRequest(each.id, tuple(self._chat.prompt_ids([Message("user", each.prompt)])), each.seed)
                for each in requests[start : start + BATCH_SIZE]
            ]
            generations = self._generator.generate(batch, self._sampling)
            answers += [Answer(generation.text.strip(), generation.finished) for generation in generations]
            if self._on_answers is not None:
                self._on_answers(len(answers), len(requests))
        return answers


def open_model(
    model: ModelInput, sampling: Sampling, *, cache: Path, on_answers: Callable[[int, int], None] | None = None
) -> ModelAnswers:
    """Load ``model`` (any URI that a manifest can name but an artifact's). Raises StageFailure if it cannot be used."""
    from ...generation.hf import TransformersGenerator
    from ...models.chat import ChatTokenizer
    from ...models.loading import load_causal_lm

    folder = Inputs(FileStore(cache.as_uri()), cache).path(model)
    chat = ChatTokenizer.from_folder(
        folder, chat_template=model.chat_template, system_prompt=model.system_prompt, name=model.uri
    )
    weights = load_causal_lm(folder, trust_remote_code=model.trust_remote_code)
    generator = TransformersGenerator(weights, chat, batch_size=BATCH_SIZE, max_length=_MAX_LENGTH)
    return ModelAnswers(generator, chat, sampling, on_answers)
