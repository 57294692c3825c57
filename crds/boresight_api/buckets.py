"""``s3://bucket/prefix``: what it names, and which of a run's stores a source lies in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class BucketPlace:
    """A bucket and what stands behind it, decoded: the prefix of a store, or the name of an object or a folder."""

    bucket: str
    prefix: str = ""
    """Without slashes at its ends; empty for the whole bucket."""

    @classmethod
    def parse(cls, uri: str) -> BucketPlace:
        """Raises ValueError for what is no such URI, or names a way (``..``) instead of a place."""
        parts = urlsplit(uri)
        prefix = unquote(parts.path).strip("/")
        odd = prefix and not {"", ".", ".."}.isdisjoint(prefix.split("/"))
        odd = odd or any(letter < " " or letter == "\x7f" for letter in prefix)
        if parts.scheme != "s3" or not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment or odd:
            raise ValueError(f'found "{uri}", expected s3://<bucket>/<prefix>')
        return cls(parts.netloc, prefix)

    def holds(self, other: BucketPlace) -> bool:
        """Whether ``other`` is this place or lies below it; ``data`` does not hold ``data-2``."""
        return self.bucket == other.bucket and f"{other.prefix}/".startswith(f"{self.prefix}/" if self.prefix else "")


def store_of(uri: str, stores: Sequence[str]) -> int | None:
    """Which of ``stores`` (URIs, some perhaps ``file://``) the source ``s3://...`` lies in: the deepest, of two equal
    ones the first. None if it lies in none of them. Raises ValueError for a malformed ``s3://`` URI."""
    source = BucketPlace.parse(uri)
    places = [(index, BucketPlace.parse(store)) for index, store in enumerate(stores) if store.startswith("s3:")]
    holding = [(len(place.prefix), -index) for index, place in places if place.holds(source)]
    return -max(holding)[1] if holding else None
