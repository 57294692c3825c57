"""Writes as the API server's audit log has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Write:
    """One mutating request that was answered."""

    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    manager: str
    """The field manager that it named."""
    code: int

    @property
    def budgeted(self) -> bool:
        """Whether it counts among a stage's or a run's writes: progress and the Lease have their own rhythm."""
        return self.manager != "boresight-progress" and self.resource != "leases"

    def __str__(self) -> str:
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{self.verb} {what} {self.namespace}/{self.name} -> {self.code}"


class AuditLog:
    """The log from a mark on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.mark()

    def mark(self) -> None:
        """Forget what was written so far."""
        self._offset = self._path.stat().st_size

    def writes(self, *, user: str = "", namespace: str = "") -> Iterator[Write]:
        """Writes since the mark whose user contains ``user``, in ``namespace`` (empty: any)."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file.read().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    return  # still being written
                write = _write(json.loads(line))
                if user in write.user and namespace in {"", write.namespace}:
                    yield write


def _write(event: dict) -> Write:  # type: ignore[type-arg]
    reference = event.get("objectRef", {})
    query = parse_qs(urlsplit(event["requestURI"]).query)
    return Write(
        user=event["user"]["username"],
        verb=event["verb"],
        group=reference.get("apiGroup", ""),
        resource=reference.get("resource", ""),
        subresource=reference.get("subresource", ""),
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        manager=query.get("fieldManager", [""])[0],
        code=event.get("responseStatus", {}).get("code", 0),
    )
