"""Sources and pins: what a run reads from outside, and which bytes that was."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import StringConstraints, model_validator

from .base import Contract, Digest, Key, canonical_json, operational, sha256_hex

MAX_SOURCES = 16
"""Distinct sources of one run; with more, prepare's report would not fit into a termination message."""

SourceId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$", max_length=16)]
Revision = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]*$", min_length=1, max_length=40)]
Licence = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 .,:/()+_-]*$", min_length=1, max_length=32)]


def source_id(uri: str, revision: str | None = None, files: Iterable[str] = ()) -> str:
    """The stable identity of a source: the same place, revision and files are the same source in every stage.

    A pin stays with its id, so it is kept until one of the three changes.
    """
    return sha256_hex(canonical_json({"uri": uri, "revision": revision, "files": list(files)}))[:16]


def licence_label(text: str) -> str | None:
    """``text``, as a source states its licence, in the characters and the length that a pin can carry."""
    return " ".join(re.sub(r"[^A-Za-z0-9 .,:/()+_-]+", " ", text).split())[:32].strip() or None


class Pin(Contract):
    """What a source was when it was first read. Exactly one of ``digest`` and ``key`` is set."""

    id: SourceId = operational()
    """Which source (:func:`source_id`)."""
    digest: Digest | None = operational(None)
    """Content digest of what was read."""
    key: Key | None = operational(None)
    """For ``artifact://tags/<name>``: the key that the tag named."""
    revision: Revision | None = operational(None)
    """The commit that a branch or tag resolved to."""
    rows: int | None = operational(None, ge=0, le=999_999_999_999)
    """Valid rows, for data."""
    licence: Licence | None = operational(None)
    """Licence as the source states it, cut to 32 characters (:func:`licence_label`)."""

    @model_validator(mode="after")
    def _names_content(self) -> Pin:
        if (self.digest is None) == (self.key is None):
            raise ValueError("expected exactly one of digest and key")
        return self


@dataclass(frozen=True)
class Source:
    """Something that a run reads from outside, and that ``prepare`` pins."""

    id: str
    """:func:`source_id`."""
    name: str
    """Its first role: ``model``, ``feedback``, ``feedback-2``, ``holdout``, ``prompts``, ``warm-start``, ..."""
    uri: str
    revision: str | None
    files: tuple[str, ...]
    digest: str | None
    """What the manifest says it must be; ``prepare`` verifies it."""
