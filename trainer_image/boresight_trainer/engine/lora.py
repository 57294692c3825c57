"""Which parameters train: adapters (arXiv 2106.09685) on all linear layers of the chosen decoder layers, or all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from boresight_api.enums import LoRALayers, Tuning
from boresight_api.stages import Training
from peft import LoraConfig, inject_adapter_in_model

from ..models.attention import decoder_of
from ..models.families.family import Family, base_of
from ..models.features import parameters_below

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def adapted_layers(choice: LoRALayers, num_layers: int) -> list[int]:
    """Indices of the decoder layers that carry adapters; the backward pass ends below the lowest of them."""
    share = {LoRALayers.ALL: 1, LoRALayers.UPPER_HALF: 2, LoRALayers.UPPER_THIRD: 3}[choice]
    return list(range(num_layers - -(-num_layers // share), num_layers))


def prepare_parameters(
    model: PreTrainedModel,
    training: Training,
    seed: int,
    *,
    family: Family | None = None,
    train_towers: bool = False,
) -> PreTrainedModel:
    """Leave exactly the parameters trainable that ``training`` says, with adapters initialised from ``seed``.

    Adapters sit in the language model. Full training leaves the towers of a multimodal model's ``family`` alone unless
    ``train_towers`` says otherwise.

    At initialisation an adapter's update is exactly zero, so the model still scores as the reference does.
    """
    if training.tuning is Tuning.FULL:
        model.requires_grad_(True)
        if family is not None:
            frozen = family.untrained if train_towers else [name for t in family.towers for name in t.modules]
            for _, parameter in parameters_below(base_of(model), frozen):
                parameter.requires_grad_(False)
        return _masters(model)
    lora = training.lora
    assert lora is not None, "the contract requires lora settings with tuning LoRA"
    model.requires_grad_(False)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=_linear_layers(model, lora.layers),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    return _masters(model)


def _masters(model: PreTrainedModel) -> PreTrainedModel:
    """FP32 for everything that trains: at usual rates an update is smaller than BF16 can add to a weight."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _linear_layers(model: PreTrainedModel, choice: LoRALayers) -> list[str]:
    """Full names of the linear modules inside the chosen layers of the language model; its head is not among them."""
    decoder = decoder_of(model)
    within = next(name for name, module in model.named_modules() if module is decoder)
    chosen = set(adapted_layers(choice, decoder.config.num_hidden_layers))
    names = []
    for name, module in decoder.named_modules():
        _, _, inside = name.partition("layers.")
        if isinstance(module, torch.nn.Linear) and inside and int(inside.split(".")[0]) in chosen:
            names.append(f"{within}.{name}")
    return names
