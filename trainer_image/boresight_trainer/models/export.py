"""A trained model as an artifact that loads as it is: weights, tokenizer, chat template, generation settings.

Adapters are merged in FP32 and cast once. Before anything is published the folder is loaded again, and its
log-probabilities are compared with those of the model that was trained.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from boresight_api.enums import ExportForm, Precision
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import Input, ModelInput
from torch import Tensor, nn

from ..data.records import Message
from .attention import plain_attention
from .chat import ChatTokenizer, own_template
from .families.family import Family, base_of
from .features import tower_features
from .loading import ADAPTER_BASE, load_causal_lm

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer
    from transformers import PreTrainedModel

EXACT = 1e-4
"""Largest difference of a token's log-probability after an FP32 export, in nats."""

ROUNDED_MEAN, ROUNDED_MAX = 0.1, 1.0
"""Mean and largest difference where BF16 rounds (8 bits of mantissa). SmolLM2-135M exported in BF16 differs by 0.02 on
average and 0.09 at most; a weight that is missing, transposed or not merged moves the mean by far more."""

ROUNDED_TOWER = 0.2
"""Largest difference of a tower's features where BF16 rounds, relative to their norm (or the share of other tokens)."""

_COPIED = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "additional_chat_templates/*",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.py",
)
"""What a model's folder holds beside its weights; tokenizer and processor are copied, never written anew, so they stay
the same."""

_PROBES = (
    ("Name three colours of the rainbow.", "Red, green and violet are three of its colours."),
    ("What is 17 + 25? Answer with the number only.", "42"),
    ("Write one sentence about the sea.", "The sea was quiet that morning, and nobody on the pier spoke a word."),
)


def export_model(
    model: PreTrainedModel,
    base_folder: Path,
    output: Path,
    *,
    base: ModelInput,
    resolve: Callable[[Input], Path],
    chat: ChatTokenizer,
    form: ExportForm,
    precision: Precision,
) -> None:
    """Write ``model``, which was loaded from ``base_folder`` (where ``resolve`` finds ``base``), into ``output``.

    ``chat`` is the template and system prompt it was trained with. Form Adapter needs adapters in ``model``. Raises
    :class:`StageFailure` (Error) if the folder, loaded again, does not score as ``model`` does.
    """
    output.mkdir(parents=True, exist_ok=True)
    if form is ExportForm.ADAPTER:
        _write_adapter(model, base, output)
    else:
        dtype = torch.float32 if precision is Precision.FP32 else torch.bfloat16
        model.save_pretrained(output, state_dict=merged_state(model, dtype))
    _copy_settings(base_folder, output)
    if form is ExportForm.MERGED:
        _edit_json(output / "config.json", {"dtype": "float32" if precision is Precision.FP32 else "bfloat16"})
    _write_chat(base_folder, output, chat)
    for file in output.iterdir():
        if file.is_file():
            file.chmod(0o644)  # safetensors writes for the owner alone; a store has other readers
    exact = model.dtype == torch.float32 and (form is ExportForm.ADAPTER or precision is Precision.FP32)
    precision = Precision.FP32 if model.dtype == torch.float32 else Precision.AUTO
    exported = load_causal_lm(
        output, precision=precision, trust_remote_code=base.trust_remote_code, attention="sdpa", resolve=resolve
    )
    _compare(model, exported, chat, ChatTokenizer.from_folder(output), exact=exact)
    if chat.family is not None:
        _compare_towers(model, exported, chat.family, exact=exact)


def merged_state(model: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Parameters and buffers of ``model`` with its adapters merged in FP32, cast to ``dtype``, on the CPU.

    Names are those of the model without adapters; tied weights stay one tensor.
    """
    from peft.tuners.lora import LoraLayer

    adapted = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    state: dict[str, Tensor] = {}
    cast: dict[tuple[int, tuple[int, ...]], Tensor] = {}
    for name, tensor in model.state_dict().items():
        if any(part.startswith("lora_") for part in name.split(".")):
            continue
        layer, is_adapted, field = name.rpartition(".base_layer.")
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if key not in cast:
            merged = tensor.float() + _update(adapted[layer]) if is_adapted and field == "weight" else tensor
            cast[key] = merged.to("cpu", dtype if merged.is_floating_point() else merged.dtype).contiguous()
        state[f"{layer}.{field}" if is_adapted else name] = cast[key]
    return state


def _update(layer: LoraLayer) -> Tensor:
    """What the adapter adds to the weight of a linear layer, in FP32 whatever it was trained in."""
    (name,) = layer.active_adapters
    product: Tensor = layer.lora_B[name].weight.float() @ layer.lora_A[name].weight.float()
    return float(layer.scaling[name]) * product


def _write_adapter(model: PreTrainedModel, base: ModelInput, output: Path) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    if not hasattr(model, "peft_config"):
        raise StageFailure(
            FailureClass.INVALID_CONFIG, "export: found Adapter with tuning Full, expected Merged: there is no adapter"
        )
    config = model.peft_config["default"].to_dict()
    config["base_model_name_or_path"] = base.uri.removeprefix("hf://")
    config["inference_mode"] = True
    config = {name: sorted(value) if isinstance(value, set) else value for name, value in config.items()}
    (output / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True), encoding="utf-8")
    state = {f"base_model.model.{name}": t.cpu().contiguous() for name, t in get_peft_model_state_dict(model).items()}
    save_file(state, output / "adapter_model.safetensors", metadata={"format": "pt"})
    identity = base.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(Input.model_fields))
    (output / ADAPTER_BASE).write_text(json.dumps(identity, indent=1), encoding="utf-8")


def _copy_settings(base_folder: Path, output: Path) -> None:
    for pattern in _COPIED:
        for source in base_folder.glob(pattern):
            target = output / source.relative_to(base_folder)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)


def _write_chat(base_folder: Path, output: Path, chat: ChatTokenizer) -> None:
    """The template that was trained with, and every id that ends a turn, where transformers and vLLM look for them."""
    template = chat.template
    if chat.system_prompt is not None:
        template = _with_system_prompt(template, chat.system_prompt)
    if template != own_template(base_folder):
        (output / "chat_template.jinja").write_text(template, encoding="utf-8")
        _edit_json(output / "tokenizer_config.json", {"chat_template": None})
    eos = sorted(chat.terminators)
    _edit_json(output / "generation_config.json", {"eos_token_id": eos if len(eos) > 1 else eos[0]})


def _with_system_prompt(template: str, system_prompt: str) -> str:
    """``template`` with a system message put before conversations that have none."""
    message = json.dumps({"role": "system", "content": system_prompt}, ensure_ascii=False)
    before = f"{{% if messages[0]['role'] != 'system' %}}{{% set messages = [{message}] + messages %}}{{% endif %}}"
    return before + template


def _edit_json(path: Path, changes: dict[str, Any]) -> None:
    """Set the given fields; None removes one."""
    document = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    document = {name: value for name, value in {**document, **changes}.items() if value is not None}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")


def _compare(
    model: PreTrainedModel,
    exported: PreTrainedModel,
    chat: ChatTokenizer,
    exported_chat: ChatTokenizer,
    *,
    exact: bool,
) -> None:
    """Raise unless the exported model and chat score a few conversations as those that were trained."""
    differences = []
    for prompt, response in _PROBES:
        prompt_ids, response_ids = chat.conversation_ids([Message("user", prompt)], response)
        if exported_chat.conversation_ids([Message("user", prompt)], response) != (prompt_ids, response_ids):
            raise _not_equal("gives other token ids for the same conversation")
        ids = [*prompt_ids, *response_ids]
        with plain_attention(model):
            trained = _logprobs(model, ids)
        differences.append((trained - _logprobs(exported, ids)).abs())
    difference = torch.cat(differences)
    mean, largest = float(difference.mean()), float(difference.max())
    within = largest <= EXACT if exact else mean <= ROUNDED_MEAN and largest <= ROUNDED_MAX
    if not within:  # NaN is not within
        bound = f"at most {EXACT:g}" if exact else f"a mean of at most {ROUNDED_MEAN:g} and at most {ROUNDED_MAX:g}"
        raise _not_equal(f"differs by {mean:.2g} on average and {largest:.2g} at most a token, expected {bound}")


@torch.inference_mode()
def _compare_towers(model: PreTrainedModel, exported: PreTrainedModel, family: Family, *, exact: bool) -> None:
    """Raise unless every tower of the exported model makes of a small input what it made of it in training."""
    for tower in family.towers:
        inputs = {
            name: np.linspace(-1, 1, array.size, dtype=array.dtype).reshape(array.shape)
            if np.issubdtype(array.dtype, np.floating)
            else array
            for name, array in tower.smallest().items()
        }
        trained, loaded = (tower_features(base_of(m), tower, [inputs])[0].cpu() for m in (model, exported))
        if trained.is_floating_point():
            difference = float((loaded.float() - trained.float()).norm() / trained.float().norm())
        else:
            difference = float((loaded != trained).float().mean())
        limit = EXACT if exact else ROUNDED_TOWER
        if not difference <= limit:
            raise _not_equal(
                f"gives other features in {tower.modules[0]} by {difference:.2g}, expected at most {limit:g}"
            )


@torch.inference_mode()
def _logprobs(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """``[len(ids) - 1]`` FP32 log-probability of each token after the first."""
    tokens = torch.tensor([ids], device=model.device)
    logits: Tensor = model(tokens, use_cache=False).logits[0, :-1].float()
    return logits.log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0].cpu()


def _not_equal(problem: str) -> StageFailure:
    return StageFailure(
        FailureClass.ERROR,
        f"export: the exported model, loaded again, {problem}; nothing was published. Please report this model family",
    )
