"""One list of rows, three ways to print it: an aligned table, JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .text import clean

FORMATS = ("table", "json", "csv")


def aligned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, as kubectl prints them; numbers align right. Cells are data: :func:`.text.clean`."""
    table = [list(headers), *[[clean(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(headers))]
    right = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(headers))]
    lines = (
        "  ".join(
            cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(row, widths, right, strict=True)
        )
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)


def formatted(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], output: str) -> str:
    """``rows`` with the fields ``columns`` in the format ``output``, one of :data:`FORMATS`. JSON keeps every field."""
    if output == "json":
        return json.dumps(list(rows), indent=1, ensure_ascii=False)
    if output == "csv":
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue().rstrip("\n")
    cells = [["" if row.get(c) is None else str(row.get(c)) for c in columns] for row in rows]
    return aligned([_header(c) for c in columns], cells)


def _header(name: str) -> str:
    words = "".join(f" {c}" if c.isupper() else c for c in name)
    return words.upper()


def _is_number(cell: str) -> bool:
    return not cell or cell.lstrip("+-").replace(".", "", 1).rstrip("%").isdigit()
