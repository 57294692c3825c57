"""SHA-256 of files and trees, with bounded memory, remembered by what the file system says about a file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISREG

from boresight_api.base import canonical_json, sha256_hex

_RACY_NANOSECONDS = 2_000_000_000


def user_cache_folder() -> Path:
    """Where this user's caches lie: ``$XDG_CACHE_HOME/boresight``, by default ``~/.cache/boresight``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "boresight"


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of a file's content. Raises OSError."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


class DigestCache:
    """Digests of files, kept per user and valid as long as path, inode, size and times stay the same.

    A file changed within the last two seconds is not remembered: it may change again within the clock's resolution.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = (folder or user_cache_folder()) / "digests"

    def digest(self, path: Path) -> str:
        """As :func:`file_digest`, but a file that has not changed is not read again."""
        path = path.resolve()
        stat = path.stat()
        if not S_ISREG(stat.st_mode):  # a pipe would be waited for, a device read without end
            raise OSError(errno.EINVAL, "found no regular file", str(path))
        identity = [str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        entry = self._folder / sha256_hex(json.dumps(identity).encode())
        try:
            return entry.read_text(encoding="ascii")
        except OSError:
            pass  # not remembered, or the cache cannot be read: the file itself can
        digest = file_digest(path)
        if max(stat.st_mtime_ns, stat.st_ctime_ns) < time.time_ns() - _RACY_NANOSECONDS:
            self._remember(entry, digest)
        return digest

    def _remember(self, entry: Path, digest: str) -> None:
        temporary = entry.with_name(f".{entry.name}.{os.getpid()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(digest, encoding="ascii")
            temporary.replace(entry)
        except OSError:
            return  # a pod's read-only root has no cache; the digest is right without one


def files_of(folder: Path) -> list[str]:
    """Every file below ``folder``, relative and sorted; names that start with a dot are tools' own and left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


def tree_digest(root: Path, files: Iterable[str], cache: DigestCache) -> str:
    """``sha256:<hex>`` over names and contents of ``files`` below ``root``. Their order does not matter."""
    contents = {name: cache.digest(root / name) for name in files}
    return "sha256:" + sha256_hex(canonical_json(contents))


def content_digest(path: Path, files: Iterable[str], cache: DigestCache) -> str:
    """The digest of a source: of a file its content; of a folder the tree of ``files`` (all if none are named).

    A folder that holds one named file has another digest than the file alone, because the name is part of a tree.
    """
    if path.is_file():
        return cache.digest(path)
    return tree_digest(path, tuple(files) or files_of(path), cache)
