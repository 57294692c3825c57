"""Which exits end a Job at once, and what each means. One table, for the Job's rules and for reading them back.

When the pods are gone, the Job's condition still says ``matching FailJob rule at index 4``: the index is the durable
record of the failure's class. So the order below is part of what is stored: append, never reorder.
"""

from __future__ import annotations

from typing import Any

from boresight_api.outcome import ExitCode, FailureClass

CONTAINER = "stage"
"""Name of the stage's one container; exit codes of others (an injected sidecar's) match no rule."""

_CODES = (
    ExitCode.INVALID_CONFIG,
    ExitCode.INVALID_DATA,
    ExitCode.DIVERGED,
    ExitCode.OUT_OF_MEMORY,
    ExitCode.PREEMPTED,
    ExitCode.INFRASTRUCTURE,
    ExitCode.HUNG,
    ExitCode.ERROR,
    ExitCode.PEER_LOST,
    ExitCode.MISSING_INPUT,
)

RULES: tuple[FailureClass, ...] = (FailureClass.PREEMPTED, *(FailureClass[code.name] for code in _CODES))
"""Class of each rule. Rule 0 is the DisruptionTarget condition: evicted, preempted, drained, or the node was lost."""

_HOPELESS = {
    FailureClass.INVALID_CONFIG,
    FailureClass.INVALID_DATA,
    FailureClass.MISSING_INPUT,
}
"""What one independent pod finds, all others will find: they are ended at once."""


def class_of_rule(index: int) -> FailureClass | None:
    """The class that rule ``index`` of a Job of ours stands for; None if there is no such rule."""
    return RULES[index] if 0 <= index < len(RULES) else None


def pod_failure_policy(*, independent: bool) -> dict[str, Any]:
    """``podFailurePolicy`` of a Job. What no rule names fails the Job (or the index) by its back-off limit of 0.

    ``independent`` pods go on when one of them fails, unless all must fail alike; then the rules say FailIndex.
    """
    conditions = [{"type": "DisruptionTarget", "status": "True"}]
    rules: list[dict[str, Any]] = [{"action": _action(RULES[0], independent), "onPodConditions": conditions}]
    for code, failure in zip(_CODES, RULES[1:], strict=True):
        exits = {"containerName": CONTAINER, "operator": "In", "values": [int(code)]}
        rules.append({"action": _action(failure, independent), "onExitCodes": exits})
    return {"rules": rules}


def _action(failure: FailureClass, independent: bool) -> str:
    return "FailIndex" if independent and failure not in _HOPELESS else "FailJob"
