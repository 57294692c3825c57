"""Builders of stores and artifacts."""

from __future__ import annotations

from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from boresight_api.artifact import ArtifactKind, ArtifactManifest
from boresight_trainer.store.base import Published, Store, describe_files
from boresight_trainer.store.file import FileStore

KEY = "a" * 64
OTHER_KEY = "b" * 64


def a_store(folder: Path) -> FileStore:
    return FileStore((folder / "store").as_uri())


def a_manifest(folder: Path, key: str = KEY, **changes: Any) -> ArtifactManifest:
    """The manifest of what lies in ``folder``."""
    fields: dict[str, Any] = {
        "kind": ArtifactKind.MODEL,
        "key": key,
        "stage": "policy",
        "recipe": "dpo/1",
        "config": {},
        "files": describe_files(folder),
        "created_at": "2026-01-01T00:00:00Z",
        **changes,
    }
    return ArtifactManifest(**fields)


def write_files(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def publish(store: Store, key: str = KEY, files: dict[str, str] | None = None, **manifest: Any) -> Published:
    """Publish an artifact with ``files`` (name -> content)."""
    with store.staging(key) as folder:
        write_files(folder, files if files is not None else {"weights.bin": "weights", "deep/er.json": "{}"})
        return store.publish(key, folder, a_manifest(folder, key, **manifest))


def race_to_publish(root: str, number: int, barrier: Barrier, results: Any) -> None:
    """One of several processes that publish :data:`KEY` at the same moment."""
    store = FileStore(root)
    with store.staging(KEY) as folder:
        write_files(folder, {"who.txt": str(number), **{f"{n}.bin": "x" * 1000 for n in range(20)}})
        manifest = a_manifest(folder)
        barrier.wait()
        published = store.publish(KEY, folder, manifest)
    results.put((number, published.adopted, published.artifact.digest))
