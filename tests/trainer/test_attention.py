"""The attention function: what it implements, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from boresight_trainer.models.attention import PACKED, AttentionPlan, packed_attention, plain_attention
from boresight_trainer.models.batch import build_pack
from builders_scoring import FAMILIES, UNPROVEN, dense_attention, samples_of_every_shape, some_ids
from torch import Tensor, nn
from torch.nn import functional

SAMPLES = samples_of_every_shape()


def inputs(heads: int = 4, key_heads: int = 2) -> tuple[AttentionPlan, Tensor, Tensor, Tensor]:
    plan = build_pack(SAMPLES).attention
    torch.manual_seed(1)
    query = torch.randn(1, heads, plan.num_tokens, 8, requires_grad=True)
    key, value = (torch.randn(1, key_heads, plan.num_tokens, 8, requires_grad=True) for _ in range(2))
    return plan, query, key, value


def reference(query: Tensor, key: Tensor, value: Tensor, *, scale: float, window: int | None) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    logits = query @ key.repeat_interleave(groups, 1).transpose(2, 3) * scale
    logits = logits.masked_fill(~torch.from_numpy(dense_attention(SAMPLES, window)), float("-inf"))
    return (logits.softmax(-1) @ value.repeat_interleave(groups, 1)).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 1, 2, 5, 1000])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_values_and_gradients_follow_the_dense_mask(window: int | None, key_heads: int) -> None:
    plan, *tensors = inputs(key_heads=key_heads)
    found, _ = packed_attention(nn.Identity(), *tensors, None, packed=plan, scaling=0.3, sliding_window=window)
    expected = reference(*tensors, scale=0.3, window=window)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    weights = torch.randn_like(found)
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), tensors),
        torch.autograd.grad((expected * weights).sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_the_default_scale_is_that_of_the_head_size() -> None:
    plan, *tensors = inputs()
    found, _ = packed_attention(nn.Identity(), *tensors, None, packed=plan)
    torch.testing.assert_close(found, reference(*tensors, scale=8**-0.5, window=None), atol=2e-6, rtol=1e-5)


def test_the_variable_length_arrays_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU path on a CPU: only the kernel is replaced, by one that does what its documentation says."""
    import boresight_trainer.models.attention as module
    from boresight_trainer.models.layout import varlen_arrays

    def kernel(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cu_queries: Tensor,
        cu_keys: Tensor,
        max_queries: int,
        max_keys: int,
        *,
        scale: float,
        window_size: tuple[int, int],
        enable_gqa: bool,
    ) -> Tensor:
        assert window_size[1] == 0
        outputs = []
        for row in range(len(cu_queries) - 1):
            q = query[cu_queries[row] : cu_queries[row + 1]].transpose(0, 1)
            k, v = (t[cu_keys[row] : cu_keys[row + 1]].transpose(0, 1) for t in (key, value))
            if enable_gqa:
                k, v = (t.repeat_interleave(q.shape[0] // k.shape[0], 0) for t in (k, v))
            ahead = torch.arange(k.shape[1]) - (torch.arange(q.shape[1])[:, None] + k.shape[1] - q.shape[1])
            hidden = ahead > 0 if window_size[0] < 0 else (ahead > 0) | (ahead < -window_size[0])
            outputs.append(
                functional.scaled_dot_product_attention(q, k, v, attn_mask=~hidden, scale=scale).transpose(0, 1)
            )
        return torch.cat(outputs)

    plan, *tensors = inputs()
    arrays = varlen_arrays(plan.rows)
    varlen = module.VarlenPlan(
        *(torch.from_numpy(a) for a in (arrays.key_index, arrays.cu_queries, arrays.cu_keys)),
        arrays.max_queries,
        arrays.max_keys,
    )
    monkeypatch.setattr(module, "varlen_attn", kernel)
    for window in (None, 3):
        found = module._varlen(*tensors, varlen, 0.3, window)
        torch.testing.assert_close(found, reference(*tensors, scale=0.3, window=window), atol=2e-6, rtol=1e-5)


class NotCausal(nn.Module):
    is_causal = False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dropout": 0.1}, "attention dropout is 0.1"),
        ({"softcap": 50.0}, "passes softcap=50.0, which boresight_packed attention does not implement"),
        ({"s_aux": torch.ones(4)}, r"passes s_aux=a tensor of shape \[4\]"),
        ({"position_bias": torch.zeros(2)}, "passes position_bias"),
        ({"output_attentions": True}, "passes output_attentions=True"),
        ({"is_causal": False}, "is not causal"),
        ({"module": NotCausal()}, "NotCausal is not causal"),
        ({"attention_mask": torch.ones(1, 1, 4, 4)}, "takes no attention mask"),
        ({"packed": None}, "called without a pack; generation and plain forwards need another implementation"),
    ],
)
def test_what_it_does_not_implement_is_refused(arguments: dict[str, Any], message: str) -> None:
    plan, query, key, value = inputs()
    module = arguments.pop("module", nn.Identity())
    mask = arguments.pop("attention_mask", None)
    with pytest.raises(ValueError, match=message):
        packed_attention(module, query, key, value, mask, **{"packed": plan} | arguments)


@pytest.mark.parametrize(
    "neutral", [{"softcap": None}, {"s_aux": None}, {"output_attentions": False}, {"softcap": 0.0}]
)
def test_neutral_values_are_accepted(neutral: dict[str, Any]) -> None:
    plan, *tensors = inputs()
    packed_attention(
        nn.Identity(), *tensors, None, packed=plan, position_ids=torch.arange(3), use_cache=False, **neutral
    )


def test_keys_from_a_cache_are_refused() -> None:
    plan, query, key, _ = inputs()
    longer = torch.cat([key, key], dim=2)
    with pytest.raises(ValueError, match=r"expected one flat axis of .* tokens and no cache"):
        packed_attention(nn.Identity(), query, longer, longer, None, packed=plan)


@pytest.mark.parametrize(
    ("layer_type", "message"),
    [("chunked_attention", "uses chunked_attention"), ("sliding_attention", "slides by mask alone")],
)
def test_layers_that_would_need_a_mask_are_refused(layer_type: str, message: str) -> None:
    plan, *tensors = inputs()
    module = nn.Identity()
    module.config = type("Config", (), {"layer_types": ["full_attention", layer_type]})()
    module.layer_idx = 1
    with pytest.raises(ValueError, match=message):
        packed_attention(module, *tensors, None, packed=plan)


def test_generation_needs_plain_attention() -> None:
    model = FAMILIES["llama, grouped heads"]()
    prompt = torch.tensor([some_ids(5, 1)])
    with pytest.raises(ValueError, match="called without a pack"):
        model.generate(prompt, max_new_tokens=2, do_sample=False)
    with plain_attention(model):
        assert model.generate(prompt, max_new_tokens=2, do_sample=False).shape == (1, 7)
    assert model.config._attn_implementation == PACKED


def test_dropout_of_a_training_model_is_refused() -> None:
    from boresight_trainer.models.scorer import Scorer

    scorer = Scorer(FAMILIES["llama, grouped heads"](attention_dropout=0.1)).train()
    with pytest.raises(ValueError, match=r"attention dropout is 0.1"):
        scorer(build_pack(SAMPLES))


def test_one_staircase_serves_all_layers_and_rows() -> None:
    model = UNPROVEN["mistral, sliding window"]()
    from boresight_trainer.models.scorer import Scorer

    pack = build_pack(SAMPLES)
    Scorer(model)(pack)
    assert len(pack.attention._masks) == 1
