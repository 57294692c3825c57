"""Models load from safetensors alone, whole, without dropout, in the precision of the device."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from boresight_api.enums import Precision
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.models.attention import PACKED
from boresight_trainer.models.loading import choose_dtype, load_causal_lm
from safetensors.torch import load_file, save_file


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_a_model_is_ready_to_score(tiny_model):
    model = load_causal_lm(tiny_model)
    assert (model.config._attn_implementation, model.training) == (PACKED, False)
    assert {p.dtype for p in model.parameters()} == {torch.float32 if model.device.type == "cpu" else torch.bfloat16}


def test_dropout_is_switched_off(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.1}))
    assert load_causal_lm(folder).config.attention_dropout == 0.0


@pytest.mark.parametrize(
    ("precision", "device", "expected"),
    [
        (Precision.AUTO, "cpu", torch.float32),
        (Precision.FP32, "cpu", torch.float32),
        (Precision.AUTO, "cuda", torch.bfloat16),
        (Precision.BF16, "cuda", torch.bfloat16),
        (Precision.FP32, "cuda", torch.float32),
    ],
)
def test_precision_follows_the_device(precision, device, expected):
    assert choose_dtype(precision, torch.device(device)) is expected


def test_bf16_on_a_cpu_is_refused():
    with pytest.raises(StageFailure, match="found BF16 on a machine without a GPU") as caught:
        choose_dtype(Precision.BF16, torch.device("cpu"))
    assert caught.value.failure is FailureClass.INVALID_CONFIG


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_pickled_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def with_a_weight_missing(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.3.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def with_a_corrupted_file(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)


def with_an_unknown_architecture(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "nothing-we-know"}))


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (without_weights, "does not load"),
        (with_pickled_weights, "pickled weights .* are never read"),
        (with_a_weight_missing, r"1 missing weights \(model.layers.3.mlp.up_proj.weight\)"),
        (with_a_corrupted_file, "does not load"),
        (with_an_unknown_architecture, "does not load"),
    ],
)
def test_a_folder_that_cannot_be_used_is_an_invalid_configuration(folder, damage, found):
    damage(folder)
    with pytest.raises(StageFailure, match=found) as caught:
        load_causal_lm(folder)
    assert caught.value.failure is FailureClass.INVALID_CONFIG
    assert str(folder) in caught.value.message
