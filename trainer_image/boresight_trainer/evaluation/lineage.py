"""Where models come from, by the manifests in the store: a judge must not be a relative of what it judges unnoticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from boresight_api.artifact import ArtifactManifest
from boresight_api.stages import Input, NamedModel


class Manifests(Protocol):
    """The part of the store that is needed."""

    def manifest(self, key: str) -> ArtifactManifest | None:
        """The manifest of a finished artifact."""


def lineage(store: Manifests, model: Input) -> frozenset[str]:
    """Keys and digests of ``model`` (the URI of one that was not pinned) and of all that its training started from."""
    identity = {"key": model.key, "digest": model.digest} if model.key or model.digest else {"digest": model.uri}
    return frozenset(_ancestors(store, identity))


def related_models(store: Manifests, judge: Input, models: Sequence[NamedModel]) -> tuple[str, ...]:
    """Names of the models that are the judge, were trained from it, or share a base with it."""
    own = lineage(store, judge)
    return tuple(named.name for named in models if own & lineage(store, named.model))


def _ancestors(store: Manifests, model: Mapping[str, Any]) -> Iterator[str]:
    """``model`` is the semantic form of a model input; a model artifact's configuration names the one before it."""
    if digest := model.get("digest"):
        yield str(digest)
    if key := model.get("key"):
        yield str(key)
        manifest = store.manifest(str(key))
        before = manifest.config.get("model") if manifest is not None else None
        if isinstance(before, Mapping):
            yield from _ancestors(store, before)
