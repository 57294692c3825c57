"""Prompts with media are answered with the tokens that transformers generates, one prompt at a time."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import Sampling
from boresight_trainer.data.records import MediaReference
from boresight_trainer.generation import hf
from boresight_trainer.generation.generator import GenerationRequest
from boresight_trainer.generation.hf import TransformersGenerator
from boresight_trainer.generation.prompts import prompt_segments
from builders_families import RIGS, rows_of
from builders_rigs import Rig, Row, TowerCalls, user, with_packed_attention
from transformers import PreTrainedModel

GREEDY = Sampling(temperature=0, max_tokens=12)


@pytest.fixture(scope="module", params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return RIGS[request.param](tmp_path_factory.mktemp(request.param))


def requests(rig: Rig, rows: list[Row]) -> list[GenerationRequest]:
    chat = rig.chat()
    prompts = [(row, chat.prompt(row.id, row.messages)) for row in rows]
    return [GenerationRequest(row.id, prompt.ids, 7, prompt.media) for row, prompt in prompts]


def generator(rig: Rig, model: PreTrainedModel, batch_size: int = 16) -> TransformersGenerator:
    return TransformersGenerator(model, rig.chat().chat, batch_size=batch_size, max_length=4096, media=rig.features())


def greedy_by_transformers(rig: Rig, model: PreTrainedModel, row: Row, request: GenerationRequest) -> tuple[int, ...]:
    """Every token from a whole new forward: what the next one is does not hang on how a cache goes on."""
    ids = list(request.prompt_ids)
    terminators, vocabulary = rig.chat().chat.terminators, rig.chat().chat.vocabulary_size
    with torch.inference_mode():
        for _ in range(GREEDY.max_tokens):
            logits = model(**rig.plain_inputs(row, ids), use_cache=False).logits[0, -1, :vocabulary]
            ids.append(int(logits.argmax()))
            if ids[-1] in terminators:
                break
    return tuple(ids[len(request.prompt_ids) :])


def test_greedy_tokens_are_those_of_transformers(rig: Rig) -> None:
    model, rows = rig.make_model(), rows_of(rig)
    asked = requests(rig, rows)
    found = generator(rig, with_packed_attention(model)).generate(asked, GREEDY)
    for row, request, generation in zip(rows, asked, found, strict=True):
        assert generation.token_ids == greedy_by_transformers(rig, model, row, request), row.id


def test_greedy_tokens_are_those_of_transformers_own_generate(rig: Rig) -> None:
    """For images and sounds; after a video transformers goes on from another position than its own forward has."""
    model, rows = rig.make_model(), rows_of(rig)
    rows = [row for row in rows if not any(m.modality == "video" for m in row.media)]
    asked = requests(rig, rows)
    found = generator(rig, with_packed_attention(model)).generate(asked, GREEDY)
    padding = range(rig.chat().chat.vocabulary_size, model.get_output_embeddings().out_features)
    for row, request, generation in zip(rows, asked, found, strict=True):
        with torch.inference_mode():
            ids = model.generate(
                **rig.plain_inputs(row, request.prompt_ids),
                do_sample=False,
                max_new_tokens=GREEDY.max_tokens,
                eos_token_id=sorted(rig.chat().chat.terminators),
                pad_token_id=0,
                suppress_tokens=list(padding),
            )
        assert generation.token_ids == tuple(ids[0, len(request.prompt_ids) :].tolist()), row.id


def test_each_distinct_medium_of_a_batch_is_loaded_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = with_packed_attention(rig.make_model()), rows_of(rig)
    asked = requests(rig, rows) * 2
    whole = generator(rig, model, 64).generate(asked, GREEDY)
    monkeypatch.setattr(hf, "PREFILL_TOKENS", 100)
    generating = generator(rig, model, 64)
    rig.shelf.loaded.clear()
    with ExitStack() as stack:
        calls = [stack.enter_context(TowerCalls(rig, model, tower)) for tower in rig.family.towers]
        assert generating.generate(asked, GREEDY) == whole
    assert [tower.count for tower in calls] == [1] * len(calls)
    assert set(rig.shelf.loaded.values()) == {1}


def test_prompts_share_a_prefix_only_where_their_media_are_the_same(rig: Rig) -> None:
    """The same words about two media: what stands before them is shared, the media and what follows are not."""
    first, second = media_of_one_size(rig)
    rows = [Row(str(i), (user("What is it, and why?", medium),)) for i, medium in enumerate([first, second, first])]
    asked = requests(rig, rows)
    assert asked[0].prompt_ids == asked[1].prompt_ids
    segments = prompt_segments(asked)
    assert segments.chains[0] == segments.chains[2] != segments.chains[1]
    stand = [span.medium.id for spans in segments.media for span in spans]
    assert sorted(stand) == sorted({span.medium.id for request in asked for span in request.media})
    for request, chain in zip(asked, segments.chains, strict=True):
        assert sum((segments.tokens[s] for s in chain), ()) == request.prompt_ids


def media_of_one_size(rig: Rig) -> tuple[MediaReference, MediaReference]:
    """Two media that become the same placeholder tokens."""
    for row in rows_of(rig):
        for reference in row.media:
            content = rig.shelf.content(reference)
            return reference, rig.shelf.put("upside down", content[::-1].copy())
    raise AssertionError("every family takes media")


def test_a_request_with_media_is_named_by_a_generator_of_text(rig: Rig) -> None:
    model = with_packed_attention(rig.make_model())
    speaking = TransformersGenerator(model, rig.chat().chat, batch_size=2, max_length=4096)
    asked = next(request for request in requests(rig, rows_of(rig)) if request.media)
    with pytest.raises(StageFailure, match=f"prompt {asked.id}: found") as caught:
        speaking.generate([asked], GREEDY)
    assert caught.value.failure is FailureClass.INVALID_DATA
