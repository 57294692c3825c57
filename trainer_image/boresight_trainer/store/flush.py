"""What is renamed into place must be on the disk first, or a power cut leaves a whole name with torn content."""

from __future__ import annotations

import os
from pathlib import Path


def flush_folder(folder: Path) -> None:
    """Flush every file and folder below ``folder``, and itself."""
    for parent, _, names in os.walk(folder):
        for name in names:
            flush_entry(Path(parent) / name)
        flush_entry(Path(parent))


def flush_entry(path: Path) -> None:
    """Flush one file, or the entries of one folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
