"""Who may connect to a run's pods: its own ranks on every port, the settings' readers on the progress port alone."""

from __future__ import annotations

from typing import Any

from .. import names
from ..api import NETWORK_POLICIES, Object, Resource
from ..settings import NamespaceSettings, Peer
from ..views import RunView
from .labels import owned


def network_policy(run: RunView, settings: NamespaceSettings) -> tuple[Resource, Object]:
    """Selected by run UID. Egress is open: sources, hub, store and judges lie anywhere.

    Ranks reach each other on every port, for collective libraries choose theirs at random.
    """
    ours = {"matchLabels": {names.RUN_UID_LABEL: run.uid}}
    spec = {
        "podSelector": ours,
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"podSelector": ours}]},
            {
                "from": [_peer(peer) for peer in settings.ingress_from],
                "ports": [{"port": names.PROGRESS_PORT, "protocol": "TCP"}],
            },
        ],
    }
    name = names.network_policy_name(run.name, run.uid)
    return NETWORK_POLICIES, owned(NETWORK_POLICIES, run, name, {"spec": spec})


def _peer(peer: Peer) -> dict[str, Any]:
    """Both selectors together: pods of these labels in namespaces of those."""
    return {
        "namespaceSelector": {"matchLabels": dict(peer.namespace_labels)} if peer.namespace_labels else {},
        "podSelector": {"matchLabels": dict(peer.pod_labels)} if peer.pod_labels else {},
    }
