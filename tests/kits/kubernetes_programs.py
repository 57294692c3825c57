"""Kubernetes itself for the tests, from one module: a control plane (``apikit``), and that with what a node needs.

``python -m kits.kubernetes_programs`` (``make clusterkit``) builds the second, and CoreDNS.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from kits.go_programs import GoProgram, Say

HERE = Path(__file__).parent
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")


def _linker_flags(version: str) -> str:
    """Without a version the API server calls itself v0.0.0, which kubectl refuses. No dates: all builds are alike."""
    facts = {"gitVersion": version, "gitMajor": "1", "gitMinor": version.split(".")[1], "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s", "-w", *(f"-X {package}.{k}={v}" for package in packages for k, v in facts.items())])


def _kubernetes(name: str, called: tuple[str, ...], takes: str) -> GoProgram:
    program = GoProgram(name, HERE / "kubernetes", "k8s.io/kubernetes", takes, package=f"./{name}", called=called)
    return replace(program, linker_flags=_linker_flags(program.version))


APIKIT = _kubernetes("apikit", CONTROL_PLANE, "4 to 6 minutes")
CLUSTERKIT = _kubernetes(
    "clusterkit", (*CONTROL_PLANE, "kube-scheduler", "kubelet", "kube-proxy"), "6 to 9 minutes; 3 after apikit"
)
COREDNS = GoProgram("coredns", HERE / "coredns", "github.com/coredns/coredns", "1 to 2 minutes")


@dataclass(frozen=True)
class ClusterPrograms:
    """Where the programs of a cluster are."""

    kubernetes: Path
    """The folder with those of :data:`CLUSTERKIT`."""
    coredns: Path


def find_or_build(say: Say) -> ClusterPrograms:
    """Raises FileNotFoundError or RuntimeError with what to do about it."""
    return ClusterPrograms(CLUSTERKIT.find_or_build(say), COREDNS.find_or_build(say) / COREDNS.name)


def main() -> int:
    """Build what is missing, and print where it is."""
    try:
        found = find_or_build(lambda line: print(line, file=sys.stderr, flush=True))
    except (FileNotFoundError, RuntimeError) as error:
        print(f"clusterkit: {error}", file=sys.stderr)
        return 1
    print(found.kubernetes, found.coredns, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
