"""``python -m cluster up`` (``make cluster``) and ``python -m cluster down`` (``make cluster-down``)."""

from __future__ import annotations

import argparse
import sys

from cluster.cluster import down, up
from cluster.host import Unfit
from cluster.plan import default_folder


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="cluster", description="A Kubernetes of two nodes on this machine, for tests")
    parser.add_argument("command", choices=("up", "down"))
    command = parser.parse_args().command
    try:
        if command == "down":
            print("the cluster is gone" if down(default_folder()) else "there was no cluster")
        else:
            cluster = up(default_folder(), lambda line: print(line, file=sys.stderr, flush=True))
            print(f"KUBECONFIG={cluster.kubeconfig}")
    except (Unfit, FileNotFoundError, RuntimeError, TimeoutError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
