"""The converted SmolLM2 is the model it should be: it speaks."""

from __future__ import annotations

import pytest
from boresight_api.stages import Sampling
from boresight_trainer.data.records import Message
from boresight_trainer.generation.generator import GenerationRequest
from boresight_trainer.generation.hf import TransformersGenerator
from boresight_trainer.models.chat import ChatTokenizer
from boresight_trainer.models.loading import load_causal_lm


@pytest.mark.model
def test_smollm2_knows_the_capital_of_france(smollm2):
    """Rows of q and k in llama.cpp's order, or a wrong tokenizer, would give noise."""
    chat = ChatTokenizer.from_folder(smollm2)
    generator = TransformersGenerator(load_causal_lm(smollm2), chat, batch_size=1, max_length=256)
    prompt = tuple(chat.prompt_ids([Message("user", "What is the capital of France?")]))
    (answer,) = generator.generate([GenerationRequest("x", prompt, 0)], Sampling(temperature=0, max_tokens=20))
    assert answer.text == "The capital of France is Paris."
    assert answer.finished
