"""Packed scores and gradients against plain transformers, one whole sequence a response."""

from __future__ import annotations

import copy

import pytest
import torch
from boresight_api.outcome import StageFailure
from boresight_trainer.models.batch import Sample, build_pack
from boresight_trainer.models.scorer import Scorer, plain_logprobs, self_check
from builders_scoring import (
    FAMILIES,
    UNPROVEN,
    VOCABULARY,
    assert_same_gradients,
    gradients,
    samples_of_every_shape,
    some_ids,
    some_pairs,
    weighted,
)
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel

EVERY_FAMILY = pytest.mark.parametrize("family", [*FAMILIES, *UNPROVEN])
MAKERS = FAMILIES | UNPROVEN


@EVERY_FAMILY
def test_log_probabilities_equal_plain_transformers(family: str) -> None:
    model = MAKERS[family]()
    samples = samples_of_every_shape()
    with torch.no_grad():
        packed, plain = Scorer(model)(build_pack(samples)).logprobs, plain_logprobs(model, samples)
    assert packed.shape == (sum(sample.num_targets for sample in samples),)
    assert (packed - plain).abs().max() <= 1e-4
    assert plain.std() > 1  # peaked softmaxes: agreement means something


@EVERY_FAMILY
def test_gradients_equal_plain_transformers(family: str) -> None:
    packed = MAKERS[family]()
    plain = copy.deepcopy(packed)
    samples = samples_of_every_shape()
    weighted(Scorer(packed)(build_pack(samples)).logprobs).backward()
    weighted(plain_logprobs(plain, samples)).backward()
    assert len(gradients(plain)) == len(dict(plain.named_parameters()))
    assert_same_gradients(packed, plain)


def with_adapters(model: PreTrainedModel) -> nn.Module:
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    torch.manual_seed(5)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:  # they start at zero, where gradients of lora_A vanish
            nn.init.normal_(parameter, std=0.05)
    return adapted


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_adapters_equal_plain_transformers(family: str) -> None:
    packed = with_adapters(FAMILIES[family]())
    plain = copy.deepcopy(packed)
    samples = samples_of_every_shape()
    weighted(Scorer(packed)(build_pack(samples)).logprobs).backward()
    weighted(plain_logprobs(plain.get_base_model(), samples)).backward()
    assert all("lora_" in name for name in gradients(plain))
    assert_same_gradients(packed, plain)


def test_a_pack_scores_as_its_samples_alone() -> None:
    scorer = Scorer(FAMILIES["llama, grouped heads"]())
    samples = samples_of_every_shape()
    with torch.no_grad():
        together = scorer(build_pack(samples)).logprobs
        alone = torch.cat([scorer(build_pack([sample])).logprobs for sample in samples])
    assert (together - alone).abs().max() <= 1e-5


def test_sharing_a_prompt_changes_nothing_but_the_work() -> None:
    scorer = Scorer(FAMILIES["llama, grouped heads"]())
    parts = some_ids(15, 1), some_ids(7, 2), some_ids(9, 3)
    shared, plain = (build_pack([Sample.of_pair("p", *parts, share=share)]) for share in (True, False))
    with torch.no_grad():
        assert (scorer(shared).logprobs - scorer(plain).logprobs).abs().max() <= 1e-5
    assert (shared.num_tokens, plain.num_tokens) == (31, 46)


def test_scores_are_ragged_and_in_sample_order() -> None:
    scorer = Scorer(FAMILIES["llama, grouped heads"]())
    samples = samples_of_every_shape()
    with torch.no_grad():
        scores = scorer(build_pack(samples))
    lengths = [length for sample in samples for length in sample.response_lengths]
    responses = scores.logprobs.split(lengths)
    assert scores.lengths.tolist() == lengths
    torch.testing.assert_close(scores.sums(), torch.stack([r.sum() for r in responses]))


def test_a_pack_without_samples_reaches_every_parameter_with_weight_zero() -> None:
    model = FAMILIES["qwen2, biases"]()
    scores = Scorer(model)(build_pack([]))
    assert scores.logprobs.shape == (0,)
    (scores.logprobs.sum() + scores.sums().sum()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("tuned", ["full", "adapters"])
def test_the_backward_is_bit_identical_with_two_threads(tuned: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = FAMILIES["llama, grouped heads"](hidden_size=64, intermediate_size=256, vocab_size=2000)
        scorer = Scorer(model if tuned == "full" else with_adapters(model))
        pack = build_pack(some_pairs(10))
        runs = []
        for _ in range(2):
            scorer.zero_grad(set_to_none=True)
            scores = scorer(pack)
            (weighted(scores.logprobs) + scores.sums().square().sum()).backward()
            runs.append(gradients(scorer))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(runs[1][name], gradient) for name, gradient in runs[0].items())


def test_autocast_reaches_attention_and_head() -> None:
    model = FAMILIES["llama, grouped heads"](initializer_range=0.1)
    samples = samples_of_every_shape()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logprobs = Scorer(model)(build_pack(samples)).logprobs
    assert logprobs.dtype == torch.float32
    weighted(logprobs).backward()
    with torch.no_grad():
        assert 0 < (logprobs - plain_logprobs(model, samples)).abs().max() < 0.1
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_rows_of_the_embedding_beyond_the_vocabulary_are_part_of_the_softmax() -> None:
    """Some models have more embedding rows than tokens; transformers normalises over all rows, and so do we."""
    model = FAMILIES["qwen2, biases"](vocab_size=VOCABULARY + 45)
    samples = some_pairs(3)
    with torch.no_grad():
        assert (Scorer(model)(build_pack(samples)).logprobs - plain_logprobs(model, samples)).abs().max() <= 1e-4


def test_a_token_beyond_the_embedding_is_named() -> None:
    pack = build_pack([Sample.of_response("row 7", [1, 2], [VOCABULARY + 3])])
    with pytest.raises(
        ValueError, match=f"token id {VOCABULARY + 3} in row 7, but the model has embeddings for {VOCABULARY}"
    ):
        Scorer(FAMILIES["llama, grouped heads"]())(pack)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            'RoPE type "dynamic" rescales',
        ),
        (
            {
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "short_factor": [1.0] * 6,
                    "long_factor": [2.0] * 6,
                    "original_max_position_embeddings": 64,
                }
            },
            'RoPE type "longrope" rescales',
        ),
        ({"logit_scale": 0.0625}, "logit_scale is 0.0625, which the tiled head does not implement"),
        ({"logits_scaling": 8.0}, "logits_scaling is 8.0"),
    ],
)
def test_models_that_packs_would_change_are_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(StageFailure, match=reason):
        Scorer(FAMILIES["llama, grouped heads"](**options))


def test_soft_capped_logits_are_refused() -> None:
    config = Gemma2Config(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        attn_implementation="boresight_packed",
    )
    with pytest.raises(StageFailure, match=r"final_logit_softcapping is 30.0"):
        Scorer(Gemma2ForCausalLM(config))


def test_an_adapted_output_layer_is_refused() -> None:
    adapted = get_peft_model(FAMILIES["llama, grouped heads"](), LoraConfig(r=2, target_modules=["lm_head"]))
    with pytest.raises(StageFailure, match="its output layer is Linear, expected a linear layer without adapters"):
        Scorer(adapted)


def test_a_model_loaded_with_other_attention_is_refused() -> None:
    with pytest.raises(ValueError, match='was loaded with attention "sdpa", expected "boresight_packed"'):
        Scorer(FAMILIES["llama, grouped heads"](attn_implementation="sdpa"))


def test_an_unproven_model_that_agrees_passes_the_self_check() -> None:
    self_check(Scorer(UNPROVEN["mistral, sliding window"]()))


def test_an_unproven_model_that_differs_is_stopped() -> None:
    model = UNPROVEN["mistral, sliding window"]()
    plain_positions = model.model.rotary_emb.forward
    model.model.rotary_emb.forward = lambda x, position_ids: plain_positions(
        x, position_ids - position_ids.max() // 2 * (position_ids > 3)
    )
    with pytest.raises(
        StageFailure, match=r"MistralForCausalLM cannot be trained here: packed scoring differs .* by \d"
    ):
        self_check(Scorer(model))
