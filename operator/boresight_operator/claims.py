"""What a run's status and a Job say about keys, in a form to compare: when it changes, other runs are concerned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .api import Object
from .names import KEY_ANNOTATION
from .plain import condition, mapping, mappings, text
from .views import Claim

HELD_BACK = frozenset({"NamespaceLimit", "StoppedAfter"})
"""Reasons to wait of a stage that has no attempt, whatever number its last one had: others need not wait for it."""


@dataclass(frozen=True, slots=True)
class Saying:
    """About one key."""

    claim: Claim | None
    detail: str = ""
    """What else others look at, to be compared only."""


NOTHING = Saying(None)
LIVE = Saying(Claim.LIVE)
ENDED = Saying(None, "ended")
"""Of a Job."""


@dataclass(frozen=True, slots=True)
class Claims:
    """By key, what is said about it."""

    by_key: Mapping[str, Saying] = field(default_factory=dict)

    def freed(self, after: Claims) -> list[str]:
        """The keys on which others may go on: a claim is gone or is another one, or an artifact is there.

        A claim that comes frees nobody. Where a thousand runs share a key, waking all for each that begins to wait
        would be a million looks.
        """
        return [
            key
            for key in {**self.by_key, **after.by_key}
            if (before := self.by_key.get(key, NOTHING)) != (now := after.by_key.get(key, NOTHING))
            and (before.claim is not None or now.claim is Claim.DONE)
        ]


def stage_claim(stage: Mapping[str, Any]) -> Claim | None:
    """What a stage in a run's status claims: its artifact, an attempt under way, or its turn."""
    state, reason = text(stage, "state"), text(stage, "reason")
    if state in {"Succeeded", "Cached"}:
        return Claim.DONE if mapping(stage, "artifact") else None
    if state == "Waiting" and reason == "SameKeyRunning":
        return Claim.WANTED
    if state in {"Starting", "Running"}:
        return Claim.LIVE
    waits = state == "Waiting" and stage.get("attempt") is not None and reason not in HELD_BACK
    return Claim.LIVE if waits else None


def run_claims(run: Object) -> Claims:
    """Of a run: the claim of each stage with a key, where its artifact is or will be, and whether the run ends."""
    common = (bool(mapping(run, "metadata").get("deletionTimestamp")), mapping(run, "spec", "storage"))
    return Claims(
        {
            key: Saying(
                stage_claim(stage),
                repr((*common, text(stage, "artifact", "uri"), text(stage, "artifact", "digest"))),
            )
            for stage in mappings(run, "status", "stages")
            if (key := text(stage, "key"))
        }
    )


def job_claims(job: Object) -> Claims:
    """Of a Job: whether the attempt at its key has ended."""
    key = text(job, "metadata", "annotations", KEY_ANNOTATION)
    ended = condition(job, "Complete") or condition(job, "Failed")
    return Claims({key: ENDED if ended else LIVE} if key else {})
