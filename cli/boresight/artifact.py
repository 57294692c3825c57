"""``boresight.open``: a finished artifact, read-only, without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from boresight_api.artifact import ArtifactManifest
    from boresight_trainer.store.base import Store

METRICS_FILE = "metrics.jsonl"
ROWS_FILES = {"Pairs": "pairs.jsonl", "Evaluation": "results.json"}
"""Kind -> the file whose lines (or entries) :meth:`Artifact.rows` gives by default."""


@dataclass(frozen=True)
class Artifact:
    """A finished artifact in a store. Opening it reads the manifest; :meth:`path` verifies the content."""

    key: str
    manifest: ArtifactManifest
    """Files with digests, configuration, parents, sources, metrics, environment."""
    store: Store

    def path(self) -> Path:
        """Its folder, after every file's size and SHA-256 were compared with the manifest.

        A model's folder loads as it is: ``AutoModelForCausalLM.from_pretrained(artifact.path())``. Raises
        :class:`boresight_api.outcome.StageFailure` naming the first file that differs.
        """
        return self.store.open(self.key)

    def metrics(self) -> list[dict[str, Any]]:
        """One dict per logged step, in order: ``step``, ``loss``, ``learningRate``, ... Empty for stages without."""
        if METRICS_FILE not in (file.path for file in self.manifest.files):
            return []
        return list(_json_lines(self.store.file(self.key, METRICS_FILE)))

    def rows(self, file: str | None = None) -> Iterator[dict[str, Any]]:
        """Rows of a JSONL file of the artifact; of a pairs artifact by default its ``pairs.jsonl``.

        Raises :class:`UserError` naming the files there are.
        """
        names = [f.path for f in self.manifest.files]
        name = file or ROWS_FILES.get(str(self.manifest.kind), "")
        if name not in names or not name.endswith(".jsonl"):
            have = ", ".join(n for n in names if n.endswith(".jsonl")) or "none"
            raise UserError(f"artifact {self.key}: no rows in {name or 'a ' + self.manifest.kind}; JSONL files: {have}")
        return _json_lines(self.store.file(self.key, name))

    @cached_property
    def digest(self) -> str:
        """``sha256:`` of its manifest: the name of this very content."""
        return self.manifest.digest()

    def __repr__(self) -> str:
        return f"Artifact({self.manifest.kind} of {self.manifest.stage}, artifact://{self.key})"


def open_artifact(uri: str, store: str | None = None) -> Artifact:
    """The artifact of ``artifact://<key>`` (or a key, or its first 6 or more digits, or ``artifact://tags/<name>``).

    ``store`` is a folder, a ``file://`` URI, or ``s3://bucket/prefix`` with the standard ``AWS_*`` variables; by
    default ``$BORESIGHT_STORE`` or the user's data folder. Raises :class:`UserError` if it is not there.
    """
    return artifact_in(store_at(store), uri)


def artifact_in(store: Store, uri: str) -> Artifact:
    """As :func:`open_artifact`, in a store that is open."""
    key = resolve_key(store, uri)
    manifest = store.manifest(key)
    if manifest is None:
        raise UserError(f"artifact {key} is not in {store.uri}; `boresight artifacts ls` lists what is")
    return Artifact(key, manifest, store)


def store_at(store: str | None) -> Store:
    """The store at a folder or URI; by default ``$BORESIGHT_STORE`` or the user's data folder."""
    from boresight_trainer.store.open import open_store
    from boresight_trainer.store.trust import trust_own_authorities

    from .settings import default_store, store_folder, store_uri

    trust_own_authorities()
    uri = store_uri(store) if store else default_store()
    return open_store(uri if uri.startswith("s3:") else store_folder(uri).as_uri())


def resolve_key(store: Store, text: str) -> str:
    """The one key in ``store`` that ``text`` names: ``artifact://<key>``, a key or an unambiguous beginning of one, or
    a tag as ``tags/<name>``."""
    name = text.removeprefix("artifact://")
    if name.startswith("tags/"):
        from boresight_trainer.store.references import read_tag

        return read_tag(store, name.removeprefix("tags/"))
    if len(name) == 64 and set(name) <= set("0123456789abcdef"):
        return name
    if len(name) < 6 or not set(name) <= set("0123456789abcdef"):
        raise UserError(
            f'found "{text}", expected artifact://<key>, a key, at least 6 of its first digits, or tags/<name>'
        )
    found = list(filter(lambda key: key.startswith(name), store.keys()))
    if len(found) != 1:
        what = f"{len(found)} keys begin" if found else "no key begins"
        raise UserError(f"{what} with {name} in {store.uri}; `boresight artifacts ls` lists them")
    return found[0]


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)
