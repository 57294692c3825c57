"""Logs: one JSON object a line, with the run and the stage that it is about. No object is ever logged."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from .plain import rfc3339

if TYPE_CHECKING:
    from .views import RunView

MAX_MESSAGE = 4096
"""Characters of a line's message: what a pod or the API server says may be part of it."""


def about(run: RunView, stage: str | None = None) -> dict[str, str]:
    """``extra`` of a log call: which run, and which of its stages."""
    named = {"run": f"{run.namespace}/{run.kind}/{run.name}"}
    return {**named, "stage": stage} if stage else named


class JsonFormatter(logging.Formatter):
    """A line a record: time, level, logger, message, then run, stage and error where there are any."""

    def __init__(self, wall: Callable[[], float]) -> None:
        super().__init__()
        self._wall = wall

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line end."""
        line: dict[str, Any] = {
            "time": rfc3339(self._wall()),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage()[:MAX_MESSAGE],
        }
        line |= {name: value for name in ("run", "stage") if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)[-MAX_MESSAGE:]
        return json.dumps(line, ensure_ascii=False)


def configure(level: str, wall: Callable[[], float], stream: TextIO | None = None) -> None:
    """Everything that logs in this process logs so, to standard error. kopf's remarks begin at WARNING."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(wall))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("kopf", "asyncio", "aiohttp"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
