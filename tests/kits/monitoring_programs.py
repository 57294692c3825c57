"""Prometheus, promtool and amtool, for the tests of metrics, alerts and dashboards.

``python -m kits.monitoring_programs`` (``make promkit``) builds them. ``PROMETHEUS``, ``PROMTOOL`` and ``AMTOOL`` name
other executables; their versions are then not ours to answer for.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kits.go_programs import GoProgram
from kits.programs import executable

_FOLDER = Path(__file__).parent / "monitoring"
_PROMETHEUS, _ALERTMANAGER = "github.com/prometheus/prometheus", "github.com/prometheus/alertmanager"


def _program(name: str, module: str, takes: str) -> GoProgram:
    # Of all that Prometheus can find targets by, files and Kubernetes alone: half of the packages.
    tags = "remove_all_sd,enable_kubernetes_sd"
    return GoProgram(name, _FOLDER, module, takes, package=f"{module}/cmd/{name}", tags=tags)


PROMETHEUS = _program("prometheus", _PROMETHEUS, "3 to 6 minutes")
PROMTOOL = _program("promtool", _PROMETHEUS, "seconds, after prometheus")
AMTOOL = _program("amtool", _ALERTMANAGER, "seconds, after prometheus")


def main() -> int:
    """Build what is missing, and print where it is."""
    try:
        for program in (PROMETHEUS, PROMTOOL, AMTOOL):
            print(executable(program, lambda line: print(line, file=sys.stderr, flush=True)))
    except (FileNotFoundError, RuntimeError) as error:
        print(f"promkit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
