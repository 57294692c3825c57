"""Checkpoints of an attempt: written to a folder of this machine, kept in the store.

What has its name in the folder is whole (a checkpoint ``step-<n>/``, a batch ``<name>.jsonl``): both are renamed there.
A thread carries it to the store while the stage goes on, and the end of the attempt waits for what is on its way. What
the stage removes from its folder goes from the store, too, but only after what came later is there. The processes that
share an attempt see each other's batches.
"""

from __future__ import annotations

import logging
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from boresight_api.outcome import StageFailure

from ..base import StoredFile
from ..digests import file_digest
from ..layout import CHECKPOINTS
from .bucket import Bucket
from .transfer import download, upload

log = logging.getLogger(__name__)

STATE = "state.json"
"""Written last: a checkpoint without it is not there."""
POLL_SECONDS = 1.0


class Mirror:
    """One attempt's folder and its place in the store."""

    def __init__(self, bucket: Bucket, name: str, folder: Path, *, shared: bool) -> None:
        """``name``: of the attempt's folder in the store. ``shared``: other processes write there, too."""
        self._bucket = bucket
        self._name = name
        self._folder = folder
        self._shared = shared
        self._kept: dict[str, tuple[int, int]] = {}
        self._foreign: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def start(self) -> None:
        """What the store has of this attempt is in the folder afterwards; from then on both are kept alike."""
        self._fetch()
        self._thread.start()

    def stop(self) -> None:
        """Let what is on its way arrive, and nothing more."""
        self._stopped.set()
        self._thread.join()

    def keep(self) -> None:
        """Carry everything that is whole to the store. Raises :class:`StageFailure`."""
        entries = {path.name: path for path in _whole(self._folder)}
        for name, path in entries.items():
            identity = _identity(path)
            if name not in self._foreign and self._kept.get(name) != identity and self._send(path):
                self._kept[name] = identity
        for name in self._kept.keys() - entries.keys():
            self._bucket.remove(_last(STATE, self._below(name)))
            del self._kept[name]

    def _run(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            try:
                self.keep()
                if self._shared:
                    self._fetch()
            except StageFailure as failure:  # the stage goes on; what the store lacks, the end brings or misses
                log.warning("checkpoints wait for the store: %s", failure.message)

    def _send(self, path: Path) -> bool:
        """False if the stage removed it meanwhile: a later one is there."""
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        names = {f"{self._name}/{p.relative_to(self._folder).as_posix()}": p for p in files}
        try:
            for name in _first(STATE, names):
                size = names[name].stat().st_size
                upload(self._bucket, names[name], name, size=size, digest=file_digest(names[name]))
        except (FileNotFoundError, StageFailure):
            if path.exists():
                raise
            self._bucket.remove(self._below(path.name))
            return False
        return True

    def _below(self, entry: str) -> list[str]:
        """Names in the store of an entry: a file, or a folder's files."""
        return [f"{self._name}/{entry}", *(file.name for file in self._bucket.files(f"{self._name}/{entry}"))]

    def _fetch(self) -> None:
        """Batches that others made, or that this attempt made before its process started again."""
        for file in self._bucket.files(self._name):
            name = file.name.removeprefix(f"{self._name}/")
            known = name in self._kept or (self._folder / name).exists()
            if "/" not in name and not known and fetch(self._bucket, file, self._folder / name):
                self._foreign.add(name)


def fetch_previous(bucket: Bucket, key: str, own: str, folder: Path) -> tuple[Path, ...]:
    """What earlier attempts at ``key`` kept: all batches, and the newest checkpoint that arrives whole.

    Written below ``folder``, one folder an attempt; returned newest first. ``own``: this attempt, for its checkpoints.
    """
    root = f"{CHECKPOINTS}/{key}"
    files = list(bucket.files(root))
    for checkpoint in _checkpoints(file.name for file in files):
        wanted = [file for file in files if file.name.startswith(checkpoint)]
        if all(fetch(bucket, file, folder / file.name.removeprefix(f"{root}/")) for file in wanted):
            break
        shutil.rmtree(folder / checkpoint.removeprefix(f"{root}/"), ignore_errors=True)
    newest: dict[str, float] = {}
    for file in files:
        attempt, _, rest = file.name.removeprefix(f"{root}/").partition("/")
        newest[attempt] = max(newest.get(attempt, 0.0), file.modified)
        if "/" not in rest and attempt != own:
            fetch(bucket, file, folder / attempt / rest)
    found = sorted(newest, key=newest.__getitem__, reverse=True)
    return tuple(folder / attempt for attempt in found if (folder / attempt).is_dir())


def fetch(bucket: Bucket, file: StoredFile, path: Path) -> bool:
    """Load a checkpoint's file, whole; False (and a warning) if it is not what was kept, or gone."""
    look = bucket.look(file.name)
    if look is None:
        return False
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    wrong = download(bucket, file.name, temporary, size=look.size, digest=look.digest or "a digest")
    if wrong is None:
        temporary.replace(path)
        return True
    log.warning("%s is damaged and passed over: found %s, expected %s", file.name, wrong, look.digest)
    temporary.unlink(missing_ok=True)
    return False


def _checkpoints(names: Iterable[str]) -> list[str]:
    """``.../step-<n>/`` of every whole checkpoint, most steps first."""
    found = {name.removesuffix(STATE) for name in names if name.endswith(f"/{STATE}") and "/step-" in name}
    return sorted(found, key=lambda name: name.rsplit("/", 2)[1], reverse=True)


def _whole(folder: Path) -> Iterator[Path]:
    """Oldest first, so that the store never lacks the newest for having the older removed."""
    if folder.is_dir():
        found = [path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".tmp"]
        yield from sorted(found, key=lambda path: path.name)


def _identity(path: Path) -> tuple[int, int]:
    with suppress(FileNotFoundError):
        stat = path.stat()
        return stat.st_ino, stat.st_mtime_ns
    return 0, 0


def _first(last: str, names: Iterable[str]) -> list[str]:
    """``names`` with the one that ends with ``last`` at the end."""
    return sorted(names, key=lambda name: (name.endswith(f"/{last}"), name))


def _last(first: str, names: Iterable[str]) -> list[str]:
    """``names`` with the one that ends with ``first`` at the beginning."""
    return sorted(names, key=lambda name: (not name.endswith(f"/{first}"), name))
