"""Rows that do not fit are named and counted, never cut."""

from __future__ import annotations

import pytest
from boresight_api.enums import LoRALayers
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import LoRA
from boresight_trainer.engine import memory
from boresight_trainer.engine.lora import prepare_parameters
from boresight_trainer.models.batch import Sample
from boresight_trainer.recipes.training import conversation_length, keep_fitting
from builders_training import a_llama, a_training


def a_sample(name: str, prompt: int, response: int) -> Sample:
    return Sample.of_response(name, [1] * prompt, [2] * response)


def fitting(samples: list[Sample], percent: float = 0, invalid_before: int = 0) -> list[str]:
    kept = keep_fitting(samples, max_length=20, max_invalid_percent=percent, invalid_before=invalid_before)
    return [sample.id for sample in kept]


def test_a_conversation_is_as_long_as_its_longest_branch() -> None:
    assert conversation_length(Sample.of_pair("a", [1] * 10, [2] * 5, [3] * 7)) == 17
    assert conversation_length(a_sample("b", 4, 3)) == 7


def test_a_row_longer_than_the_limit_stops_the_stage_and_is_named() -> None:
    with pytest.raises(StageFailure, match=r"row long: found 21 tokens, expected at most 20; 1 of 2 rows") as caught:
        fitting([a_sample("short", 10, 10), a_sample("long", 11, 10)])
    assert caught.value.failure is FailureClass.INVALID_DATA


@pytest.mark.parametrize(("invalid_before", "kept"), [(0, True), (1, False)])
def test_long_rows_count_together_with_rows_that_were_invalid_before(invalid_before: int, kept: bool) -> None:
    samples = [a_sample(f"row-{i}", 3, 3) for i in range(49)] + [a_sample("long", 30, 3)]
    if kept:
        assert len(fitting(samples, percent=2, invalid_before=invalid_before)) == 49
    else:
        with pytest.raises(StageFailure, match="1 of 51 rows are too long"):
            fitting(samples, percent=2, invalid_before=invalid_before)


def test_nothing_to_train_on_is_an_error_even_if_every_row_may_be_invalid() -> None:
    with pytest.raises(StageFailure, match="rows are too long"):
        fitting([a_sample("long", 30, 3)], percent=100)
    with pytest.raises(StageFailure, match="found no row to train on"):
        fitting([], percent=100)


def test_the_memory_plan_grows_with_the_budget_and_a_budget_is_chosen_that_fits() -> None:
    shape = memory.shape_of(prepare_parameters(a_llama(), a_training(), seed=1))
    assert shape.layers == 3
    assert 0 < shape.trainable < shape.parameters
    small, large = (memory.plan_memory(shape, budget, compute_bytes=4) for budget in (256, 1024))
    assert large.activations == 4 * small.activations
    assert large.parameters == small.parameters

    def chosen(available: int, longest: int = 100) -> int:
        return memory.choose_token_budget(shape, available, longest, compute_bytes=4, largest=2048)

    assert chosen(1 << 40) == 2048
    budget = chosen(2 * memory.plan_memory(shape, 512, compute_bytes=4).total)
    assert 256 <= budget < 2048
    assert chosen(1, longest=700) == 700


def test_the_lowest_trained_layer_decides_how_many_keep_activations() -> None:
    training = a_training(lora=LoRA(rank=4, alpha=8, layers=LoRALayers.UPPER_THIRD))
    assert memory.shape_of(prepare_parameters(a_llama(), training, seed=1)).layers == 1
