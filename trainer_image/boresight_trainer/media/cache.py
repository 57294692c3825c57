"""Decoded media on disk: what was made of which content in which way, until there is no room.

Several processes may share a folder. An entry appears whole, by renaming; it is checked (CRC-32) as it is read, and one
that is damaged is made again. What was not used for longest goes first.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np
from boresight_api.base import canonical_json, sha256_hex
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]

_SUFFIX = ".npz"
_DAMAGE = (BadZipFile, ValueError, EOFError, KeyError, zlib.error)
_ROOM = 0.9
"""How full the folder is after room was made, so that not every entry has to make some."""
_DAY = 86_400


class ArrayCache:
    """Arrays by what they are made of."""

    def __init__(self, folder: Path, limit: int) -> None:
        """``limit``: bytes on disk. Every process that shares ``folder`` may for a moment exceed it by a tenth."""
        self._folder = folder
        self._limit = limit
        self._until_look = 0
        """Bytes that may be written before the folder is looked at again, for others write, too."""

    def arrays(self, content: str, parameters: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """What ``make`` makes, or made earlier, of the content with that digest. ``parameters``, which are JSON, must
        say everything else that the result depends on. Raises what ``make`` raises."""
        entry = self._entry(content, parameters)
        if (kept := _read(entry)) is not None:
            return kept
        made = make()
        try:
            self._write(entry, made)
        except OSError as error:
            log.warning("%s: decoded media cannot be kept (%s) and will be decoded again", self._folder, error)
        return made

    def _entry(self, content: str, parameters: Mapping[str, Any]) -> Path:
        name = sha256_hex(canonical_json({"content": content, "parameters": dict(parameters)}))
        return self._folder / name[:2] / f"{name}{_SUFFIX}"

    def _write(self, entry: Path, arrays: Arrays) -> None:
        size = sum(array.nbytes for array in arrays.values())
        if size > self._limit * (1 - _ROOM):
            return  # it would drive out many others
        entry.parent.mkdir(parents=True, exist_ok=True)
        temporary = entry.with_name(f".{entry.name}.{uuid4().hex}")
        try:
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            self._until_look -= temporary.stat().st_size
            temporary.rename(entry)
        finally:
            temporary.unlink(missing_ok=True)
        if self._until_look < 0:
            self._make_room()
            self._until_look = int(self._limit * (1 - _ROOM))

    def _make_room(self) -> None:
        """Remove what was not used for longest, until the folder is below its limit; one process does it at a time."""
        with (self._folder / "making-room").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for wreck in self._folder.glob("*/.*"):
                if _status(wreck)[0] < time.time() - _DAY:  # of a process that was killed
                    wreck.unlink(missing_ok=True)
            used = sorted((*_status(path), path) for path in self._folder.glob(f"*/*{_SUFFIX}"))
            total = sum(size for _, size, _ in used)
            if total <= self._limit:
                return
            for _, size, path in used:
                path.unlink(missing_ok=True)
                total -= size
                if total <= self._limit * _ROOM:
                    return


def _read(entry: Path) -> Arrays | None:
    """The arrays of an entry, which counts as used now; None if there is none, or a damaged one, which is removed."""
    try:
        with np.load(entry, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s cannot be read (%s); the medium is decoded again", entry, error)
        return None
    except _DAMAGE as error:
        log.warning("%s is damaged (%s) and made again", entry, error)
        entry.unlink(missing_ok=True)
        return None
    with suppress(OSError):  # it may have gone, or be somebody else's: it was read all the same
        os.utime(entry)
    return arrays


def _status(path: Path) -> tuple[float, int]:
    """(time of the last use, bytes); another process may have removed it."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0.0, 0
    return stat.st_mtime, stat.st_size
