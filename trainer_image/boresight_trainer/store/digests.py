"""SHA-256 of files and trees, with bounded memory, remembered by what the file system says about a file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from stat import S_ISREG
from threading import get_ident

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
    """Digests of content, kept per user under what a file system or a bucket says about it without reading it.

    Of a file that is path, inode, size and times. One that was changed within the last two seconds is not remembered:
    it may change again within the clock's resolution.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = (folder or user_cache_folder()) / "digests"

    def digest(self, path: Path) -> str:
        """As :func:`file_digest`, but a file that has not changed is not read again."""
        path = path.resolve()
        stat = path.stat()
        if not S_ISREG(stat.st_mode):  # a pipe would be waited for, a device read without end
            raise OSError(errno.EINVAL, "found no regular file", str(path))
        identity: list[str | int] = [str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        if (known := self.known(identity)) is not None:
            return known
        digest = file_digest(path)
        if max(stat.st_mtime_ns, stat.st_ctime_ns) < time.time_ns() - _RACY_NANOSECONDS:
            self.remember(identity, digest)
        return digest

    def known(self, identity: Sequence[str | int]) -> str | None:
        """The digest that was remembered for ``identity``."""
        try:
            return self._entry(identity).read_text(encoding="ascii")
        except OSError:
            return None  # not remembered, or the cache cannot be read: the content itself can

    def remember(self, identity: Sequence[str | int], digest: str) -> None:
        """Keep ``digest``, if it can be kept. No other content may ever have this identity."""
        entry = self._entry(identity)
        temporary = entry.with_name(f".{entry.name}.{os.getpid()}.{get_ident()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(digest, encoding="ascii")
            temporary.replace(entry)
        except OSError:
            return  # a pod's read-only root has no cache; the digest is right without one

    def _entry(self, identity: Sequence[str | int]) -> Path:
        return self._folder / sha256_hex(json.dumps(identity).encode())


def files_of(folder: Path) -> list[str]:
    """Every file below ``folder``, relative and sorted; names that start with a dot are tools' own and left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


def tree_digest(root: Path, files: Iterable[str], cache: DigestCache) -> str:
    """``sha256:<hex>`` over names and contents of ``files`` below ``root``. Their order does not matter."""
    return digest_of_tree({name: cache.digest(root / name) for name in files})


def digest_of_tree(contents: Mapping[str, str]) -> str:
    """``sha256:<hex>`` over names of files and the digests of their contents, wherever they lie."""
    return "sha256:" + sha256_hex(canonical_json(dict(contents)))


def content_digest(path: Path, files: Iterable[str], cache: DigestCache) -> str:
    """The digest of a source: of a file its content; of a folder the tree of ``files`` (all if none are named).

    A folder that holds one named file has another digest than the file alone, because the name is part of a tree.
    """
    if path.is_file():
        return cache.digest(path)
    return tree_digest(path, tuple(files) or files_of(path), cache)
