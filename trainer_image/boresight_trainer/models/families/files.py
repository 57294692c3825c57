"""The files of a model's folder that say how its media are prepared, in the layouts that transformers has written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boresight_api.outcome import FailureClass, StageFailure

_ALONE: Mapping[str, tuple[str, ...]] = {
    "image_processor": ("preprocessor_config.json",),
    "feature_extractor": ("preprocessor_config.json",),
    "video_processor": ("video_preprocessor_config.json", "preprocessor_config.json"),
}
"""Files that hold a part alone. ``processor_config.json`` of transformers 5 holds them all; a part in it goes first."""


@dataclass(frozen=True)
class ModelFiles:
    """``config.json`` of a model and the settings of its processor's parts."""

    config: Mapping[str, Any]
    processors: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> ModelFiles:
        """Raises :class:`StageFailure` (InvalidConfig) if the folder has no readable ``config.json``."""
        config = _read(folder / "config.json")
        if config is None:
            raise StageFailure(FailureClass.INVALID_CONFIG, f"model {folder}: found no config.json, expected one")
        together = _read(folder / "processor_config.json") or {}
        parts = {}
        for name, files in _ALONE.items():
            found = together.get(name) or next(filter(None, (_read(folder / file) for file in files)), None)
            if found is not None:
                parts[name] = found
        return cls(config, parts)

    def part(self, name: str) -> Mapping[str, Any]:
        """The settings of one part of the processor. Raises :class:`StageFailure` (InvalidConfig) if there are none."""
        if name not in self.processors:
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"model: found no settings of its {name}, expected processor_config.json or {_ALONE[name][0]} in its "
                "folder; make them with transformers: AutoProcessor.from_pretrained(MODEL).save_pretrained(FOLDER)",
            )
        return self.processors[name]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StageFailure(FailureClass.INVALID_CONFIG, f"{path}: found no valid JSON ({error})") from error
    return document if isinstance(document, dict) else None
