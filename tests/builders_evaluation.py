"""Prompts, configurations and make-believe models for tests of the evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boresight_api.enums import DataFormat, SuiteName, Task
from boresight_api.stages import DataInput, EvaluateConfig, ModelInput, NamedModel, Sampling, SuiteConfig
from boresight_trainer.data.records import Message, Prompt
from boresight_trainer.evaluation.suite import Answer, Ask, Bench, ScoringItem, TooLong, prompt_key

A_DIGEST = "sha256:" + "a" * 64


def a_prompt(number: int, *constraints: Mapping[str, Any], text: str | None = None) -> Prompt:
    return Prompt(f"p{number}", (Message("user", text or f"Describe the moon, number {number}."),), constraints)


def a_model(name: str) -> NamedModel:
    return NamedModel(name=name, model=ModelInput(uri=f"embedded://{name}", digest="sha256:" + f"{ord(name[0]):064x}"))


def an_evaluation(**changes: Any) -> EvaluateConfig:
    """A candidate ``policy`` against ``initial`` and one Verifiable suite, unless ``changes`` say otherwise."""
    values: dict[str, Any] = {
        "task": Task.TEXT_TO_TEXT,
        "candidate": a_model("policy"),
        "baselines": (a_model("initial"),),
        "suites": (a_suite(SuiteName.VERIFIABLE),),
        "sampling": Sampling(temperature=0, max_tokens=8),
        "max_length": 512,
        "seed": 7,
    }
    return EvaluateConfig(**{**values, **changes})


def a_suite(suite: SuiteName, data: Path | None = None, **changes: Any) -> SuiteConfig:
    uri = "file:///rows.jsonl" if data is None else data.as_uri()
    entry = DataInput(uri=uri, format=DataFormat.JSONL)
    return SuiteConfig(**{"suite": suite, "name": suite.value, "data": (entry,), **changes})


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class CharacterChat:
    """One token a character."""

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return [ord(c) for message in messages for c in message.content]

    def conversation_ids(self, messages: Sequence[Message], response: str) -> tuple[list[int], list[int]]:
        return self.prompt_ids(messages), [*self.encode_text(response), 0]

    def encode_text(self, text: str) -> list[int]:
        return [ord(c) for c in text]


def text_of(tokens: Sequence[int]) -> str:
    return "".join(map(chr, tokens))


@dataclass
class MakeBelieveModel:
    """Answers by ``answer(ask)``; scores a continuation by ``logprob(context, continuation)``, both as texts."""

    identity: str = "make-believe"
    answer: Callable[[Ask], str | TooLong] = lambda ask: f"answer to {ask.id}"
    logprob: Callable[[str, str], float] = lambda context, continuation: -float(len(continuation))
    chat: CharacterChat = field(default_factory=CharacterChat)
    scored: list[ScoringItem] = field(default_factory=list)
    asked: list[tuple[Sampling, str]] = field(default_factory=list)
    max_length: int = 1 << 20

    def generate(self, asks: Sequence[Ask], sampling: Sampling, *, purpose: str) -> list[Answer | TooLong]:
        self.asked.append((sampling, purpose))
        said = [self.answer(ask) for ask in asks]
        return [an_answer(text) if isinstance(text, str) else text for text in said]

    def score(self, items: Sequence[ScoringItem], *, purpose: str) -> list[list[float]]:
        self.scored.extend(items)
        return [
            [
                self.logprob(text_of(context.tokens), text_of(run))
                for context in item.contexts
                for run in context.continuations
            ]
            for item in items
        ]


@dataclass
class MakeBelieveShelf:
    """Hands out one model for every input and remembers what was opened."""

    model: MakeBelieveModel = field(default_factory=MakeBelieveModel)
    opened: list[str] = field(default_factory=list)

    def open(self, model: ModelInput) -> MakeBelieveModel:
        self.opened.append(model.uri)
        return self.model


def an_answer(text: str, *, finished: bool = True) -> Answer:
    return Answer(text, len(text) + 1, finished)


def a_bench(
    prompts: Sequence[Prompt],
    answers: Mapping[str, Sequence[str | Answer | TooLong]],
    *,
    model: MakeBelieveModel | None = None,
    **changes: Any,
) -> Bench:
    """``answers[model]`` in the order of ``prompts``; the first model is the candidate."""
    candidate, *baselines = answers
    config = an_evaluation(candidate=a_model(candidate), baselines=tuple(map(a_model, baselines)), **changes)
    given = {
        name: {
            prompt_key(prompt): an_answer(answer) if isinstance(answer, str) else answer
            for prompt, answer in zip(prompts, texts, strict=True)
        }
        for name, texts in answers.items()
    }
    return Bench(config, MakeBelieveShelf(model or MakeBelieveModel()), given)
