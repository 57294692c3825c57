"""Artifacts and sources from far on this machine: downloaded once, whole or not at all, verified, not more than fits.

A folder is entered by renaming it when it is whole. Who uses one holds a shared lock until its process ends; when room
is needed, the folders that were not used for longest go, unless somebody holds them.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from .errors import storage_errors

log = logging.getLogger(__name__)

LIMIT_VARIABLE = "BORESIGHT_CACHE_BYTES"
DEFAULT_LIMIT = 100 << 30
_DAY = 86_400


def limit_of(environment: Mapping[str, str]) -> int:
    """``$BORESIGHT_CACHE_BYTES``, by default 100 GiB. Raises ValueError."""
    return int(environment.get(LIMIT_VARIABLE) or DEFAULT_LIMIT)


class LocalCache:
    """Folders below ``root``, each under a name that says what is in it for ever."""

    def __init__(self, root: Path, limit: int) -> None:
        """``limit``: bytes of all folders together, as long as those in use leave the choice."""
        self.root = root
        self._limit = limit
        self._held: dict[str, IO[bytes]] = {}

    def folder(
        self, name: str, *, size: Callable[[], int], fill: Callable[[Path], None], check: Callable[[Path], bool]
    ) -> Path:
        """The folder ``name``, held until this process ends: the one that is here if it passes ``check``, else what
        ``fill`` writes (``size`` bytes) into an empty folder."""
        path = self.root / name
        with storage_errors("keep a copy", path):
            self.root.mkdir(parents=True, exist_ok=True)
            with self._locked(name):
                if path.is_dir() and not check(path):
                    log.warning("%s is damaged and loaded again", path)
                    shutil.rmtree(path)
                if not path.is_dir():
                    self._make_room(size())
                    self._enter(path, fill)
                self._hold(name)
        return path

    def _enter(self, path: Path, fill: Callable[[Path], None]) -> None:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        temporary.mkdir()
        try:
            fill(temporary)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One process fills a folder, the others wait for it."""
        with (self.root / f"{name}.filling").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _hold(self, name: str) -> None:
        if name not in self._held:
            file = (self.root / f"{name}.used").open("ab")
            fcntl.flock(file, fcntl.LOCK_SH)
            self._held[name] = file
        os.utime(self.root / f"{name}.used")

    def _make_room(self, size: int) -> None:
        for wreck in self.root.glob(".*"):
            if wreck.stat().st_mtime < time.time() - _DAY:  # of a process that was killed
                shutil.rmtree(wreck, ignore_errors=True)
        folders = [path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith(".")]
        sizes = {path: sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) for path in folders}
        total = sum(sizes.values()) + size
        for path in sorted(folders, key=self._last_use):
            if total <= self._limit:
                return
            if self._evict(path):
                total -= sizes[path]
        if total > self._limit:
            log.warning("%s holds %d bytes in use, above its limit of %d", self.root, total, self._limit)

    def _last_use(self, path: Path) -> float:
        try:
            return path.with_name(f"{path.name}.used").stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _evict(self, path: Path) -> bool:
        """Remove a folder unless somebody fills, checks or uses it."""
        with ExitStack() as locks:
            for kind in ("filling", "used"):
                file = locks.enter_context(path.with_name(f"{path.name}.{kind}").open("ab"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
            gone = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            path.rename(gone)
            shutil.rmtree(gone)
            log.info("%s made room", path)
            return True
