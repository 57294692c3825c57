"""Freezes what the chart renders: ``python -m unit.helm.golden_chart`` in ``tests``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from builders_chart import VALUES
from kits.chart import Helm
from kits.programs import HELM, executable
from unit.helm.test_chart_objects import FROZEN, GOLDEN


def main() -> None:
    helm = Helm(executable(HELM, print), Path(tempfile.mkdtemp()))
    for name in FROZEN:
        (GOLDEN / f"{name}.yaml").write_text(helm.render(VALUES[name]).text)


if __name__ == "__main__":
    sys.exit(main())
