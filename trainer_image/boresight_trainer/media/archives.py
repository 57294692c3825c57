"""Members of archives beside the data: found by name, read one at a time, never unpacked as a whole.

A member's name is asked for, so an archive's own names lead nowhere: ``../`` in them is a name like any other that
nobody asks for. Links inside an archive are not followed.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from .errors import MediaError
from .limits import Limits

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
T = TypeVar("T")
_ENCRYPTED = 1  # a bit of a zip member's flags
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


def is_archive(name: str) -> bool:
    """Whether a file of this name is read as an archive."""
    return name.endswith(SUFFIXES)


def read_members(
    archive: Path, names: Collection[str], keep: Callable[[IO[bytes]], T], limits: Limits
) -> Mapping[str, T | MediaError]:
    """What ``keep`` makes of those of ``names`` that ``archive`` has, or what is wrong with them.

    What a damaged archive does not give is wrong, too. A name that comes twice is meant as it stands last. Raises
    OSError if the archive cannot be read, and what ``keep`` raises.
    """
    found: dict[str, T | MediaError] = {}
    members = _zip_members if archive.suffix == ".zip" else _tar_members
    try:
        members(archive, names, keep, limits, found)
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # without a number it is gzip's own, about what stands in the archive
        return {**dict.fromkeys(names, _damaged(archive, error)), **found}
    return found


def _zip_members(
    archive: Path,
    names: Collection[str],
    keep: Callable[[IO[bytes]], T],
    limits: Limits,
    found: dict[str, T | MediaError],
) -> None:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            name = _normal(info.filename)
            if name not in names or info.is_dir():
                continue
            try:
                limits.check_bytes(info.file_size)
                if info.flag_bits & _ENCRYPTED:
                    raise MediaError(f"an encrypted member of {archive.name}", "a plain one", "pack it without")
                with opened.open(info) as stream:
                    found[name] = keep(stream)
            except MediaError as error:
                found[name] = error
            except _DAMAGE as error:
                found[name] = _damaged(archive, error)


def _tar_members(
    archive: Path,
    names: Collection[str],
    keep: Callable[[IO[bytes]], T],
    limits: Limits,
    found: dict[str, T | MediaError],
) -> None:
    with tarfile.open(archive, "r:" if archive.suffix == ".tar" else "r:gz") as opened:
        for member in opened:
            name = _normal(member.name)
            if name not in names or member.isdir():
                continue
            try:
                limits.check_bytes(member.size)
                stream = opened.extractfile(member) if member.isreg() else None
                if stream is None:
                    raise MediaError(f"a link in {archive.name}", "a file", "pack what it points to")
                with stream:
                    found[name] = keep(stream)
            except MediaError as error:
                found[name] = error


def _normal(name: str) -> str:
    return str(PurePosixPath(name))


def _damaged(archive: Path, error: Exception) -> MediaError:
    what = str(error) or type(error).__name__
    return MediaError(f"a damaged archive ({archive.name}: {what})", "a whole one", "download or pack it anew")
