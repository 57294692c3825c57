"""Boresight for notebooks and scripts: open artifacts and runs, read-only and without torch.

>>> import boresight
>>> pairs = boresight.open("artifact://9f3c...")
>>> pairs.path(), pairs.manifest.metrics, next(pairs.rows())
>>> boresight.run("quickstart").results()
>>> boresight.run("first", "team-vision", cluster=True).artifact("policy").path()
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


def run(
    name: str | None = None,
    namespace: str | None = None,
    *,
    store: str | None = None,
    cluster: bool | str = False,
    kubeconfig: str | None = None,
) -> Run:
    """The run called ``name`` (default: the newest), as it is now.

    By default one that ``boresight run`` recorded on this machine, in ``store``. ``cluster=True``: of the kubeconfig's
    current context (in a pod: its own cluster); ``cluster="name"``: of that context. ``namespace``: by default
    ``default``, or that of the context. Raises :class:`boresight.errors.UserError` naming the runs that there are.
    """
    from .runs import open_run

    if cluster is False:
        from .local.source import LocalRuns

        return open_run(LocalRuns(store, namespace), name)
    from .cluster.source import open_cluster

    context = cluster if isinstance(cluster, str) else None
    return open_run(open_cluster(kubeconfig=kubeconfig, context=context, namespace=namespace), name)
