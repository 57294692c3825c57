"""Stages, contexts and scripted models for tests of synthesis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from boresight_api.enums import DataFormat, Task
from boresight_api.execution import Execution, RunReference, Stage
from boresight_api.stages import DataInput, ModelInput, Sampling, SynthesisConfig, stage_key
from boresight_trainer.generation.generator import Generation, GenerationRequest
from boresight_trainer.models import embedded
from boresight_trainer.models.chat import ChatTokenizer
from boresight_trainer.stage import StageContext
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.inputs import Inputs
from boresight_trainer.telemetry.progress import METRICS_NAME, Progress
from boresight_trainer.telemetry.stop import StopFlag
from builders_data import write_jsonl

Script = Callable[[str, GenerationRequest], str]
"""From a prompt's text (without special tokens) and the request to what the model says."""


def tiny(**changes: Any) -> ModelInput:
    return ModelInput(uri="embedded://tiny", digest=embedded.digest(embedded.TINY), **changes)


def prompts(folder: Path, count: int = 7, **columns: Any) -> Path:
    rows = [{"id": f"r{i}", "prompt": f"Name {i} colours{' of the sea' * (i % 3)}.", **columns} for i in range(count)]
    return write_jsonl(folder / "prompts.jsonl", rows)


def a_synthesis_config(data: Path, **changes: Any) -> SynthesisConfig:
    values: dict[str, Any] = {
        "task": Task.TEXT_TO_TEXT,
        "model": tiny(),
        "feedback_model": tiny(system_prompt="You are a critic."),
        "prompts": (DataInput(uri=data.as_uri(), format=DataFormat.JSONL),),
        "sampling": Sampling(max_tokens=40),
        "critique_sampling": Sampling(max_tokens=120),
        "refinement_sampling": Sampling(max_tokens=40),
        "batch_size": 3,
        "max_length": 2048,
        "seed": 7,
    }
    return SynthesisConfig(**{**values, **changes})


def a_context(
    folder: Path, config: SynthesisConfig, *, cache: Path, attempt: int = 1, stop: StopFlag | None = None
) -> StageContext:
    stage = Stage(
        run=RunReference(kind="AlignmentRun", name="first", uid="0123456789abcdef"),
        name="synthesis",
        recipe_version=1,
        key=stage_key(config, 1),
        config=config,
        execution=Execution(storage=(folder / "store").as_uri(), attempt=attempt),
    )
    store = FileStore((folder / "store").as_uri())
    output = folder / f"output-{attempt}"
    output.mkdir(parents=True)
    return StageContext(
        stage=stage,
        store=store,
        inputs=Inputs(store, cache),
        output=output,
        progress=Progress(stage="synthesis", key=stage.key, metrics_path=output / METRICS_NAME),
        stop=stop or StopFlag(30),
        checkpoint_folder=folder / "checkpoints" / str(attempt),
        previous_checkpoints=tuple(folder / "checkpoints" / str(n) for n in range(attempt - 1, 0, -1)),
    )


class ScriptedGenerator:
    """Stands in for the engine: says what a script says, token by token as the real tokenizer has it."""

    def __init__(self, chat: ChatTokenizer, script: Script, batches: list[list[str]]) -> None:
        self._chat = chat
        self._script = script
        self._batches = batches

    def generate(self, requests: Sequence[GenerationRequest], sampling: Sampling, **_: Any) -> list[Generation]:
        self._batches.append([request.id for request in requests])
        return [self._one(request, sampling) for request in requests]

    def _one(self, request: GenerationRequest, sampling: Sampling) -> Generation:
        said = self._script(self._chat.decode(request.prompt_ids), request)
        ids = self._chat.response_ids(said)[: sampling.max_tokens]
        finished = ids[-1] in self._chat.terminators
        return Generation(request.id, tuple(ids), finished, self._chat.decode(ids))
