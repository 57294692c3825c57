"""Writing to stdout what is not text that we made."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def pour(parts: Iterable[bytes]) -> None:
    """Each part as it comes."""
    sys.stdout.flush()
    for part in parts:
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
