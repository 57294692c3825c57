"""People with a role of Kubernetes' own (``view``, ``edit``) in a namespace, to which the chart's roles add."""

from __future__ import annotations

from typing import Any

from kits.chart import Helm

from . import identity
from .client import CLUSTER_ROLES, ROLE_BINDINGS, SERVICE_ACCOUNTS, Client, until
from .identity import OWN_NAMESPACE

GROUP = "rbac.authorization.k8s.io"
USER_ROLES = ("boresight-view", "boresight-edit", "boresight-admin")


class Members:
    """Makes them. The chart's roles are applied as Helm renders them."""

    def __init__(self, client: Client, helm: Helm) -> None:
        self._client = client
        rendered = helm.render(crds=True)
        for name in USER_ROLES:
            client.apply(CLUSTER_ROLES, None, rendered.one("ClusterRole", name))
        for role in ("view", "edit"):
            until(lambda role=role: self._has_ours(role), f"{role} has been aggregated")  # type: ignore[misc]

    def token(self, role: str, namespace: str) -> str:
        """Of an account that has the ClusterRole in that namespace, and nothing else anywhere."""
        name = f"{role}-{namespace}"
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        self._client.apply(SERVICE_ACCOUNTS, OWN_NAMESPACE, account)
        binding = {
            "apiVersion": f"{GROUP}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": OWN_NAMESPACE}],
        }
        self._client.apply(ROLE_BINDINGS, namespace, binding)
        return identity.token(self._client, name)

    def _has_ours(self, role: str) -> bool:
        found: dict[str, Any] = self._client.get(CLUSTER_ROLES, None, role)
        return any("boresight.dev" in rule.get("apiGroups", ()) for rule in found.get("rules") or ())
