"""The artifact manifest: what a finished stage left behind. No manifest, no artifact."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import JsonValue, StringConstraints, field_validator

from .base import API_VERSION, Contract, Digest, Key, ShortText, Uri, canonical_json, operational, sha256_hex

MANIFEST_NAME = "manifest.json"
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class ArtifactKind(StrEnum):
    """What is inside, and so who can read it."""

    MODEL = "Model"  # loads with transformers' from_pretrained and vLLM
    PAIRS = "Pairs"  # pairs.jsonl: conversational prompt/chosen/rejected; synthesis.jsonl: the full records
    EVALUATION = "Evaluation"  # results.json and samples_*.jsonl in lm-evaluation-harness' layout


class ArtifactFile(Contract):
    """One file of an artifact."""

    path: FilePath = operational()
    """Relative to the artifact's folder, with forward slashes."""
    size: int = operational(ge=0)
    """Bytes."""
    digest: Digest = operational()
    """SHA-256 of the content."""

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if path.startswith("/") or "\\" in path or any(part in {"", ".", ".."} for part in path.split("/")):
            raise ValueError(f'found "{path}", expected a relative path inside the artifact')
        return path


class Parent(Contract):
    """An input that was itself an artifact: its key, and the digest of the manifest that was read."""

    name: ShortText = operational()
    """The role it had, such as ``model`` or ``pairs``."""
    key: Key = operational()
    """Its key."""
    digest: Digest = operational()
    """SHA-256 of its manifest.json."""


class SourceRecord(Contract):
    """An input that was not an artifact, as it was read."""

    name: ShortText = operational()
    """The role it had."""
    uri: Uri = operational()
    """Where it was read from."""
    digest: Digest = operational()
    """What was read."""
    rows: int | None = operational(None, ge=0)
    """Rows, for data."""
    licence: ShortText | None = operational(None)
    """Licence as the source states it."""


class ArtifactManifest(Contract):
    """Written last and only once. Its own digest names the artifact's content."""

    api_version: ShortText = operational(API_VERSION)
    """Version of this document."""
    kind: ArtifactKind = operational()
    """What is inside."""
    key: Key = operational()
    """The input-addressed key of the stage that made it."""
    stage: ShortText = operational()
    """Name of that stage."""
    recipe: ShortText = operational()
    """Recipe and version, such as ``dpo/1``."""
    config: dict[str, JsonValue] = operational()
    """The semantic form of the stage's configuration: with the recipe, exactly what the key hashes."""
    parents: tuple[Parent, ...] = operational(())
    """Artifacts that were read."""
    sources: tuple[SourceRecord, ...] = operational(())
    """Sources that were read."""
    files: tuple[ArtifactFile, ...] = operational()
    """Every file but the manifest itself, sorted by path."""
    metrics: dict[str, JsonValue] = operational(default_factory=dict)
    """Headline metrics and what a report needs beside them."""
    environment: dict[str, JsonValue] = operational(default_factory=dict)
    """Code version, library versions, image digest, device, threads."""
    created_at: ShortText = operational()
    """RFC 3339, UTC."""
    wall_seconds: int = operational(0, ge=0)
    """Time the publishing attempt ran."""

    def to_bytes(self) -> bytes:
        """The bytes of manifest.json."""
        import json

        document: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"

    def digest(self) -> str:
        """``sha256:`` of :meth:`to_bytes`."""
        return "sha256:" + sha256_hex(self.to_bytes())


def key_of(recipe_name: str, recipe_version: int, semantic_config: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON of recipe and semantic configuration (parents' keys and digests included)."""
    return sha256_hex(canonical_json({"recipe": f"{recipe_name}/{recipe_version}", "config": semantic_config}))
