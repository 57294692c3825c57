"""Media fields, read as references: a path, or digest and size of the bytes inside the row. Nothing is decoded."""

from __future__ import annotations

import hashlib

from .records import MediaReference, Modality
from .sources import RowError, shown


def media_reference(value: object, modality: Modality, field: str) -> MediaReference:
    """The reference in ``value``: a path, bytes, or ``{"bytes": ..., "path": ...}`` as in the hub's parquet."""
    if isinstance(value, dict) and value.keys() <= {"bytes", "path"}:
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return MediaReference(modality, digest="sha256:" + hashlib.sha256(value).hexdigest(), size=len(value))
    if isinstance(value, str) and value.strip():
        return MediaReference(modality, path=value)
    raise RowError(field, "nothing" if not value else shown(value), f"a path to {modality} or its encoded bytes")
