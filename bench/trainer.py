"""Training steps of Boresight beside TRL's, on the same weights, rows and threads; prints ratios.

    python bench/trainer.py            the full benchmark; writes bench/results/trainer.json
    python bench/trainer.py --quick    one block of two steps a side, to see that it runs; writes nothing

Every side is a process of its own. Sides that are compared take turns in blocks of steps, in alternating order, and
step times are compared by their medians. Before anything is timed, loss and gradient norm of the first batch must agree
with TRL's to 1e-3; otherwise the benchmark fails.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from machine import processor
from trainer_sides import THREADS, First, make_rows, serve

RESULTS = Path(__file__).parent / "results" / "trainer.json"
TOLERANCE = 1e-3
DPO = ("ours", "TRL", "padded shape")
CACHED = ("ours, cached reference", "TRL, cached reference")
SFT = ("ours SFT", "TRL SFT padded", "TRL SFT packed")


@dataclass
class Side:
    """One process that steps when told to."""

    name: str
    connection: Connection
    first: First
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    @property
    def median(self) -> float:
        """Seconds a step."""
        return statistics.median(self.seconds)

    def run(self, steps: int) -> list[float]:
        """Step times of a block."""
        self.connection.send(steps)
        times: list[float] = self.connection.recv()
        return times

    def stop(self) -> None:
        """End the process; it leaves its peak memory."""
        self.connection.send(0)
        while isinstance(last := self.connection.recv(), list):
            pass  # TRL finishes the step it was waiting in
        self.peak_bytes = last


@contextmanager
def started(name: str) -> Iterator[Side]:
    """Start a side and wait for its first batch."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, name))
    process.start()
    there.close()
    try:
        yield Side(name, here, here.recv())
    except EOFError:
        raise SystemExit(f"{name}: the process ended early; its error is above") from None
    finally:
        here.close()
        process.join()


class Disagreement(SystemExit):
    """The sides do not compute the same thing, so their times mean nothing."""


def check_agreement(ours: Side, other: Side) -> None:
    """Raise unless loss and gradient norm of the first batch agree."""
    for quantity in ("loss", "gradient_norm"):
        mine, theirs = getattr(ours.first, quantity), getattr(other.first, quantity)
        print(f"  first batch, {quantity.replace('_', ' ')}: {ours.name} {mine:.6f}, {other.name} {theirs:.6f}")
        if not abs(mine - theirs) <= TOLERANCE * abs(theirs):
            raise Disagreement(f"{quantity} of {ours.name} and {other.name} differ by more than {TOLERANCE:g}")


def compare(names: Sequence[str], blocks: int, steps: int) -> dict[str, Side]:
    """Time the sides in turns; the first one is ours, and every other must agree with it."""
    print(f"\n{', '.join(names)}: {blocks} blocks of {steps} steps each")
    return _compare([], list(names), blocks, steps)


def _compare(sides: list[Side], waiting: list[str], blocks: int, steps: int) -> dict[str, Side]:
    if waiting:
        with started(waiting[0]) as side:
            if sides:
                check_agreement(sides[0], side)
            side.run(1)  # allocates the optimizer's states
            return _compare([*sides, side], waiting[1:], blocks, steps)
    for block in range(blocks):
        for side in sides if block % 2 == 0 else reversed(sides):
            side.seconds += side.run(steps)
    for side in sides:
        side.stop()
        times = " ".join(f"{seconds:.2f}" for seconds in side.seconds)
        print(f"  {side.name:24} median {side.median:6.2f} s, peak {side.peak_bytes / 2**20:5.0f} MiB; steps: {times}")
    return {side.name: side for side in sides}


def summarise(sides: Mapping[str, Side]) -> dict[str, Any]:
    """The figures of the report. Ratios of time are theirs to ours; the ratio of memory is ours to theirs."""

    def ratio(theirs: str, ours: str) -> float:
        return round(sides[theirs].median / sides[ours].median, 2)

    return {
        "dpo": {
            "ratio": ratio("TRL", "ours"),
            "ratio_cached_reference": ratio("TRL, cached reference", "ours, cached reference"),
            "ratio_padded_shape": ratio("padded shape", "ours"),
            "peak_memory_ratio": round(sides["ours"].peak_bytes / sides["TRL"].peak_bytes, 2),
        },
        "sft": {
            "ratio_padded": ratio("TRL SFT padded", "ours SFT"),
            "ratio_packed": ratio("TRL SFT packed", "ours SFT"),
        },
    }


def print_summary(figures: Mapping[str, Any], sides: Mapping[str, Side]) -> None:
    """Ratios with the targets they are held against, and what the cached reference costs."""
    dpo, sft = figures["dpo"], figures["sft"]
    fly, cached = sides["ours"], sides["ours, cached reference"]
    cost, saved = cached.first.setup_seconds, fly.median - cached.median
    print(f"""
DPO step, reference on the fly   {dpo["ratio"]:5.2f} times faster than TRL (target 7)
DPO step, cached reference       {dpo["ratio_cached_reference"]:5.2f} times faster than TRL (target 8.5)
DPO step against padded shape    {dpo["ratio_padded_shape"]:5.2f} times faster (head at completions only: as on a GPU)
DPO peak memory                  {dpo["peak_memory_ratio"]:5.2f} of TRL's (target below 1)
SFT step, TRL padded             {sft["ratio_padded"]:5.2f} times faster (target 3.5)
SFT step, TRL packed             {sft["ratio_packed"]:5.2f} times faster (target 3.5)""")
    if saved > 0:
        print(
            f"Cached reference: {cost:.2f} s to compute for these pairs, {saved:.2f} s saved an epoch; "
            f"it has paid for itself in epoch {max(1, ceil(cost / saved))}"
        )


def machine() -> str:
    """Processor, threads and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{processor()}, {os.cpu_count()} cores of which {THREADS} used, {memory:.0f} GiB"


def main() -> None:
    """Run all comparisons, print, and write the results."""
    parser = argparse.ArgumentParser(description="Training steps of Boresight beside TRL's.")
    parser.add_argument("--quick", action="store_true", help="one block of two steps a side; writes nothing")
    blocks, steps = (1, 2) if parser.parse_args().quick else (4, 5)
    rows = make_rows()
    prompts = sum(len(row.prompt) for row in rows)
    completions = sum(len(row.chosen) + len(row.rejected) for row in rows)
    print(f"{machine()}\n{len(rows)} pairs: {prompts} prompt tokens, {completions} completion tokens")
    sides: dict[str, Side] = {}
    for names in (DPO, CACHED, SFT):
        sides |= compare(names, blocks, steps)
    figures = summarise(sides)
    print_summary(figures, sides)
    if blocks == 1:
        return
    document = figures | {
        "versions": {name: importlib.metadata.version(name) for name in ("boresight", "torch", "transformers", "trl")}
        | {"python": platform.python_version()},
        "machine": machine(),
        "command": " ".join(["python", *sys.argv]),
        "step_seconds": {name: [round(seconds, 3) for seconds in side.seconds] for name, side in sides.items()},
        "peak_memory_mib": {name: side.peak_bytes >> 20 for name, side in sides.items()},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\nwritten to {RESULTS}")


if __name__ == "__main__":
    main()
