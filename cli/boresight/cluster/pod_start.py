"""Waiting for a pod of ours to start, and saying why it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import UserError
from ..text import clean
from .api import EVENTS, PODS, ApiError, Object

if TYPE_CHECKING:
    from .source import ClusterRuns

START_SECONDS = 300.0
"""For a pod to be placed and its image to be there: the run's nodes have it."""
POLL_SECONDS = 0.5
QUIET_SECONDS = 2.0
"""A pod that takes no longer needs no explanation: its events are not asked for."""
_HOPELESS = ("ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError")
_NO_REASONS = {"ContainerCreating", "PodInitializing"}
"""What a node says that is at work on it, or that cannot be; then events say why."""


def started(runs: ClusterRuns, namespace: str, name: str) -> Object:
    """The pod, once its container runs or has ended. Why it waits is told on stderr as soon as it is known.

    Raises :class:`UserError` for a pod that was rejected, cannot start, or has not after :data:`START_SECONDS`.
    """
    began, told = runs.clock(), None
    while True:
        pod = runs.api.get(PODS, namespace, name)
        if _has_run(pod):
            return pod
        if (status := pod.get("status", {})).get("phase") == "Failed":
            raise UserError(f"pod {name} was rejected: {_joined(status)}")
        waited = runs.clock() - began
        why = waiting_reason(pod) or (_warning(runs, namespace, name) if waited > QUIET_SECONDS else None)
        if why is not None and why.startswith(_HOPELESS):
            raise UserError(f"pod {name} cannot start: {clean(why)}")
        if waited > START_SECONDS:
            raise UserError(f"pod {name} did not start in {START_SECONDS:g} s: {clean(why or 'no node says why')}")
        if why not in (None, told):
            told = why
            click.echo(f"pod {name} waits: {clean(str(why))}", err=True)
        runs.sleep(POLL_SECONDS)


def waiting_reason(pod: Object) -> str | None:
    """Why a pod does not run, as its node or the scheduler says."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses") or ():
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") not in _NO_REASONS:
            return _joined(waiting)
    unplaced = (c for c in status.get("conditions") or () if c["type"] == "PodScheduled" and c["status"] == "False")
    return next((_joined(condition) for condition in unplaced), None)


def _has_run(pod: Object) -> bool:
    status = pod.get("status", {})
    states = [container.get("state", {}) for container in status.get("containerStatuses") or ()]
    return status.get("phase") in {"Running", "Succeeded"} or any("terminated" in state for state in states)


def _warning(runs: ClusterRuns, namespace: str, name: str) -> str | None:
    """The newest one about the pod, such as a volume that cannot be mounted. None for who may not list events."""
    try:
        found = runs.api.list(EVENTS, namespace, fields=f"involvedObject.name={name},type=Warning")
    except ApiError as error:
        if error.code != 403:
            raise
        return None
    newest = max(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime")), default=None)
    return _joined(newest) if newest is not None else None


def _joined(said: Object) -> str:
    """``reason: message``."""
    return ": ".join(str(said[part]) for part in ("reason", "message") if said.get(part)) or "no reason given"
