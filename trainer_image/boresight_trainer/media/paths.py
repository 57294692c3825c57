"""Where a medium lies that a row names by a path: below the source, among what the source's digest covers.

Nothing else is ever opened: rows come from strangers, and what is not covered by the digest could change without
anybody noticing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .archives import SUFFIXES, is_archive
from .errors import MediaError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BESIDE = "put the file beside the data, and name it relative to that"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive. Of ``names`` the first that is there is meant."""

    archive: Path
    names: tuple[str, ...]


class SourcePaths:
    """The paths of one source."""

    def __init__(self, root: Path, pinned: Sequence[str] = ()) -> None:
        """``root``: the source's file or folder. ``pinned``: the only files below it that its digest covers; none
        named, all are, but those whose name starts with a dot."""
        self._alone = root.is_file()
        self._root = root.absolute()
        self._real_root = root.resolve()
        self._pinned = frozenset(pinned)

    def find(self, path: str, folder: str = "") -> Path | Member:
        """Where the medium ``path`` lies, seen from ``folder`` below the source, else from the source itself.

        Raises :class:`MediaError` if it is not there or nobody may read it from here.
        """
        parts = _parts(path)
        if self._alone:
            raise MediaError(
                f"a path in a source that is the single file {self._root.name}, whose digest covers no other",
                "media within its rows",
                "name the folder as the uri, then its digest covers the media too",
            )
        for base in dict.fromkeys((PurePosixPath(folder), PurePosixPath())):
            for found in self._candidates(base, parts):
                self._check(found.archive if isinstance(found, Member) else found)
                return found
        raise MediaError("no such file", f"a file below {self._root.name}", "correct the path, or put the file there")

    def _candidates(self, base: PurePosixPath, parts: tuple[str, ...]) -> Iterator[Path | Member]:
        here = self._root / base
        if _is_there(here.joinpath(*parts)):
            yield here.joinpath(*parts)
        for depth in range(1, len(parts)):
            prefix, inside = here.joinpath(*parts[:depth]), "/".join(parts[depth:])
            if is_archive(prefix.name) and prefix.is_file():
                yield Member(prefix, (inside,))
            for suffix in SUFFIXES:
                packed = prefix.with_name(prefix.name + suffix)
                if packed.is_file():
                    yield Member(packed, (f"{parts[depth - 1]}/{inside}", inside))

    def _check(self, path: Path) -> None:
        name = path.relative_to(self._root).as_posix()
        if self._pinned and name not in self._pinned:
            raise MediaError(
                "a file that `files` does not name, so that no digest covers it",
                "one of `files`",
                "pack the media and name the archive in `files`, or leave `files` out",
            )
        folders = [parent for parent in path.parents if self._root in parent.parents]
        if any(folder.is_symlink() for folder in folders):
            raise MediaError("a path through a link to a folder", "folders below the data", _BESIDE)
        target = path.resolve()
        if self._real_root not in target.parents:
            raise MediaError("a link that leads out of the source", "a file below the data", _BESIDE)
        if not target.is_file():
            raise MediaError("no regular file", "a file", "name a file")


def _is_there(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except OSError:
        return False  # a name that no file can have, such as one that is too long


def _parts(path: str) -> tuple[str, ...]:
    """The names in ``path``, if it is one that may be read at all."""
    if _SCHEME.match(path) or path.startswith("//"):
        raise MediaError("a URL", "a path beside the data", "download it first: a stage fetches nothing that rows name")
    if path.startswith(("/", "~")):
        raise MediaError("an absolute path", "one relative to the data", _BESIDE)
    if "\0" in path or "\\" in path:
        raise MediaError("a character that paths may not have", "folders divided by /", "correct the path")
    parts = PurePosixPath(path).parts
    if ".." in parts:
        raise MediaError("a path that leads upwards", "one below the data", _BESIDE)
    if any(part.startswith(".") for part in parts):
        raise MediaError("a name with a dot first", "one that the source's digest covers", "rename it")
    if not parts:
        raise MediaError("no path", "a path", "correct the row")
    return parts
