"""What ``decide`` looks at: one run, its plan, its children, and who else wants its keys. Frozen and without I/O.

Every time in here is in seconds since the epoch by the clock of the API server (:mod:`.client` estimates it), so no two
hosts' clocks are ever compared. Identity is by UID; names and labels are for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from boresight_api.outcome import PublishedArtifact
from boresight_api.pins import Pin
from boresight_api.plan import Plan
from boresight_api.problems import Problem
from boresight_api.status import RunStatus

from .settings import NamespaceSettings

PREPARE = "prepare"
"""Name of the stage before all keyed ones."""
INVOLVED_PODS = 4
"""Pods whose events are listed beside their Job's."""


class Part(StrEnum):
    """What a Job of an attempt does. Only independent pods need the second one."""

    WORK = "work"
    MERGE = "merge"
    """Publishes what the independent pods of synthesis or evaluation made; asks for no device."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run of any of the three kinds, as the API server has it."""

    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    created: float
    deleting: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    document: Mapping[str, Any]
    """``apiVersion``, ``kind``, ``metadata`` (name, namespace, labels) and ``spec``, as ``parse_manifest`` takes it."""
    status: RunStatus
    """Empty if there is none yet, or if it was lost."""
    status_problem: str | None = None
    """Set if the status holds what this release does not know: a newer operator wrote it."""


@dataclass(frozen=True, slots=True)
class ContainerEnd:
    """How a stage's container ended."""

    exit_code: int
    reason: str
    """The kubelet's: Completed, Error, OOMKilled, ..."""
    message: str
    """The termination message: an outcome, or whatever the pod wrote."""
    ran_seconds: int | None
    """From its start to its end, both by the kubelet's clock."""


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of a stage's Job."""

    uid: str
    name: str
    index: int
    """Completion index: the rank of the node, or of the independent pod; 0 for a Job of one pod."""
    created: float
    node: str | None = None
    phase: str = "Pending"
    deleting_since: float | None = None
    """Its deletion timestamp: when its grace period ends."""
    ip: str | None = None
    host_network: bool = False
    disruption: str | None = None
    """Message of its DisruptionTarget condition: evicted, preempted, or its node was lost."""
    unschedulable: str | None = None
    """Message of the scheduler."""
    waiting_reason: str | None = None
    """Of its container: ImagePullBackOff, CreateContainerConfigError, ..."""
    waiting_message: str = ""
    has_container_status: bool = False
    running: bool = False
    """Its container runs."""
    end: ContainerEnd | None = None

    @property
    def over(self) -> bool:
        """Nothing of it runs any more."""
        return self.phase in {"Succeeded", "Failed"}


@dataclass(frozen=True, slots=True)
class JobView:
    """A Job that this run owns, with its pods (the newest of an index first)."""

    uid: str
    name: str
    stage: str
    key: str | None
    attempt: int
    part: Part
    plan: str | None
    """Digest of the plan that it was made for."""
    created: float
    deleting: bool = False
    suspended: bool = False
    complete: bool = False
    completed: float | None = None
    """When, by the clock of the Job controller: good for how long to wait for its pod's news, and for nothing else."""
    failed: tuple[str, str] | None = None
    """Reason and message of its Failed (or FailureTarget) condition; the message names the failure policy's rule."""
    completions: int = 1
    devices: int = 0
    """Devices of all its pods together."""
    pods: tuple[PodView, ...] = ()
    events: tuple[str, ...] | None = None
    """Warnings about what is :attr:`involved`, if ``decide`` asked to look (:class:`.decision.LookAtEvents`); newest
    first. None again when its pods are others: what is said about the old ones does not hold up the new ones."""

    @property
    def involved(self) -> tuple[str, ...]:
        """UIDs of what its events are about: itself and its first pods."""
        return (self.uid, *(pod.uid for pod in self.pods[:INVOLVED_PODS]))


class Claim(StrEnum):
    """What another run has to do with a key."""

    LIVE = "live"
    """An attempt of it is Starting or Running, or its Job still ends."""
    WANTED = "wanted"
    """It would start an attempt now."""
    DONE = "done"
    """It has the artifact (state Succeeded or Cached)."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Another run of the same namespace and store that has one of our keys."""

    kind: str
    name: str
    uid: str
    created: float
    claim: Claim
    artifact: PublishedArtifact | None = None
    """With DONE."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server (or something it asked) would not take an object of ours. Forgotten on success and on restart."""

    name: str
    """Of the object."""
    kind: str
    reason: str
    """Kubernetes' reason (Forbidden, Invalid, ...), ``NameConflict`` (a foreign object has our name), or
    ``NamespaceTerminating``."""
    message: str
    since: float
    """When it was first refused."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the other runs of the namespace use of its limits."""

    runs: int = 0
    """Runs with a live attempt."""
    devices: int = 0
    """Devices of live attempts."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that ``decide`` may look at."""

    run: RunView
    now: float
    settings: NamespaceSettings
    """Of the run's namespace."""
    plan: Plan | None
    """With the pins known; None if ``problems`` says why."""
    pins: Mapping[str, Pin]
    """By source id: the sticky ones (status; after status loss the plan's snapshot)."""
    problems: tuple[Problem, ...] = ()
    """Why the spec cannot be parsed or planned."""
    jobs: tuple[JobView, ...] = ()
    """Those that the run's UID owns, oldest first."""
    rivals: Mapping[str, tuple[Rival, ...]] = field(default_factory=dict)
    """By key."""
    refusals: tuple[Refusal, ...] = ()
    usage: Usage = Usage()
    pins_lost: bool = False
    """The status was lost and no snapshot of its plan is left: sources are pinned anew."""
    nodes_gone: frozenset[str] = frozenset()
    """Nodes that were looked up and do not exist any more."""
