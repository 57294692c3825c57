"""Packed scores and gradients of prompts with media against plain transformers, one whole sequence a response."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from boresight_trainer.models.batch import Sample, Segment, build_pack
from boresight_trainer.models.features import MediaFeatures, parameters_below
from boresight_trainer.models.medium import Inputs, Medium
from boresight_trainer.models.scorer import Scorer
from builders_families import RIGS, rows_of
from builders_rigs import Rig, TowerCalls, with_packed_attention
from builders_scoring import assert_same_gradients, gradients, weighted


@pytest.fixture(scope="module", params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return RIGS[request.param](tmp_path_factory.mktemp(request.param))


def test_log_probabilities_equal_plain_transformers(rig: Rig) -> None:
    model, rows = rig.make_model(), rows_of(rig)
    samples = rig.samples(rows)
    with torch.no_grad():
        plain = rig.plain_logprobs(model, rows)
        packed = rig.scorer(with_packed_attention(model))(build_pack(samples)).logprobs
    assert (packed - plain).abs().max() <= 1e-4
    assert plain.std() > 1  # peaked softmaxes: agreement means something
    for sample, row in zip(samples, rows, strict=True):
        assert len(sample.segments[0].media) == len(row.media)


def test_gradients_equal_plain_transformers(rig: Rig) -> None:
    plain, rows = rig.make_model(), rows_of(rig)
    packed = with_packed_attention(plain)
    weighted(rig.scorer(packed)(build_pack(rig.samples(rows))).logprobs).backward()
    weighted(rig.plain_logprobs(plain, rows)).backward()
    assert_same_gradients(packed, plain, rig.without_effect)
    for module in (m for tower in rig.family.towers for m in tower.modules if m not in rig.family.untrained):
        assert any(name.removeprefix("model.").startswith(module) for name in gradients(packed)), module


def test_what_is_shown_decides_the_scores(rig: Rig) -> None:
    """The agreement above is not between two models that look at nothing."""
    model, rows = with_packed_attention(rig.make_model()), rows_of(rig)
    samples = rig.samples([row for row in rows if row.media])
    load = rig.shelf.loader(rig.family)

    def dimmed(medium: Medium) -> Inputs:
        return {name: values * 0.5 if values.dtype.kind == "f" else values for name, values in load(medium).items()}

    with torch.no_grad():
        for sample in samples:
            pack = build_pack([sample])
            seen = rig.scorer(model)(pack).logprobs
            other = Scorer(model, media=MediaFeatures(rig.family, dimmed))(pack).logprobs
            assert (seen - other).abs().max() > 1e-2, sample.id


def test_a_pack_scores_as_its_samples_alone(rig: Rig) -> None:
    scorer, samples = rig.scorer(with_packed_attention(rig.make_model())), rig.samples(rows_of(rig))
    with torch.no_grad():
        together = scorer(build_pack(samples)).logprobs
        alone = torch.cat([scorer(build_pack([sample])).logprobs for sample in samples])
    assert (together - alone).abs().max() <= 1e-4


def test_sharing_a_prompt_with_media_changes_nothing_but_the_work(rig: Rig) -> None:
    scorer, rows = rig.scorer(with_packed_attention(rig.make_model())), rows_of(rig)
    shared, plain = (build_pack(rig.samples(rows, share=share)) for share in (True, False))
    with torch.no_grad():
        assert (scorer(shared).logprobs - scorer(plain).logprobs).abs().max() <= 1e-4
    assert shared.num_tokens < plain.num_tokens


def test_several_critiques_of_a_response_continue_a_prompt_with_media(rig: Rig) -> None:
    model, row = rig.make_model(), next(row for row in rows_of(rig) if len(row.media) == 2)
    (sample,) = rig.samples([row])
    prompt, response = sample.segments[0], sample.segments[1].tokens
    words = [sample.segments[2].tokens, response[::-1]]
    critiques = tuple(Segment(tokens, 1, 0) for tokens in words)
    tree = Sample("tree", (prompt, Segment(response, 0, len(response)), *critiques))
    expected = []
    for tokens in words:
        ids = [*prompt.tokens.tolist(), *response.tolist(), *tokens.tolist()]
        with torch.no_grad():
            logits = model(**rig.plain_inputs(row, ids), use_cache=False).logits[0].float().log_softmax(-1)
        expected.append(logits[-len(tokens) - 1 : -1].gather(1, torch.tensor(tokens.tolist())[:, None])[:, 0])
    with torch.no_grad():
        found = rig.scorer(with_packed_attention(model))(build_pack([tree])).logprobs
    assert (found - torch.cat(expected)).abs().max() <= 1e-4


def test_each_distinct_medium_of_a_pack_is_loaded_once_for_one_call_of_its_tower(rig: Rig) -> None:
    model, rows = with_packed_attention(rig.make_model()), rows_of(rig)
    samples = rig.samples(rows)
    distinct = {span.medium.id for sample in samples for span in sample.segments[0].media}
    assert len(distinct) < sum(len(sample.segments[0].media) for sample in samples)
    scorer = rig.scorer(model)
    rig.shelf.loaded.clear()
    with ExitStack() as stack:
        calls = [stack.enter_context(TowerCalls(rig, model, tower)) for tower in rig.family.towers]
        scorer(build_pack(samples))
    assert [tower.count for tower in calls] == [1] * len(calls)
    assert rig.shelf.loaded == dict.fromkeys(distinct, 1)


@pytest.mark.parametrize("rows", ["text", "none"])
def test_without_media_every_tower_that_trains_still_takes_part(rig: Rig, rows: str) -> None:
    """Ranks with text alone meet those with media in every collective; what towers give then weighs nothing."""
    model = with_packed_attention(rig.make_model())
    samples = rig.samples(rows_of(rig)[:2]) if rows == "text" else []
    scores = rig.scorer(model)(build_pack(samples))
    (weighted(scores.logprobs).sum() + scores.sums().sum()).backward()
    used = used_by_media(rig)
    for tower in rig.family.towers:
        for name, parameter in parameters_below(model.base_model, tower.modules):
            if name in used:
                assert parameter.grad is not None, name
                assert not parameter.grad.any(), name


def used_by_media(rig: Rig) -> set[str]:
    """Parameters, below the head, that a pack with media of all kinds gives gradients."""
    model = with_packed_attention(rig.make_model())
    rig.scorer(model)(build_pack(rig.samples(rows_of(rig)))).sums().sum().backward()
    return {name for name, parameter in model.base_model.named_parameters() if parameter.grad is not None}


def test_frozen_towers_run_for_media_alone_and_leave_no_graph(rig: Rig) -> None:
    model = with_packed_attention(rig.make_model())
    frozen = [p for tower in rig.family.towers for _, p in parameters_below(model.base_model, tower.modules)]
    for parameter in frozen:
        parameter.requires_grad_(False)
    scorer, samples = rig.scorer(model), rig.samples(rows_of(rig))
    with ExitStack() as stack:
        calls = [stack.enter_context(TowerCalls(rig, model, tower)) for tower in rig.family.towers]
        scorer(build_pack(samples[:2]))
        assert [tower.count for tower in calls] == [0] * len(calls)
        weighted(scorer(build_pack(samples)).logprobs).backward()
        assert [tower.count for tower in calls] == [1] * len(calls)
    assert all(parameter.grad is None for parameter in frozen)
