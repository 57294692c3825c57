"""Names and addresses of a cluster. One at a time fits on a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kits.go_programs import cache_root

BRIDGE = "boresight0"
HOST = "10.89.0.1"
"""This machine on the bridge; the API server listens here."""
HOST_PREFIX = 24
API_PORT = 6443
API_URL = f"https://{HOST}:{API_PORT}"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
PODS = "10.244.0.0/16"
DOMAIN = "cluster.local"
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent"}
"""Of all programs of a cluster: no proxy, nobody's configuration."""


@dataclass(frozen=True)
class NodePlan:
    """One node."""

    number: int
    """From 1."""

    @property
    def name(self) -> str:
        """Of the Node, and of its host."""
        return f"node{self.number}"

    @property
    def address(self) -> str:
        """On the bridge."""
        return f"10.89.0.{10 + self.number}"

    @property
    def pods(self) -> str:
        """Addresses of its pods."""
        return f"10.244.{self.number}.0/24"

    @property
    def link(self) -> str:
        """This machine's end of the cable."""
        return f"{BRIDGE}-{self.number}"

    @property
    def cgroup(self) -> str:
        """Control group of all its pods."""
        return f"boresight-{self.name}"


NODES: Sequence[NodePlan] = (NodePlan(1), NodePlan(2))


def default_folder() -> Path:
    """Where a cluster lies: certificates, logs, everything that its nodes write."""
    return cache_root() / "cluster"
