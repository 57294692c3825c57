"""Packages that carry real media. They are heavy, nothing else needs them, and so they are an extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from boresight_api.outcome import FailureClass, StageFailure

EXTRA = "questions"


def needed(module: str) -> Any:
    """``module``. Raises StageFailure(InvalidConfig) if it is not installed, saying what installs it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f"questions about photos and handwritten digits need the package of {module}, which is not installed "
            f"({error}); install boresight[{EXTRA}], or choose other kinds with --kinds",
        ) from error
