"""What a run's status and a Job say about keys, in a form that can be compared: when it changes, other runs are concerned."""

from __future__ import annotations

from collections.abc import KeysView, Mapping
from dataclasses import dataclass, field

from .api import Object
from .names import KEY_ANNOTATION


@dataclass(frozen=True, slots=True)
class Claims:
    """By key, what is said about it."""

    by_key: Mapping[str, str] = field(default_factory=dict)

    def keys(self) -> KeysView[str]:
        """All keys."""
        return self.by_key.keys()

    def changed(self, after: Claims) -> list[str]:
        """The keys about which the two say different things."""
        both = {**self.by_key, **after.by_key}
        return [key for key in both if self.by_key.get(key) != after.by_key.get(key)]


def run_claims(run: Object) -> Claims:
    """Of a run: state, attempt, reason and artifact of each stage with a key, and whether the run is being deleted."""
    deleting = "deletionTimestamp" in run["metadata"]
    stages = (run.get("status") or {}).get("stages") or ()
    said = ("state", "attempt", "reason", "artifact", "jobUID")
    return Claims(
        {stage["key"]: repr((deleting, *(stage.get(name) for name in said))) for stage in stages if stage.get("key")}
    )


def job_claims(job: Object) -> Claims:
    """Of a Job: whether the attempt at its key has ended."""
    key = (job["metadata"].get("annotations") or {}).get(KEY_ANNOTATION)
    ended = any(
        condition.get("type") in {"Complete", "Failed"} and condition.get("status") == "True"
        for condition in job["status"]["conditions"]
    )
    return Claims({key: "ended" if ended else "live"} if key else {})
