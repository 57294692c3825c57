"""The generator samples what transformers would, whatever the batch, the sharding and the order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import Sampling
from boresight_trainer.data.records import Message
from boresight_trainer.generation import hf
from boresight_trainer.generation.batches import generation_batches
from boresight_trainer.generation.cache import DecodingCache
from boresight_trainer.generation.generator import Generation, GenerationRequest
from boresight_trainer.generation.hf import TransformersGenerator
from boresight_trainer.models.attention import plain_attention
from boresight_trainer.models.chat import ChatTokenizer
from boresight_trainer.models.loading import load_causal_lm
from boresight_trainer.telemetry.stop import StopFlag

GREEDY = Sampling(temperature=0, max_tokens=24)
SAMPLED = Sampling.model_validate({"maxTokens": 24, "temperature": "0.8"})


@pytest.fixture(scope="module")
def model(tiny_model: Path):
    return load_causal_lm(tiny_model)


@pytest.fixture(scope="module")
def chat(tiny_model: Path) -> ChatTokenizer:
    return ChatTokenizer.from_folder(tiny_model)


def prompts(chat: ChatTokenizer, count: int = 11) -> list[tuple[int, ...]]:
    """Prompts of different lengths, some equal, with a system prompt that all share."""
    system = Message("system", "Answer as a friendly and rather verbose assistant would.")
    texts = [f"Tell me about {'very ' * (i % 5)}old things{' and more' * (i // 4)}" for i in range(count)]
    return [tuple(chat.prompt_ids([system, Message("user", text)])) for text in texts]


def requests(chat: ChatTokenizer, count: int = 11) -> list[GenerationRequest]:
    return [GenerationRequest(f"r{i}", ids, seed=100 + i) for i, ids in enumerate(prompts(chat, count))]


def generator(model, chat: ChatTokenizer, batch_size: int = 4, max_length: int = 4096) -> TransformersGenerator:
    return TransformersGenerator(model, chat, batch_size=batch_size, max_length=max_length)


def greedy_by_transformers(model, chat: ChatTokenizer, prompt: Sequence[int], max_tokens: int, penalty: float = 1.0):
    with plain_attention(model), torch.inference_mode():
        ids = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=max_tokens,
            repetition_penalty=penalty,
            eos_token_id=sorted(chat.terminators),
            pad_token_id=0,
        )
    return tuple(ids[0, len(prompt) :].tolist())


@pytest.mark.parametrize("penalty", ["1", "1.3"])
def test_greedy_tokens_are_those_of_transformers(model, chat, penalty):
    settings = Sampling.model_validate({"temperature": 0, "maxTokens": 24, "repetitionPenalty": penalty})
    found = generator(model, chat).generate(requests(chat), settings)
    for request, generation in zip(requests(chat), found, strict=True):
        expected = greedy_by_transformers(model, chat, request.prompt_ids, 24, float(penalty))
        assert (generation.id, generation.token_ids) == (request.id, expected)
        assert generation.finished == (expected[-1] in chat.terminators)
        assert generation.text == chat.decode(expected)


@pytest.mark.model
def test_greedy_tokens_of_smollm2_are_those_of_transformers(smollm2):
    model, chat = load_causal_lm(smollm2), ChatTokenizer.from_folder(smollm2)
    asked = [
        GenerationRequest(str(i), tuple(chat.prompt_ids([Message("user", text)])), i)
        for i, text in enumerate(["Name a colour.", "What is the capital of France? Answer in one sentence.", "Hi"])
    ]
    for request, generation in zip(asked, generator(model, chat).generate(asked, GREEDY), strict=True):
        assert generation.token_ids == greedy_by_transformers(model, chat, request.prompt_ids, 24)


class Recorder(TransformersGenerator):
    """Keeps the logits from which each row's tokens were drawn."""

    def _decode(self, cache, rows, logits, sampling):
        self.logits = {row.request.id: [logits[i]] for i, row in enumerate(rows)}
        super()._decode(cache, rows, logits, sampling)

    def _step(self, cache, rows):
        logits = super()._step(cache, rows)
        for i, row in enumerate(rows):
            self.logits[row.request.id].append(logits[i].clone())
        return logits


def test_every_step_has_the_logits_of_a_fresh_forward(model, chat):
    """Shared prefixes, left padding, moved rows and a grown cache change nothing beyond rounding."""
    settings = Sampling(max_tokens=150)
    recorder = Recorder(model, chat, batch_size=32, max_length=4096)
    for request, generation in zip(requests(chat), recorder.generate(requests(chat), settings), strict=True):
        ids = torch.tensor([[*request.prompt_ids, *generation.token_ids]])
        with plain_attention(model), torch.inference_mode():
            fresh = model(ids).logits[0, len(request.prompt_ids) - 1 : -1].log_softmax(-1)
        drawn_from = torch.stack(recorder.logits[request.id]).log_softmax(-1)
        assert float((drawn_from - fresh).abs().max()) <= 1e-4
    assert max(len(steps) for steps in recorder.logits.values()) > 64, "the cache should have grown"


def test_prompts_computed_in_chunks_give_the_same_tokens(model, chat, monkeypatch):
    whole = generator(model, chat, batch_size=11).generate(requests(chat), SAMPLED)
    monkeypatch.setattr(hf, "PREFILL_TOKENS", 150)
    assert generator(model, chat, batch_size=11).generate(requests(chat), SAMPLED) == whole


def test_any_sharding_by_whole_batches_gives_identical_results(model, chat):
    asked = requests(chat)
    together = generator(model, chat).generate(asked, SAMPLED)
    batches = generation_batches([len(request.prompt_ids) for request in asked], 4)
    shards: dict[str, Generation] = {}
    for rank in (1, 0):
        for batch in batches[rank::2]:
            for generation in generator(model, chat).generate([asked[i] for i in batch], SAMPLED):
                shards[generation.id] = generation
    assert [shards[request.id] for request in asked] == together


def test_a_seed_decides_what_is_sampled(model, chat):
    prompt = prompts(chat)[0]
    asked = [GenerationRequest(str(i), prompt, seed) for i, seed in enumerate((1, 2, 1))]
    first, second, third = generator(model, chat).generate(asked, SAMPLED)
    assert first.token_ids == third.token_ids != second.token_ids


@pytest.mark.parametrize("settings", [SAMPLED, Sampling.model_validate({"maxTokens": 9, "topP": "0.7", "topK": 30})])
def test_a_rows_tokens_do_not_depend_on_its_neighbours(model, chat, settings):
    asked = requests(chat)
    together = generator(model, chat, batch_size=11).generate(asked, settings)
    alone = [generator(model, chat).generate([request], settings)[0] for request in asked]
    assert together == alone


def test_rows_stop_at_a_terminator_or_at_their_limit(model, chat):
    longest = max(len(ids) for ids in prompts(chat))
    settings = Sampling(max_tokens=300)
    for request, generation in zip(
        requests(chat), generator(model, chat, max_length=longest + 40).generate(requests(chat), settings), strict=True
    ):
        assert generation.finished == (generation.token_ids[-1] in chat.terminators)
        assert not set(generation.token_ids[:-1]) & chat.terminators
        assert generation.finished or len(generation.token_ids) == longest + 40 - len(request.prompt_ids)


def test_adapters_take_part(tiny_model, chat):
    from peft import LoraConfig, inject_adapter_in_model

    model = load_causal_lm(tiny_model)
    plain = generator(model, chat).generate(requests(chat), GREEDY)
    inject_adapter_in_model(LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False), model)
    adapted = generator(model, chat).generate(requests(chat), GREEDY)
    assert adapted != plain
    assert adapted[0].token_ids == greedy_by_transformers(model, chat, prompts(chat)[0], 24)


def test_the_attention_of_the_model_is_left_as_it_was(model, chat):
    before = model.config._attn_implementation
    generator(model, chat).generate(requests(chat)[:1], GREEDY)
    assert model.config._attn_implementation == before


def test_a_stop_is_honoured_between_batches(model, chat):
    class StopAfterOneBatch(StopFlag):
        def check(self, step: int | None = None) -> None:
            checked.append(step)
            if step:
                self.request()
            super().check(step)

    checked: list[int | None] = []
    with pytest.raises(StageFailure) as caught:
        generator(model, chat).generate(requests(chat), GREEDY, stop=StopAfterOneBatch(30))
    assert caught.value.failure is FailureClass.PREEMPTED
    assert checked == [0, 1]


@pytest.mark.parametrize(
    ("ids", "max_length", "found"),
    [((5,) * 40, 40, r"prompt x: found 40 tokens, expected 1 to 39"), ((), 40, "found 0 tokens"), ((999,), 40, "999")],
)
def test_a_prompt_that_cannot_be_answered_is_named(model, chat, ids, max_length, found):
    with pytest.raises(StageFailure, match=found):
        generator(model, chat, max_length=max_length).generate([GenerationRequest("x", ids, 0)], GREEDY)


def test_a_finished_row_is_replaced_by_the_last_one():
    cache = DecodingCache([2, 3, 1])
    content = torch.arange(3.0)[:, None, None, None].expand(3, 2, 3, 4)
    cache.store_prompts(0, 0, content, content)
    cache.begin_decoding()
    cache.drop(0)
    cache.begin_step()
    new = torch.tensor([10.0, 20.0])[:, None, None, None].expand(2, 2, 1, 4)
    keys, values = cache.update(new, -new, 0)
    assert keys[:, 0, :, 0].tolist() == [[2, 2, 2, 10], [1, 1, 1, 20]]
    assert values[:, 1, -1, 3].tolist() == [-10, -20]
    hidden = float("-inf")
    assert cache.mask[:, 0, 0].tolist() == [[hidden, hidden, 0, 0], [0, 0, 0, 0]]
