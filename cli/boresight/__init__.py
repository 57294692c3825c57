"""Boresight for notebooks and scripts: open artifacts and runs, read-only and without torch.

>>> import boresight
>>> pairs = boresight.open("artifact://9f3c...")
>>> pairs.path(), pairs.manifest.metrics, next(pairs.rows())
>>> boresight.run("quickstart").results()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .artifact import Artifact
    from .runs import Run

__all__ = ["open", "run"]


def open(uri: str, store: str | None = None) -> Artifact:  # noqa: A001 `boresight.open` is the name users know
    """The artifact of ``artifact://<key>`` in ``store`` (a folder or URI; by default that of ``boresight run``)."""
    from .artifact import open_artifact

    return open_artifact(uri, store)


def run(name: str | None = None, namespace: str = "default", store: str | None = None) -> Run:
    """The run called ``name`` (default: the newest) as ``boresight run`` recorded it on this machine."""
    from .runs import open_run

    return open_run(name, namespace, store)
