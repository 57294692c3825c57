"""How long a run will take on this machine: from what its stages took before, else from what the manifest says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MINUTES_ANNOTATION = "boresight.dev/expected-minutes"
"""On a manifest that was measured: minutes of the whole run on the machine its author names beside it."""
HISTORY_NAME = "times.jsonl"


@dataclass(frozen=True)
class Estimate:
    """Seconds, and where the figure comes from; ``seconds`` is None if nobody knows."""

    seconds: float | None
    basis: str


def estimate(
    to_run: Iterable[str], *, all_stages: Iterable[str], history: Mapping[str, float], annotations: Mapping[str, str]
) -> Estimate:
    """Time for the stages ``to_run``, of the plan's ``all_stages``."""
    names = list(to_run)
    if not names:
        return Estimate(0.0, "everything is cached")
    if all(name in history for name in names):
        return Estimate(sum(history[name] for name in names), "as the last time on this machine")
    minutes = annotations.get(MINUTES_ANNOTATION, "")
    if minutes.replace(".", "", 1).isdigit():
        whole = set(names) == set(all_stages)
        return Estimate(float(minutes) * 60, "as the manifest says" if whole else "at most, as the manifest says")
    return Estimate(None, "this machine has not run these stages yet")


def read_history(folder: Path) -> dict[str, float]:
    """Stage -> seconds of the last time it ran from start to end in this run's folder."""
    path = folder / HISTORY_NAME
    if not path.exists():
        return {}
    times: dict[str, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            times[str(entry["stage"])] = float(entry["seconds"])
        except (ValueError, KeyError, TypeError):
            continue  # a line cut by a full disk or a crash; an estimate is not worth an error
    return times


def append_history(folder: Path, stage: str, key: str | None, seconds: float) -> None:
    """Remember that ``stage`` took ``seconds``, all attempts at its key together."""
    line = json.dumps({"stage": stage, "key": key, "seconds": round(seconds, 2)})
    with (folder / HISTORY_NAME).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
