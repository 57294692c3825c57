"""What a run says about itself, in a test's words."""

from __future__ import annotations

from boresight_operator.api import RUNS, Resource

from .client import Object

RESOURCES = {resource.kind: resource for resource in RUNS}


def resource_of(run: Object) -> Resource:
    """Where a run of its kind is."""
    return RESOURCES[run["kind"]]


def stage_of(run: Object, name: str) -> Object:
    """A stage's status; empty if there is none."""
    found: Object = next((s for s in run.get("status", {}).get("stages", []) if s["name"] == name), {})
    return found


def condition_of(run: Object, kind: str) -> Object:
    """A condition; empty if there is none."""
    found: Object = next((c for c in run.get("status", {}).get("conditions", []) if c["type"] == kind), {})
    return found


def states(run: Object) -> dict[str, str]:
    """Stage -> state."""
    return {stage["name"]: stage["state"] for stage in run.get("status", {}).get("stages", [])}


def summary(run: Object) -> str:
    """The status in a few lines, for a failing test's message."""
    status = run.get("status", {})
    stages = [
        f"{s['name']}: {s['state']}/{s.get('reason', '')} attempt {s.get('attempt')} {s.get('message', '')[:120]}"
        + "".join(f"\n    {e['attempt']}: {e['reason']} {e.get('message', '')[:120]}" for e in s.get("history", ()))
        for s in status.get("stages", [])
    ]
    conditions = [
        f"{c['type']}={c['status']}/{c['reason']} {c.get('message', '')[:160]}" for c in status.get("conditions", [])
    ]
    return "\n  ".join([f"{run['kind']} {run['metadata']['name']}", *stages, *conditions])
