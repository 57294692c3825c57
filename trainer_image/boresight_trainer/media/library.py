"""The media of a stage by their content: whatever rows name, once, under the digest of its bytes.

Files are used where they lie. Bytes that stand in rows, and members of archives, are kept in a folder that lives as
long as the stage.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import uuid4

from ..data.records import MediaReference, Modality
from ..store.digests import DigestCache
from .archives import read_members
from .decode import verify
from .errors import MediaError
from .headers import Header
from .limits import Limits
from .paths import Member, SourcePaths
from .probe import header_of

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that somebody named."""

    digest: str
    """``sha256:<hex>``."""
    size: int


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    identity: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path) -> _Place:
        stat = path.stat()
        return cls(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


def digest_of(content: bytes) -> str:
    """``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


class MediaLibrary:
    """Content by digest, and its headers."""

    def __init__(
        self,
        folder: Path,
        *,
        limits: Limits | None = None,
        digests: DigestCache | None = None,
        thorough: bool = False,
    ) -> None:
        """``folder``: where content is kept that has no file of its own. ``digests``: by default the user's.
        ``thorough``: what is inspected is decoded too, which alone finds damage behind a good header."""
        self.limits = limits or Limits()
        self._thorough = thorough
        self._folder = folder
        self._digests = digests or DigestCache()
        self._places: dict[str, _Place] = {}
        self._headers: dict[tuple[str, Modality], Header] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._places

    def open(self, digest: str) -> Path:
        """The file with the content of that digest. KeyError if the library has none; :class:`MediaError` if it was
        changed since it was entered."""
        place = self._places[digest]
        if not place.path.exists() or _Place.of(place.path) != place:
            raise MediaError(
                f"{place.path.name} changed since the rows were read", "media that stay", "start the stage again"
            )
        return place.path

    def header(self, reference: MediaReference) -> Header:
        """What is known of a medium that :meth:`inspect` has passed. KeyError for another."""
        return self._headers[str(reference.digest), reference.modality]

    def keep(self, content: bytes, digest: str) -> None:
        """Enter bytes that stand in a row; ``digest`` is theirs. Raises OSError."""
        path = self._kept(digest)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{uuid4().hex}")
            temporary.write_bytes(content)
            temporary.rename(path)
        self._places[digest] = _Place.of(path)

    def enter(
        self, paths: Collection[tuple[str, str]], source: SourcePaths
    ) -> Mapping[tuple[str, str], Content | MediaError]:
        """Enter what rows name by (folder of the row's file, path) and say what each of them is, or what is wrong.

        Archives are read once, however many members are named. Raises OSError.
        """
        found: dict[tuple[str, str], Content | MediaError] = {}
        packed: dict[Path, dict[tuple[str, str], Member]] = defaultdict(dict)
        for folder, path in paths:
            try:
                place = source.find(path, folder)
                if isinstance(place, Member):
                    packed[place.archive][folder, path] = place
                else:
                    found[folder, path] = self._entered(place)
            except MediaError as error:
                found[folder, path] = error
        for archive, members in packed.items():
            names = {name for member in members.values() for name in member.names}
            contents = read_members(archive, names, self._copied, self.limits)
            for named, member in members.items():
                there = [contents[name] for name in member.names if name in contents]
                whole = [content for content in there if isinstance(content, Content)]
                found[named] = (whole or there or [_no_member(archive)])[0]
        return found

    def inspect(self, references: Iterable[MediaReference]) -> Mapping[MediaReference, MediaError]:
        """Read the headers of content that was entered, and what follows them if the library is thorough.

        Returns what is wrong with which. Raises OSError.
        """
        new = [one for one in dict.fromkeys(references) if (one.digest, one.modality) not in self._headers]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # ffmpeg and Pillow are waited for
            headers = pool.map(self._read_header, new)
            errors = {}
            for reference, header in zip(new, headers, strict=True):
                if isinstance(header, MediaError):
                    errors[reference] = header
                else:
                    self._headers[str(reference.digest), reference.modality] = header
        return errors

    def _read_header(self, reference: MediaReference) -> Header | MediaError:
        try:
            path = self.open(str(reference.digest))
            header = header_of(path, reference.modality, self.limits)
            if self._thorough:
                verify(path, header, self.limits)
        except MediaError as error:
            return error
        return header

    def _entered(self, path: Path) -> Content:
        place = _Place.of(path)
        self.limits.check_bytes(place.identity[1])
        digest = self._digests.digest(path)
        self._places.setdefault(digest, place)
        return Content(digest, place.identity[1])

    def _copied(self, stream: IO[bytes]) -> Content:
        """Keep what ``stream`` holds, which may be longer than its archive says."""
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{uuid4().hex}"
        digest, size = hashlib.sha256(), 0
        try:
            with temporary.open("wb") as file:
                while chunk := stream.read(_CHUNK):
                    size += len(chunk)
                    self.limits.check_bytes(size)
                    digest.update(chunk)
                    file.write(chunk)
            content = Content("sha256:" + digest.hexdigest(), size)
            path = self._kept(content.digest)
            path.parent.mkdir(exist_ok=True)
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._places[content.digest] = _Place.of(path)
        return content

    def _kept(self, digest: str) -> Path:
        hexadecimal = digest.removeprefix("sha256:")
        return self._folder / hexadecimal[:2] / hexadecimal


def _no_member(archive: Path) -> MediaError:
    return MediaError(f"no such member of {archive.name}", "one that it holds", "correct the path, or pack the file")
