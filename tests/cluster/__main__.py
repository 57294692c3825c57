"""``python -m cluster up`` (``make cluster``), ``down`` (``make cluster-down``), and ``ready``.

The last says whether the tests in a cluster would run now, without a build: ``.ci/run`` asks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from cluster.cluster import down, up
from cluster.host import Unfit, refuse_the_unfit
from cluster.plan import default_folder
from kits.kubernetes_programs import CLUSTERKIT, COREDNS
from kits.kueue_program import KUEUE
from kits.minio_program import MINIO
from kits.monitoring_programs import PROMETHEUS
from kits.programs import HELM


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="cluster", description="A Kubernetes of two nodes on this machine, for tests")
    parser.add_argument("command", choices=COMMANDS)
    try:
        print(COMMANDS[parser.parse_args().command]())
    except (Unfit, FileNotFoundError, RuntimeError, TimeoutError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


def _up() -> str:
    cluster = up(default_folder(), lambda line: print(line, file=sys.stderr, flush=True))
    return f"KUBECONFIG={cluster.kubeconfig}"


def _down() -> str:
    return "the cluster is gone" if down(default_folder()) else "there was no cluster"


def _ready() -> str:
    refuse_the_unfit()
    programs = (CLUSTERKIT, COREDNS, MINIO, PROMETHEUS, HELM, KUEUE)
    if lacking := [program.name for program in programs if not program.built]:
        raise FileNotFoundError(f"not built yet: {', '.join(lacking)}; `make e2e` builds them")
    return "everything is built"


COMMANDS: Mapping[str, Callable[[], str]] = {"up": _up, "down": _down, "ready": _ready}


if __name__ == "__main__":
    sys.exit(main())
