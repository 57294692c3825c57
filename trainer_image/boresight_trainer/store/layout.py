"""Where things lie in a store. One place, so that `gc`, `du` and the operator agree with the trainer.

artifacts/<key>/             finished artifacts; manifest.json inside is written last. In a bucket, where nothing can be
                             renamed, the files lie one folder deeper, <16 digits that they decide>/, so that of two
                             publishers of one key neither writes over the other's
staging/<key, cut>-<random>/ what a stage is writing; renamed to artifacts/<key> when whole (of a bucket: a folder of
                             the machine that writes, in the user's cache)
checkpoints/<key>/<run UID, 8 letters>-<attempt>/
cache/<name>/                what can be computed again
tags/<name>.json             a name for a key
logs/<run UID>/<stage>-<attempt>-<rank>.log  what a pod wrote; of the pod that merges parts the rank is `merge`
refs/<cluster>/<namespace>/<run UID>.json   which keys a run needs; gc keeps what refs reach
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from boresight_api.base import KEY_PATTERN
from boresight_api.outcome import FailureClass, StageFailure

ARTIFACTS = "artifacts"
STAGING = "staging"
CHECKPOINTS = "checkpoints"
CACHE = "cache"
TAGS = "tags"
REFS = "refs"
LOGS = "logs"

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")


def file_path(uri: str, base: Path | None = None) -> Path:
    """The path that ``file:///absolute`` names, or ``file:relative`` below ``base``; ``%20`` and the like are decoded.

    Raises :class:`StageFailure` (InvalidConfig) for any other scheme, and for a relative path without a base.
    """
    if uri.startswith("file:///"):
        return Path(unquote(uri.removeprefix("file://")))
    relative = uri.removeprefix("file:")
    if relative == uri or not relative or relative.startswith("/"):
        raise StageFailure(FailureClass.INVALID_CONFIG, f'found "{uri}", expected file:///absolute/path')
    if base is None:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f'found the relative "{uri}", expected file:///absolute/path; only the command line, which knows the '
            "manifest's folder, takes relative ones",
        )
    return base / unquote(relative)


def is_key(text: str) -> bool:
    """Whether ``text`` is a stage's key, and so safe as the name of a folder."""
    return re.match(KEY_PATTERN, text) is not None


def checked_key(text: str) -> str:
    """``text`` if it is a key. Raises :class:`StageFailure` (InvalidConfig)."""
    if not is_key(text):
        raise StageFailure(FailureClass.INVALID_CONFIG, f'found "{text}", expected a key: 64 hexadecimal digits')
    return text


def checked_name(text: str, what: str) -> str:
    """``text`` if it is safe as one part of a path. Raises :class:`StageFailure` (InvalidConfig)."""
    if not _NAME.match(text):
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f'{what}: found "{text}", expected letters, digits, ".", "_" and "-", starting with a letter or digit',
        )
    return text


def log_name(run: str, stage: str, attempt: int, rank: str) -> str:
    """Where the log of one process of an attempt is kept. ``rank``: a number, or ``merge``."""
    name = checked_name(f"{stage}-{attempt}-{rank}.log", "log")
    return f"{LOGS}/{checked_name(run, 'run UID')}/{name}"
