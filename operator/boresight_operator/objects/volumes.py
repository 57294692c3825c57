"""Volumes of a stage's pod: the root is read-only, so what is written to is mounted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..reserved import PREFIX, ROOT
from .work import Work

DOCUMENT_FOLDER = f"{ROOT}/stage"
CA_FILE = f"{ROOT}/ca/ca.crt"
STORES = f"{ROOT}/stores"
"""``<n>/AWS_ACCESS_KEY_ID`` and so on: credentials of the n-th store of ``readFrom``."""
HOME = "/home/boresight"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 mounted, not created
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def volumes_and_mounts(work: Work) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """``volumes`` and ``volumeMounts``. A run may mount its own over our empty folders, over nothing else of ours."""
    template = work.template
    users = [
        mount.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        for mount in template.volume_mounts
    ]
    taken = {mount["mountPath"].rstrip("/") for mount in users}
    ours = [(volume, mount) for volume, mount in _ours(work) if mount["mountPath"] not in taken]
    volumes = [
        volume.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        for volume in template.volumes
    ]
    return [volume for volume, _ in ours] + volumes, [mount for _, mount in ours] + users


def _ours(work: Work) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    yield _read_only("stage", {"configMap": {"name": work.name}}, DOCUMENT_FOLDER)
    yield _empty("tmp", "/tmp")  # noqa: S108
    yield _empty("home", HOME)
    if work.works:
        size = {"sizeLimit": work.compute.shm_size} if work.compute.shm_size else {}
        yield _empty("shm", SHARED_MEMORY, medium="Memory", **size)
    if (bundle := work.compute.ca_bundle) is not None:
        items = [{"key": bundle.key or "ca.crt", "path": "ca.crt"}]
        yield _read_only("ca", {"configMap": {"name": bundle.config_map_name, "items": items}}, f"{ROOT}/ca")
    for number, store in enumerate(work.storage.read_from):
        if store.secret_name:
            projected = {"sources": list(_credentials(store.secret_name))}
            yield _read_only(f"store-{number}", {"projected": projected}, f"{STORES}/{number}")


def _credentials(secret: str) -> Iterator[dict[str, Any]]:
    """Two keys that must be there, and one that may be: only a projection can say both."""
    yield {"secret": {"name": secret, "items": [{"key": key, "path": key} for key in _CREDENTIALS]}}
    token = [{"key": "AWS_SESSION_TOKEN", "path": "AWS_SESSION_TOKEN"}]
    yield {"secret": {"name": secret, "items": token, "optional": True}}


def _empty(name: str, path: str, **limits: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"name": PREFIX + name, "emptyDir": dict(limits)}, {"name": PREFIX + name, "mountPath": path}


def _read_only(name: str, source: dict[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"name": PREFIX + name, **source}, {"name": PREFIX + name, "mountPath": path, "readOnly": True}
