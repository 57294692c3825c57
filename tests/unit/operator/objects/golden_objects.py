"""Writes the golden files anew: ``python tests/unit/operator/objects/golden_objects.py``; then read the diff.

An attempt that was begun by one release is finished by the next: a change of what is rendered takes effect from the
next attempt on, and a running one must be understood as it was made.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from builders_objects import cases

FOLDER = Path(__file__).with_name("golden")


def main() -> None:
    """One file a case; files of cases that are gone are removed."""
    FOLDER.mkdir(exist_ok=True)
    found = cases()
    for old in FOLDER.glob("*.yaml"):
        if old.stem not in found:
            old.unlink()
    for name, case in found.items():
        (FOLDER / f"{name}.yaml").write_text(case.text())


if __name__ == "__main__":
    main()
