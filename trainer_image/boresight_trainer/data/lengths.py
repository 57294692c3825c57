"""How the lengths of many things are spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Lengths:
    """A distribution of whole numbers."""

    count: int
    shortest: int
    median: int
    p90: int
    p99: int
    longest: int
    total: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Lengths:
        """Nearest-rank percentiles (no value is made up). ``values`` is not empty."""
        ordered = sorted(values)

        def percentile(percent: int) -> int:
            return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]

        return cls(len(ordered), ordered[0], percentile(50), percentile(90), percentile(99), ordered[-1], sum(ordered))
