"""Models that generate text, from a folder: safetensors only, no hub, no dropout, the attention the caller names."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from boresight_api.enums import Precision, TrustRemoteCode
from boresight_api.outcome import FailureClass, StageFailure
from boresight_api.stages import Input

from .attention import PACKED, decoder_of
from .families.registry import family_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

log = logging.getLogger(__name__)

_TOWER_ATTENTION = "sdpa"

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_BASE = "base.json"
"""In an artifact that holds an adapter: the model input that it adapts."""


def choose_device() -> torch.device:
    """This process's GPU if there is one, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The compute type: Auto is BF16 on a GPU and FP32 on a CPU.

    Raises :class:`StageFailure` (InvalidConfig) for BF16 on a CPU, where its products are some 200 times slower.
    """
    if device.type == "cpu":
        if precision is Precision.BF16:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                "precision: found BF16 on a machine without a GPU, expected Auto or FP32; BF16 is about 200 times "
                "slower than FP32 on a CPU",
            )
        return torch.float32
    return torch.float32 if precision is Precision.FP32 else torch.bfloat16


def load_causal_lm(
    path: Path,
    *,
    precision: Precision = Precision.AUTO,
    trust_remote_code: TrustRemoteCode = TrustRemoteCode.NEVER,
    attention: str = PACKED,
    resolve: Callable[[Input], Path] | None = None,
) -> PreTrainedModel:
    """The model in ``path``, on this process's device, in evaluation mode; with its towers if it is multimodal.

    ``attention`` is that of its language model; towers keep transformers' own.
    ``resolve`` finds the base of an artifact that holds an adapter; the adapter is merged in FP32. Raises
    :class:`StageFailure`: InvalidConfig if the folder holds no model that can be used, MissingInput if the base of an
    adapter cannot be found.
    """
    device = choose_device()
    dtype = choose_dtype(precision, device)
    base, adapters = _base_and_adapters(path, resolve)
    model = _from_folder(base, torch.float32 if adapters else dtype, trust_remote_code, attention)
    for adapter in adapters:
        model = _merged(model, adapter)
    return model.to(device=device, dtype=dtype).eval()


def load_config(
    path: Path, *, trust_remote_code: TrustRemoteCode, resolve: Callable[[Input], Path] | None = None
) -> PreTrainedConfig:
    """The configuration of the model that :func:`load_causal_lm` would load; no weights are read. Raises as it does."""
    from transformers import AutoConfig

    base, _ = _base_and_adapters(path, resolve)
    trusted = trust_remote_code is TrustRemoteCode.ALWAYS
    try:
        return AutoConfig.from_pretrained(base, trust_remote_code=trusted, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise StageFailure(
            FailureClass.INVALID_CONFIG, f"model {base}: its configuration does not load ({error})"
        ) from error


def _base_and_adapters(path: Path, resolve: Callable[[Input], Path] | None) -> tuple[Path, list[Path]]:
    """The folder with whole weights, and the adapters to merge into it, in order."""
    adapters: list[Path] = []
    while (path / ADAPTER_CONFIG).is_file():  # an adapter may have been trained on a model that was published as one
        adapters.insert(0, path)
        path = _adapter_base(path, resolve)
    return path, adapters


def _from_folder(path: Path, dtype: torch.dtype, trust_remote_code: TrustRemoteCode, attention: str) -> PreTrainedModel:
    import transformers
    from safetensors import SafetensorError
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    trusted = {"trust_remote_code": trust_remote_code is TrustRemoteCode.ALWAYS, "local_files_only": True}
    family = family_of(path) if (path / "config.json").is_file() else None
    kind = transformers.AutoModelForCausalLM if family is None else family.model_class()
    try:
        config = transformers.AutoConfig.from_pretrained(path, **trusted)
        _without_dropout(config)
        model, report = kind.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            attn_implementation=attention if family is None else _TOWER_ATTENTION,
            use_safetensors=True,
            output_loading_info=True,
            **trusted,
        )
    except (OSError, ValueError, ImportError, KeyError, SafetensorError) as error:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f"model {path}: does not load ({error}). Expected a Hugging Face folder of a model that generates text, "
            "with safetensors weights; pickled weights (pytorch_model.bin) are never read, convert them",
        ) from error
    _check_complete(path, report)
    if family is not None:
        decoder_of(model).set_attn_implementation(attention)
    return cast("PreTrainedModel", model)


def _without_dropout(config: PreTrainedConfig) -> None:
    """Scores under dropout are noise: the ratio to the reference would not be 1 at step 0."""
    from transformers import PreTrainedConfig

    for name, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):
            _without_dropout(value)
        elif ("dropout" in name or name.endswith(("_pdrop", "layerdrop"))) and isinstance(value, float):
            setattr(config, name, 0.0)


def _check_complete(path: Path, report: dict[str, Any]) -> None:
    """transformers fills missing weights with random numbers and warns; a stage must not start from them."""
    missing, mismatched = sorted(report["missing_keys"]), sorted(map(str, report["mismatched_keys"]))
    if missing or mismatched:
        found = (
            f"{len(missing)} missing weights ({', '.join(missing[:3])})" if missing else f"wrong shape {mismatched[0]}"
        )
        raise StageFailure(
            FailureClass.INVALID_CONFIG, f"model {path}: found {found}, expected all; the folder is incomplete"
        )
    if report["unexpected_keys"]:
        log.warning("model %s: %d weights are not used by the model", path, len(report["unexpected_keys"]))


def _adapter_base(path: Path, resolve: Callable[[Input], Path] | None) -> Path:
    file = path / ADAPTER_BASE
    if resolve is None or not file.is_file():
        raise StageFailure(
            FailureClass.MISSING_INPUT,
            f"model {path}: holds an adapter, and {ADAPTER_BASE} does not lead to its base here; "
            "publish the model with export: Merged",
        )
    return resolve(Input.model_validate(json.loads(file.read_text(encoding="utf-8"))))


def _merged(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(adapter), local_files_only=True).merge_and_unload()
