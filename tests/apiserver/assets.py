"""Where etcd, kube-apiserver, kube-controller-manager and kubectl are: ``KUBEBUILDER_ASSETS``, the cache, or built.

``python -m apiserver.assets`` (``make apikit``) builds them. They are one Go program, made once from the
Go module proxy: 4 to 6 minutes on two cores, 3 GB in Go's build cache (which can be emptied), 130 MB stay.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kits.go_programs import Say, missing
from kits.kubernetes_programs import APIKIT
from kits.kubernetes_programs import CONTROL_PLANE as NAMES

REMEDY = "or set KUBEBUILDER_ASSETS to a folder that holds " + ", ".join(NAMES)


def find_or_build(say: Say) -> Path:
    """The folder with the four programs. Raises FileNotFoundError or RuntimeError with what to do about it."""
    if named := os.environ.get("KUBEBUILDER_ASSETS"):
        folder = Path(named)
        if lacking := missing(folder, NAMES):
            raise FileNotFoundError(
                f"KUBEBUILDER_ASSETS={folder}: found no {', '.join(lacking)}; unset it to build them"
            )
        return folder
    try:
        return APIKIT.find_or_build(say)
    except (FileNotFoundError, RuntimeError) as error:
        raise type(error)(f"{error}, {REMEDY}") from None


def main() -> int:
    """Build if need be, and print the folder."""
    try:
        print(find_or_build(lambda line: print(line, file=sys.stderr, flush=True)))
    except (FileNotFoundError, RuntimeError) as error:
        print(f"apikit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
