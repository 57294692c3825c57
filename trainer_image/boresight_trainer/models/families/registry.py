"""Which family a model's folder belongs to: ours by name, then those of other packages by entry point."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from boresight_api.outcome import FailureClass, StageFailure

from .family import Family
from .files import ModelFiles

GROUP = "boresight.families"
"""Entry points of other packages: the name is a ``model_type`` of config.json, the object a :class:`Family`."""

_FAMILIES = {
    "chameleon": "chameleon:Chameleon",
    "llava": "llava:Llava",
    "llava_next": "llava_next:LlavaNext",
    "qwen2_5_omni_thinker": "qwen2_5_omni:Qwen25Omni",
    "qwen2_5_vl": "qwen2_vl:Qwen25VL",
    "qwen2_audio": "qwen2_audio:Qwen2Audio",
    "qwen2_vl": "qwen2_vl:Qwen2VL",
}
"""``model_type`` to module and class in this folder; a module is imported when a model needs it."""

_TOWER_CONFIGS = frozenset({"audio_config", "thinker_config", "vision_config", "vq_config"})
"""What the configuration of a model has only if there is more in it than a language model."""


def family_of(folder: Path) -> Family | None:
    """The family of the model in ``folder``; None for a model of text alone.

    Raises :class:`StageFailure` (InvalidConfig) for a model with towers that no family knows, or with a processor that
    its family does not implement.
    """
    files = ModelFiles.read(folder)
    model_type = str(files.config.get("model_type"))
    kind = _find(model_type)
    if kind is not None:
        return kind(files)
    towers = sorted(
        key for key in files.config if key in ("vision_config", "audio_config", "vq_config", "thinker_config")
    )
    if towers:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f'model {folder}: found model_type "{model_type}" with {", ".join(towers)}, expected one of '
            f'{", ".join(sorted(_FAMILIES))}; a package adds others by the entry point group "{GROUP}"',
        )
    return None


def _find(model_type: str) -> type[Family] | None:
    if model_type in _FAMILIES:
        module, _, name = _FAMILIES[model_type].partition(":")
        kind: type[Family] = getattr(import_module(f".{module}", __package__), name)
        return kind
    for point in entry_points(group=GROUP, name=model_type):
        loaded: type[Family] = point.load()
        return loaded
    return None
