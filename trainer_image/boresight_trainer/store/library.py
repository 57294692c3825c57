"""What a run may read: its own store, then the stores of ``storage.readFrom`` in their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boresight_api.artifact import ArtifactManifest
from boresight_api.outcome import FailureClass, StageFailure

from .base import Store, StoredFile


@dataclass(frozen=True)
class Library:
    """Several stores that are looked through in order. Nothing is written through it."""

    own: Store
    others: tuple[Store, ...] = ()

    @property
    def uri(self) -> str:
        """Of all, for messages."""
        return " or ".join(store.uri for store in self._stores)

    def manifest(self, key: str) -> ArtifactManifest | None:
        """Of the first store that has the artifact."""
        return next((found for store in self._stores if (found := store.manifest(key)) is not None), None)

    def digest(self, key: str) -> str | None:
        """Of the manifest in the first store that has the artifact."""
        return next((found for store in self._stores if (found := store.digest(key)) is not None), None)

    def open(self, key: str) -> Path:
        """From the first store that has the artifact.

        Raises :class:`StageFailure` (MissingInput) naming all stores if none has it, or a file that differs.
        """
        for store in self._stores:
            if store.digest(key) is not None:
                return store.open(key)
        raise StageFailure(
            FailureClass.MISSING_INPUT,
            f"artifact {key} is not in {self.uri}: run the stage that makes it, or name the store that has it",
        )

    def read(self, name: str) -> bytes | None:
        """A document, such as a tag, of the first store that has it."""
        return next((found for store in self._stores if (found := store.read(name)) is not None), None)

    def files(self, prefix: str) -> Iterator[StoredFile]:
        """Of all stores, one after the other."""
        for store in self._stores:
            yield from store.files(prefix)

    @property
    def _stores(self) -> tuple[Store, ...]:
        return (self.own, *self.others)
