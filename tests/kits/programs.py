"""Programs for the tests of the chart. ``python -m kits.programs`` (``make helmkit``) builds them.

``HELM`` and ``KUBECONFORM`` name other executables; their versions are then not ours to answer for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kits.go_programs import GoProgram, Say
from kits.schemas import find_or_make

HERE = Path(__file__).parent
HELM = GoProgram(
    name="helm",
    folder=HERE / "helm",
    module="helm.sh/helm/v3",
    takes="1 to 4 minutes",
    package="helm.sh/helm/v3/cmd/helm",
    # The Kubernetes that ``helm template`` takes for granted: without it, one of 2020.
    linker_flags="-s -w -X helm.sh/helm/v3/internal/version.version={version} "
    "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34 "
    "-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=34",
)
KUBECONFORM = GoProgram(
    name="kubeconform",
    folder=HERE / "kubeconform",
    module="github.com/yannh/kubeconform",
    takes="seconds",
    package="github.com/yannh/kubeconform/cmd/kubeconform",
)
GITOPS = GoProgram(
    name="gitops",
    folder=HERE / "gitops",
    module="github.com/fluxcd/pkg/runtime",
    takes="2 to 4 minutes",
)
"""What kstatus, Flux and Argo CD make of objects, by their own code, interpreter and notifications engine."""


def executable(program: GoProgram, say: Say) -> Path:
    """The path of a program. Raises FileNotFoundError or RuntimeError with what to do about it."""
    variable = program.name.upper()
    if named := os.environ.get(variable):
        if not os.access(named, os.X_OK):
            raise FileNotFoundError(f"{variable}={named}: found no executable; unset it to build one")
        return Path(named)
    return program.find_or_build(say) / program.name


def said(*command: str | Path, stdin: str | None = None) -> str:
    """What a program prints. Raises AssertionError with all that it says if it is not content."""
    done = subprocess.run(list(map(str, command)), input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def main() -> int:
    """Make what is missing, and print where it is."""

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        for program in (HELM, KUBECONFORM, GITOPS):
            print(executable(program, say))
        print(find_or_make(say))
    except (FileNotFoundError, RuntimeError) as error:
        print(f"helmkit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
