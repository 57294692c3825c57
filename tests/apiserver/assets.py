"""Where etcd, kube-apiserver, kube-controller-manager and kubectl are: ``KUBEBUILDER_ASSETS``, the cache, or built.

``python -m apiserver.assets`` (``make apikit``) builds them. They are one Go program (``kit/``), made once
from the Go module proxy: 4 to 6 minutes on two cores, 3 GB in Go's build cache (which can be emptied), 130 MB stay.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from kits.go_programs import GoProgram, Say, missing

NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
REMEDY = "or set KUBEBUILDER_ASSETS to a folder that holds " + ", ".join(NAMES)


_SOURCES = GoProgram(
    name="apikit",
    folder=Path(__file__).parent / "kit",
    module="k8s.io/kubernetes",
    takes="4 to 6 minutes",
    called=NAMES,
)


def _linker_flags(version: str) -> str:
    """Without a version the API server calls itself v0.0.0, which kubectl refuses. No dates: all builds are alike."""
    facts = {"gitVersion": version, "gitMajor": "1", "gitMinor": version.split(".")[1], "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s", "-w", *(f"-X {package}.{k}={v}" for package in packages for k, v in facts.items())])


APIKIT = replace(_SOURCES, linker_flags=_linker_flags(_SOURCES.version))


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
