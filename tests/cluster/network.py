"""The network of a cluster: a bridge on this machine, a cable to each node. Nothing leads out of it."""

from __future__ import annotations

import subprocess

from cluster import plan
from cluster.host import Unfit
from cluster.ledger import Ledger


def make_bridge(ledger: Ledger) -> None:
    """Raises :class:`.host.Unfit` if the addresses are in use."""
    if taken := ip("-brief", "address", "show", "to", f"{plan.HOST}/{plan.HOST_PREFIX}"):
        raise Unfit(f"found {plan.HOST}/{plan.HOST_PREFIX} in use: {taken.strip()}")
    ledger.links.append(plan.BRIDGE)
    ledger.write()
    ip("link", "add", plan.BRIDGE, "type", "bridge")
    ip("address", "add", f"{plan.HOST}/{plan.HOST_PREFIX}", "dev", plan.BRIDGE)
    ip("link", "set", plan.BRIDGE, "up")


def connect(node: plan.NodePlan, pid: int, ledger: Ledger) -> None:
    """Give the network namespace of a process its end of a cable, and everybody the routes to its pods."""
    inside = ("nsenter", "--target", str(pid), "--net")
    ledger.links.append(node.link)
    ledger.write()
    ip("link", "add", node.link, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    ip("link", "set", node.link, "master", plan.BRIDGE, "up")
    ip("address", "add", f"{node.address}/{plan.HOST_PREFIX}", "dev", "eth0", inside=inside)
    ip("link", "set", "eth0", "up", inside=inside)
    # Nothing leaves this machine, and what tries fails at once instead of waiting.
    ip("route", "add", "unreachable", "default", inside=inside)
    for other in plan.NODES:
        if other != node:
            ip("route", "add", other.pods, "via", other.address, inside=inside)
    ip("route", "add", node.pods, "via", node.address)
    if node == plan.NODES[0]:  # this machine reaches Services through its proxy
        ip("route", "add", plan.SERVICES, "via", node.address)


def ip(*arguments: str, inside: tuple[str, ...] = ()) -> str:
    """What ``ip`` prints. Raises RuntimeError with what it says."""
    done = subprocess.run([*inside, "ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
