"""Tokens are drawn from the distribution that temperature, top-k, top-p and repetition penalty define."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
import torch
from boresight_api.stages import Sampling
from boresight_trainer.generation.sampling import Draws, draw, penalize


def sampling(**fields: object) -> Sampling:
    return Sampling.model_validate(fields)


def reference_distribution(logits: torch.Tensor, settings: Sampling) -> torch.Tensor:
    """The distribution by transformers' own processors, from one row of logits."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    row = logits.double()[None]
    if settings.temperature != 1:
        row = TemperatureLogitsWarper(float(settings.temperature))(None, row)
    if settings.top_k:
        row = TopKLogitsWarper(settings.top_k)(None, row)
    if settings.top_p < 1:
        row = TopPLogitsWarper(float(settings.top_p))(None, row)
    return row.softmax(-1)[0]


SETTINGS = [
    sampling(),
    sampling(temperature="0.5"),
    sampling(top_k=5),
    sampling(top_p="0.8"),
    sampling(top_p="0.8", top_k=20, temperature="1.5"),
    sampling(top_p="0.999", temperature=3),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("vocabulary", [40, 256, 700])
def test_a_sweep_of_the_uniform_number_visits_each_token_as_often_as_it_is_likely(settings, vocabulary):
    logits = 3 * torch.randn(vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    count = 20_000
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens = torch.cat([draw(logits.expand(len(part), -1), part, settings) for part in uniforms.split(2000)])
    frequency = torch.bincount(tokens, minlength=vocabulary).double() / count
    expected = reference_distribution(logits, settings)
    assert float((frequency - expected).abs().max()) <= 2 / count
    assert not frequency[expected == 0].any()


def test_temperature_zero_takes_the_likeliest_token():
    logits = torch.randn(4, 100)
    assert torch.equal(draw(logits, torch.rand(4).double(), sampling(temperature=0)), logits.argmax(-1))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_rows_do_not_depend_on_one_another(settings):
    logits, uniforms = 2 * torch.randn(6, 500), torch.rand(6).double()
    together = draw(logits, uniforms, settings)
    alone = torch.cat([draw(logits[i : i + 1], uniforms[i : i + 1], settings) for i in range(6)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("extreme", [0.0, 1 - 2**-53])
def test_the_ends_of_the_interval_never_reach_an_impossible_token(extreme):
    logits = torch.full((1, 600), float("-inf"))
    logits[0, [3, 300]] = 0.0
    for settings in SETTINGS:
        assert int(draw(logits, torch.tensor([extreme], dtype=torch.float64), settings)) in (3, 300)


def test_the_repetition_penalty_is_that_of_transformers():
    from transformers import RepetitionPenaltyLogitsProcessor

    logits, prompt = torch.randn(2, 30), torch.tensor([[1, 2, 3], [4, 4, 29]])
    seen = torch.zeros(2, 30, dtype=torch.bool).scatter_(1, prompt, True)
    expected = RepetitionPenaltyLogitsProcessor(1.3)(prompt, logits.clone())
    assert torch.equal(penalize(logits, seen, 1.3), expected)


def test_a_rows_numbers_depend_on_its_seed_and_the_step_alone():
    draws, other = Draws([5, 9, 5], 4), Draws([9], 100)
    assert torch.equal(draws.at([0], 2), draws.at([2], 2))
    assert torch.equal(draws.at([1, 0], 3), torch.cat([other.at([0], 3), draws.at([2], 3)]))
    assert len({float(draws.at([i], step)) for i in (0, 1) for step in range(4)}) == 8
    numbers = np.array([float(Draws([seed], 1).at([0], 0)) for seed in range(500)])
    assert abs(numbers.mean() - 0.5) < 0.05


def test_decimals_of_the_manifest_are_accepted():
    assert int(draw(torch.randn(1, 9), torch.tensor([0.5]).double(), sampling(top_p=Decimal("0.9")))) < 9
