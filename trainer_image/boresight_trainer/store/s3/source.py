"""``s3://`` sources: the objects that a URI means, their digest, and a copy of them on this machine.

The digest is that of the same data in a folder, over names and contents: data that move into a bucket keep their keys.
A store says nothing about content that could be believed instead, so it is read once, and remembered by its ``ETag``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from boresight_api.buckets import BucketPlace
from boresight_api.outcome import FailureClass, StageFailure

from ..digests import DigestCache, digest_of_tree
from ..errors import storage_errors
from .bucket import Bucket, StoredObject, parsed
from .transfer import in_order, receive

MOST_OBJECTS = 100_000
"""Of one source; what is more is most likely not what was meant."""
_AT_ONCE = 4
_LONGEST_NAME = 255
"""Bytes of one part of a path that a file system takes."""
_LICENCE_FILE, _LICENCE_BYTES = "README.md", 1 << 20

BucketAt = Callable[[BucketPlace], Bucket]
"""Opens places of one bucket, with one store's endpoint and credentials."""


@dataclass(frozen=True)
class BucketSource:
    """The objects of a source. What they are is fixed by their tags: another content is an error, never read."""

    uri: str
    bucket: Bucket
    """At the folder that holds them."""
    objects: tuple[StoredObject, ...]
    """By name, relative to that folder."""
    alone: bool
    """Whether the URI names one object, as it might name one file."""

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(found.size for found in self.objects)

    def digest(self, cache: DigestCache) -> str:
        """As :func:`..digests.content_digest` of the same files; only what ``cache`` does not know is read."""
        return self._digest_by(lambda found: self._known_or_read(found, cache))

    def download(self, target: Path) -> str:
        """Copy all to ``target``, a new file or folder. Returns the digest of what has arrived."""

        def copy(found: StoredObject) -> str:
            path = target if self.alone else target / found.name
            with storage_errors("make a folder for a source", path.parent):
                path.parent.mkdir(parents=True, exist_ok=True)
            return self._checked(found, receive(self.bucket, found, path))

        return self._digest_by(copy)

    def readme(self) -> str | None:
        """The README beside the data, where a licence may stand; None without one of a usual size."""
        found = self.bucket.look(_LICENCE_FILE)
        if found is None or found.size > _LICENCE_BYTES:
            return None
        return (self.bucket.read(_LICENCE_FILE) or b"").decode(errors="replace")

    def _digest_by(self, digest: Callable[[StoredObject], str]) -> str:
        digests = list(in_order(digest, self.objects, ahead=_AT_ONCE))
        if self.alone:
            return digests[0]
        return digest_of_tree({found.name: each for found, each in zip(self.objects, digests, strict=True)})

    def _known_or_read(self, found: StoredObject, cache: DigestCache) -> str:
        identity: list[str | int] = [
            self.bucket.endpoint,
            self.bucket.place(found.name),
            found.tag,
            found.size,
            str(found.modified),
        ]
        if (known := cache.known(identity)) is not None:
            return known
        digest = self._checked(found, receive(self.bucket, found, None))
        cache.remember(identity, digest)
        return digest

    def _checked(self, found: StoredObject, received: str) -> str:
        if received.startswith("sha256:"):
            return received
        raise StageFailure(
            FailureClass.INFRASTRUCTURE,
            f"{self.bucket.place(found.name)}: found {received}, expected {found.size} bytes as listed: somebody "
            "writes there while it is read; try again when they are done",
        )


def find_source(uri: str, files: Sequence[str], bucket_at: BucketAt) -> BucketSource:
    """What ``uri`` names now: all objects below it (of which ``files``, if any are named), else the object itself.

    As in a folder, names that begin with a dot are tools' own and left out. Raises :class:`StageFailure` (InvalidData)
    if there is nothing, a file is missing, or a name can be no file's.
    """
    place = parsed(uri)
    folder = bucket_at(place)
    objects = tuple(_below(uri, folder, files))
    if objects:
        _require_a_tree(uri, [found.name for found in objects])
        return BucketSource(uri, folder, objects, alone=False)
    parent, _, name = place.prefix.rpartition("/")
    if name and not files:
        beside = bucket_at(BucketPlace(place.bucket, parent))
        if (found := beside.look(name)) is not None:
            return BucketSource(uri, beside, (StoredObject(name, found.size, found.modified, found.tag),), alone=True)
    raise _no_data(f"{uri}: found no object of this name and none below it: correct the uri, or put the data there")


def _below(uri: str, folder: Bucket, files: Sequence[str]) -> Iterator[StoredObject]:
    wanted, count = set(files), 0
    for found in folder.files(""):
        if found.name not in wanted if files else _is_hidden(found.name):
            continue
        wanted.discard(found.name)
        count += 1
        if count > MOST_OBJECTS:
            raise _no_data(
                f"{uri}: found more than {MOST_OBJECTS} objects, expected at most so many: name a folder further down"
            )
        yield found
        if files and not wanted:
            return
    if wanted:
        raise _no_data(f'{uri}: files: found no "{min(wanted)}" there: correct `files`, or put the file there')


def _is_hidden(name: str) -> bool:
    """Tools' own, and the markers with which consoles show an empty folder."""
    return not name or name.endswith("/") or any(part.startswith(".") for part in name.split("/"))


def _require_a_tree(uri: str, names: Sequence[str]) -> None:
    """Raise :class:`StageFailure` (InvalidData) unless a folder can hold files of these names."""
    known = set(names)
    for name in names:
        parts = name.split("/")
        if not {"", ".", ".."}.isdisjoint(parts) or "\0" in name or any(len(p.encode()) > _LONGEST_NAME for p in parts):
            raise _no_data(
                f'{uri}: found an object named "{name[:300]}", which can be no file: rename it, or name the `files`'
            )
        for folder in PurePosixPath(name).parents:
            if str(folder) in known:
                raise _no_data(
                    f'{uri}: found an object "{folder}" and "{name}" below it, which no folder can hold: rename one, '
                    "or name the `files`"
                )


def _no_data(message: str) -> StageFailure:
    return StageFailure(FailureClass.INVALID_DATA, message)
