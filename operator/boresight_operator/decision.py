"""What ``decide`` wants done. The status is written first; effects follow only once it is stored."""

from __future__ import annotations

from dataclasses import dataclass

from boresight_api.plan import Plan
from boresight_api.status import RunStatus

from .views import Part


@dataclass(frozen=True, slots=True)
class SavePlan:
    """Keep a plan with its pins in an immutable ConfigMap, so that a newer operator (or a lost status) finds it."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Create the objects of an attempt that the status already names as Starting."""

    stage: str
    key: str | None
    """None for ``prepare``."""
    attempt: int
    part: Part = Part.WORK
    halvings: int = 0
    """How often the token budget is halved."""
    avoid_nodes: tuple[str, ...] = ()
    """Nodes that failed this stage before."""


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Foreground deletion: the Job stays until its pods are gone."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Delete everything of this run that retention no longer keeps: its Jobs (with their pods) and stage ConfigMaps."""

    jobs: tuple[DeleteJob, ...]
    stages: tuple[str, ...]
    """Names of stages whose ConfigMaps go."""


@dataclass(frozen=True, slots=True)
class LookAtEvents:
    """List the events about a Job and its pods once; they come back in :attr:`.views.JobView.events`."""

    job_uid: str


@dataclass(frozen=True, slots=True)
class LookAtNode:
    """Look whether a node still exists; a missing one comes back in :attr:`.views.Observation.nodes_gone`."""

    node: str


Effect = SavePlan | StartAttempt | DeleteJob | CleanUp | LookAtEvents | LookAtNode


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes event about the run."""

    type: str
    """Normal or Warning."""
    reason: str
    """PascalCase."""
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One reconcile's result."""

    status: RunStatus
    """What ``boresight`` owns of the status, whole; ``percent``, ``remaining_seconds``, ``progress`` and the condition
    ProgressAvailable belong to ``boresight-progress`` and are left empty here."""
    effects: tuple[Effect, ...] = ()
    """In this order, after the status is stored."""
    events: tuple[Event, ...] = ()
    """Emitted only if this decision changed the status."""
    requeue_after: float | None = None
    """Seconds until time alone can change the decision; None if only an event can."""
