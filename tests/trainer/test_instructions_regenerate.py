"""The shipped answers come from the model that the manifest names: a batch of them is sampled again."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from boresight_trainer.data.instructions.answers import BATCH_SIZE, ModelAnswers, open_model
from boresight_trainer.data.instructions.commands import add_arguments, answering, making_options
from boresight_trainer.data.instructions.make import AnswerRequest, make_all
from boresight_trainer.data.instructions.rows import Answer
from boresight_trainer.store.digests import user_cache_folder
from boresight_trainer.store.pins import pin

DATA = Path(__file__).parents[2] / "examples" / "quickstart-data"


class FirstBatch:
    """The model for the first batch, nothing for the others."""

    def __init__(self, model: ModelAnswers) -> None:
        self._model = model

    def answers(self, requests: Sequence[AnswerRequest]) -> list[Answer]:
        sampled = self._model.answers(requests[:BATCH_SIZE])
        return sampled + [Answer("", False)] * (len(requests) - len(sampled))


@pytest.mark.model
def test_a_batch_of_shipped_answers_is_sampled_again_by_the_recorded_command() -> None:
    manifest = json.loads((DATA / "manifest.json").read_text())
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    command = parser.parse_args([*shlex.split(manifest["command"])[4:], "--out", "unused"])
    model, sampling = answering(command)
    assert pin(model.uri).digest == manifest["model"]["digest"]
    options = making_options(command)
    feedback_only = replace(options.counts, warm_start=0, plain=0, preferences=0)

    source = FirstBatch(open_model(model, sampling, cache=user_cache_folder()))
    made = make_all(replace(options, counts=feedback_only), source)["feedback.jsonl"][:BATCH_SIZE]

    shipped = [json.loads(line) for line in (DATA / "feedback.jsonl").read_text().splitlines()][:BATCH_SIZE]
    equal = sum(row == other for row, other in zip(made, shipped, strict=True))
    # Another processor may add in another order, and a token drawn at the very edge may differ then.
    assert equal >= BATCH_SIZE - 3
    assert [row["prompt"] for row in made] == [row["prompt"] for row in shipped]
