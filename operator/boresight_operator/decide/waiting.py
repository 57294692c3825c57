"""Why an attempt whose Job exists does not run: the waiting table.

Waiting for a place has no limit. What waiting does not cure by itself (a missing Secret, an image that cannot be
pulled, a mount, pods that are not admitted) has ``timeouts.startSeconds``, and is a fault of the infrastructure then.
So has a node that does not get a container up and tells nobody why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from boresight_api.status import StageStatus

from ..decision import LookAtEvents
from ..views import JobView, Part, PodView
from .draft import Draft, State, are_shards, clock, is_prepare, seconds

LOOK_AFTER_SECONDS = 30
"""A Job without pod, or a pod without container, for so long: its events are listed once, and the status says what is
missing. Sooner it would be a status write for every pod that comes up."""

CREATING = "ContainerCreating"
"""Every pod has its node, and on one of them there is no container and no word why: a pull that takes long, a network
or a runtime that hangs, a node that has just died."""
UNLIMITED = frozenset({"Unschedulable", "QuotaPending"})
LIMITED = frozenset({"SecretMissing", "ConfigError", "ImagePull", "MountFailed", "PodsForbidden", CREATING})

_BY_CONTAINER = {
    "ErrImagePull": "ImagePull",
    "ImagePullBackOff": "ImagePull",
    "ErrImageNeverPull": "ImagePull",
    "ImageInspectError": "ImagePull",
    "RegistryUnavailable": "ImagePull",
    "SignatureValidationFailed": "ImagePull",
    "InvalidImageName": "InvalidImageName",
    "CreateContainerConfigError": "ConfigError",
    "CreateContainerError": "ConfigError",
    "RunContainerError": "ConfigError",
}
"""The kubelet's reason -> ours."""
_BY_EVENT = (
    (re.compile(r"FailedMount|FailedAttachVolume|MountVolume|[Uu]nable to (attach or )?mount"), "MountFailed"),
    (re.compile(r"FailedCreate|forbidden|exceeded quota|PodSecurity|webhook|denied the request"), "PodsForbidden"),
)
BY_EVENTS = frozenset(reason for _, reason in _BY_EVENT)
_NO_SECRET = re.compile(r"secrets? \"[^\"]+\" not found|couldn't find key .* in Secret", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a Job's pods do not run. ``reason`` Running: they do."""

    reason: str
    message: str = ""
    node: str | None = None
    """Whose fault it is, if it is a node's."""


RUNNING = Wait("Running")
STARTING = Wait("Starting")
_SEVERITY = ("InvalidImageName", *sorted(LIMITED - {CREATING}), "Unschedulable", "Starting", CREATING)
"""Among pods, the first of these is what holds up the Job: what has a reason, a place that is missing, a node."""


def wait_of(draft: Draft, stage: StageStatus, job: JobView) -> Wait:
    """What the Job waits for, or that it runs."""
    if job.suspended:
        return Wait("QuotaPending", _suspended(stage, job))
    pods = _present(job)
    waits = [_of_pod(pod) for pod in pods]
    wanted = 1 if are_shards(draft, job) else max(1, job.completions)
    if len(pods) < wanted:
        waits.append(Wait("Starting", f"{len(pods)} of {wanted} pods exist"))
    if are_shards(draft, job) and RUNNING in waits:
        return RUNNING
    found = min(waits, key=_severity, default=STARTING)
    if found.reason not in {"Starting", CREATING}:
        return found
    return _told(job, len(pods)) or _looked_into(draft, stage, job, found)


def look_at_events(draft: Draft, stage: StageStatus, job: JobView) -> None:
    """Ask once for the events of a Job that has stood still for 30 seconds without telling why."""
    since = _standing_since(draft, stage, job)
    if draft.now - since > LOOK_AFTER_SECONDS:
        draft.effects.append(LookAtEvents(job.uid))
    else:
        draft.wake_at(since + LOOK_AFTER_SECONDS)


def out_of_time(draft: Draft, stage: StageStatus) -> bool:
    """Whether the stage has waited for ``timeouts.startSeconds`` for what waiting does not cure."""
    since = seconds(stage.since)
    if since is None or stage.reason not in LIMITED:
        return False
    limit = since + draft.wishes.start_seconds
    if draft.now > limit:
        return True
    draft.wake_at(limit)
    return False


def _suspended(stage: StageStatus, job: JobView) -> str:
    if job.devices == 0 or is_prepare(stage) or job.part is Part.MERGE:
        return (
            f"Job {job.name} asks for no device and is suspended by somebody else, Kueue as a rule; "
            "the operator's setting queueCPUStages says whether such Jobs carry the queue's label"
        )
    return f"Job {job.name} waits for quota in its queue"


def _present(job: JobView) -> list[PodView]:
    """The newest pod of each index that may still run; of an index that has finished, the one that did."""
    newest: dict[int, PodView] = {}
    for pod in job.pods:
        newest.setdefault(pod.index, pod)
    return list(newest.values())


def _of_pod(pod: PodView) -> Wait:
    if pod.running or pod.end is not None or pod.over:
        return RUNNING
    if pod.unschedulable is not None and pod.node is None:
        return Wait("Unschedulable", pod.unschedulable)
    reason = _BY_CONTAINER.get(pod.waiting_reason or "")
    if reason is None and pod.node is None:
        return Wait("Starting", pod.waiting_message)
    if reason is None:
        return Wait(CREATING, _creating(pod), pod.node)
    if reason == "ConfigError" and _NO_SECRET.search(pod.waiting_message):
        reason = "SecretMissing"
    return Wait(reason, f"pod {pod.name}: {pod.waiting_reason}: {pod.waiting_message}")


def _creating(pod: PodView) -> str:
    said = ": ".join(filter(None, (pod.waiting_reason, pod.waiting_message)))
    return (
        f"pod {pod.name} has been on node {pod.node} without a container and without a word why"
        + (f" ({said})" if said else "")
        + "; a large image may still be pulled, else ask the node's kubelet"
    )


def _looked_into(draft: Draft, stage: StageStatus, job: JobView, found: Wait) -> Wait:
    """A standstill that neither Job nor pods explain. What events told of other pods (or another process) is looked at
    again before the status says that it is over."""
    if job.events is None and stage.job_uid is not None and stage.reason in BY_EVENTS:
        draft.effects.append(LookAtEvents(job.uid))
        return Wait(stage.reason, stage.message or "")
    if job.events is None:
        look_at_events(draft, stage, job)
    return found if draft.now - _standing_since(draft, stage, job) > LOOK_AFTER_SECONDS else STARTING


def _told(job: JobView, pods: int) -> Wait | None:
    """What the events say. Events are kept for an hour: that pods were refused is over once all of them are there."""
    for message in job.events or ():
        for pattern, reason in _BY_EVENT:
            is_over = reason == "PodsForbidden" and pods >= max(1, job.completions)
            if pattern.search(message) and not is_over:
                return Wait(reason, message)
    return None


def _standing_since(draft: Draft, stage: StageStatus, job: JobView) -> int:
    """Since when it starts: the Job's age, or since it last began to; that is now, if it has waited for a place.

    Of one that stands still already, since its newest pod was made: another pod has its own time.
    """
    if stage.reason == CREATING and stage.job_uid is not None:
        return max([clock(job.created), *(clock(pod.created) for pod in job.pods)])
    if stage.state is State.WAITING and stage.job_uid is not None:
        return draft.now
    since = seconds(stage.since) if stage.reason == "Starting" else None
    return max(clock(job.created), since or 0)


def _severity(wait: Wait) -> int:
    return _SEVERITY.index(wait.reason) if wait.reason in _SEVERITY else len(_SEVERITY)
