"""Our CRDs on an API server."""

from __future__ import annotations

from pathlib import Path

import yaml

from .client import CRDS, ApiError, Client, Object, until

CRD_FILES = sorted((Path(__file__).parents[2] / "crds").glob("*.yaml"))


def install_crds(client: Client) -> None:
    """Apply the CRDs and wait until they are served."""
    for path in CRD_FILES:
        client.apply(CRDS, None, yaml.safe_load(path.read_text()))
    for path in CRD_FILES:
        _, _, plural = path.stem.partition("_")
        until(lambda plural=plural: _served(client, plural), f"{plural} served")


def _served(client: Client, plural: str) -> bool:
    """The API server begins to serve a CRD some time after it has stored it."""
    try:
        client.call("GET", f"/apis/boresight.dev/v1alpha1/{plural}")
    except ApiError as error:
        if error.code != 404:
            raise
        return False
    return True


def condition(document: Object, kind: str) -> str | None:
    """Status of a condition; None if there is none."""
    found = {c["type"]: c["status"] for c in document.get("status", {}).get("conditions", [])}
    return found.get(kind)
