"""The headless Service of a Job whose pods are the ranks of one process group: it gives rank 0 a name."""

from __future__ import annotations

from .. import names
from ..api import SERVICES, Object, Resource
from .labels import attempt_labels, owned
from .work import Work

RENDEZVOUS_PORT = 29500
"""torchrun's."""


def service(work: Work) -> tuple[Resource, Object]:
    """Addresses are published before pods are ready: the ranks meet before any of them is."""
    labels = attempt_labels(work)
    selected = (names.RUN_UID_LABEL, names.STAGE_LABEL, names.ATTEMPT_LABEL, names.PART_LABEL)
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {name: labels[name] for name in selected},
        "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT, "protocol": "TCP"}],
    }
    return SERVICES, owned(SERVICES, work.run, work.name, {"spec": spec}, labels=labels)


def rendezvous(work: Work) -> dict[str, str]:
    """Where torchrun's ranks meet."""
    return {
        "MASTER_ADDR": f"{work.name}-0.{work.name}.{work.run.namespace}.svc",
        "MASTER_PORT": str(RENDEZVOUS_PORT),
        "NNODES": str(work.nodes),
    }
