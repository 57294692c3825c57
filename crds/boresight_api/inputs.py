"""From what a manifest names to what a stage reads: sources are collected, pins put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .enums import TrustRemoteCode
from .pins import Pin, Source, source_id
from .sources import DataSource, JudgeSource, ModelSource
from .stages import DataInput, ModelInput

_TAGS = "artifact://tags/"


class SourceBook:
    """Collects the sources of a plan in the order of use, and knows the pins that there are."""

    def __init__(self, pins: Mapping[str, Pin]) -> None:
        self._pins = pins
        self._sources: dict[str, Source] = {}

    @property
    def sources(self) -> tuple[Source, ...]:
        """What is read from outside, each once."""
        return tuple(self._sources.values())

    def data(self, entries: tuple[DataSource, ...], role: str) -> tuple[DataInput, ...]:
        """The inputs of a mixture."""
        return tuple(self._data(entry, role) for entry in entries)

    def model(self, source: ModelSource, role: str) -> ModelInput:
        """The input of a model."""
        return ModelInput.model_validate(
            {
                **self._located(source.uri, source.revision, (), source.digest, role),
                "chat_template": source.chat_template,
                "system_prompt": source.system_prompt,
                **_given(trust_remote_code=source.trust_remote_code),
            }
        )

    def judge(self, source: JudgeSource, role: str) -> ModelInput:
        """The input of a judge that is loaded."""
        assert source.uri is not None
        located = self._located(source.uri, source.revision, (), source.digest, role)
        never = TrustRemoteCode.NEVER  # a judge's own code has no business here
        return ModelInput.model_validate({**located, "chat_template": source.chat_template, "trust_remote_code": never})

    def _data(self, entry: DataSource, role: str) -> DataInput:
        limit = entry.limit or ""
        return DataInput.model_validate(
            {
                **self._located(entry.uri, entry.revision, entry.files, entry.digest, role),
                **_given(format=entry.format, weight=entry.weight),
                "subset": entry.subset,
                "split": entry.split,
                "files": entry.files,
                "columns": entry.columns,
                "limit": int(limit) if limit.isdigit() else None,
                "limit_percent": limit.removesuffix("%") if limit.endswith("%") else None,
            }
        )

    def _located(
        self, uri: str, revision: str | None, files: tuple[str, ...], digest: str | None, role: str
    ) -> dict[str, Any]:
        """Where to read, and what identifies what is read there: a key, a digest, or neither before prepare."""
        if uri.startswith("artifact://") and not uri.startswith(_TAGS):
            return {"uri": uri, "key": uri.removeprefix("artifact://")}
        identity = source_id(uri, revision, files)
        if identity not in self._sources:
            names = {source.name for source in self._sources.values()}
            numbered = (role, *(f"{role}-{number}" for number in range(2, len(names) + 3)))
            name = next(name for name in numbered if name not in names)
            self._sources[identity] = Source(identity, name, uri, revision, files, digest)
        pin = self._pins.get(identity)
        if pin is None:
            return {"uri": uri, "digest": digest, "revision": revision}
        if pin.key is not None:
            return {"uri": f"artifact://{pin.key}", "key": pin.key}
        return {"uri": uri, "digest": digest or pin.digest, "revision": pin.revision or revision}


def _given(**fields: object) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}
