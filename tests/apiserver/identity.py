"""The operator's identity as the chart makes it: a ServiceAccount with the rules of ``helm/boresight/files``."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .client import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    NAMESPACES,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    Client,
)

FILES = Path(__file__).parents[2] / "helm" / "boresight" / "files"
OWN_NAMESPACE = "boresight-system"
NAME = "boresight-operator"

Rules = list[dict[str, Any]]


@dataclass(frozen=True)
class Verb:
    """One thing that a rule allows."""

    file: str
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' + self.group if self.group else ''}"


def rules(file: str) -> Rules:
    """The rules of one file."""
    found: Rules = yaml.safe_load((FILES / f"rules-{file}.yaml").read_text())
    return found


def verbs() -> Iterator[Verb]:
    """Everything that the files allow."""
    for file in ("runs", "cluster", "own"):
        for rule in rules(file):
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield Verb(file, rule["apiGroups"][0], resource, verb)


def without(file: str, missing: Verb | None) -> Rules:
    """The rules of a file, less one verb of one resource."""
    found = copy.deepcopy(rules(file))
    if missing is None or missing.file != file:
        return found
    kept: Rules = []
    for rule in found:
        for resource in rule["resources"]:
            left = [v for v in rule["verbs"] if (resource, v) != (missing.resource, missing.verb)]
            if left:
                kept.append({"apiGroups": rule["apiGroups"], "resources": [resource], "verbs": left})
    return kept


def make(client: Client, *, name: str = NAME, missing: Verb | None = None) -> str:
    """Make the ServiceAccount, its roles and their bindings; return a token. What exists is set anew."""
    client.apply(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OWN_NAMESPACE}})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    client.apply(SERVICE_ACCOUNTS, OWN_NAMESPACE, account)
    subject = {"kind": "ServiceAccount", "name": name, "namespace": OWN_NAMESPACE}
    group = "rbac.authorization.k8s.io"
    cluster = [*without("runs", missing), *without("cluster", missing)]
    for kind, namespace, allowed in (("ClusterRole", None, cluster), ("Role", OWN_NAMESPACE, without("own", missing))):
        role = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name}, "rules": allowed}
        binding = {
            "apiVersion": f"{group}/v1",
            "kind": f"{kind}Binding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": kind, "name": name},
            "subjects": [subject],
        }
        client.apply(ROLES if namespace else CLUSTER_ROLES, namespace, role)
        client.apply(ROLE_BINDINGS if namespace else CLUSTER_ROLE_BINDINGS, namespace, binding)
    return token(client, name)


def token(client: Client, name: str = NAME) -> str:
    """A token of the ServiceAccount, for a day."""
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86_400}}
    path = SERVICE_ACCOUNTS.path(OWN_NAMESPACE, name, "token")
    answer: str = client.call("POST", path, request)["status"]["token"]
    return answer
