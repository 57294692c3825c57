"""How an attempt ended: what its pods and its Job say, by what to believe first, and whose fault it was among ranks.

Of one pod: its outcome (the termination message), the rule that its Job names, its container's state. Among pods: the
first class of ``ROOT_ORDER``. Success needs the Job Complete and rank 0's outcome with the expected key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from boresight_api.outcome import ExitCode, FailureClass, Outcome, OutcomeStatus, message_text

from ..objects.failure_policy import class_of_rule
from ..views import JobView, PodView

ROOT_ORDER: tuple[str, ...] = (
    "InvalidConfig",
    "InvalidData",
    "MissingInput",
    "Diverged",
    "OutOfMemory",
    "Preempted",  # DisruptionTarget
    "Infrastructure",
    "Hung",
    "Error",
    "PodDeleted",  # by somebody, or by the Job controller after another rank's failure
    "PeerLost",
)
"""Among ranks the cause is the first of these; the others followed from it."""
POD_GONE_SECONDS = 30
"""How long a pod may still say how it ended: after its grace period, or after its Job was complete without it."""
_STATE_LOST = frozenset({"ContainerStatusUnknown", "Unknown"})
"""The kubelet's, and containerd's after a reboot: the exit code is made up (137, 255)."""
_SIGNALLED = 128
"""Exit codes above are 128 + the signal's number."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What an outcome must say to be believed."""

    stage: str
    key: str | None
    stores: tuple[str, ...]
    """URIs below which its artifact may lie."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ended. Success has an outcome (a shard's Job has none); ``lost`` says that nobody knows."""

    reason: str
    """PascalCase: the class, or more closely what happened."""
    message: str = ""
    failure: FailureClass | None = None
    outcome: Outcome | None = None
    lost: bool = False
    rank: int | None = None
    node: str | None = None
    step: int | None = None

    @property
    def succeeded(self) -> bool:
        """Whether what was to be done is done."""
        return self.failure is None and not self.lost


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one pod says about the end."""

    cause: str
    """A member of ``ROOT_ORDER``."""
    reason: str
    message: str
    rank: int
    node: str | None
    step: int | None = None


def verdict(job: JobView, expected: Expected, *, shards: bool = False, now: float = 0.0) -> Verdict | None:
    """How the attempt of ``job`` ended; None if it has not. ``shards`` are independent pods, which publish nothing."""
    if job.complete:
        if not shards and _is_unheard(job, now):
            return None
        return Verdict("ShardsDone") if shards else _done(job, expected)
    if job.failed is None or any(_still_ends(pod, now) for pod in job.pods):
        return None
    return _failed(job, expected)


def published(job: JobView, expected: Expected) -> Outcome | None:
    """The outcome of an attempt that was stopped and finished all the same; None if it did not."""
    pod = _rank_zero(job)
    if pod is None or pod.end is None or not (job.complete or pod.end.exit_code == 0):
        return None
    outcome, _ = read_outcome(pod.end.message, expected)
    return outcome if outcome is not None and outcome.status is OutcomeStatus.SUCCEEDED else None


def last_step(job: JobView, expected: Expected) -> int | None:
    """The step that rank 0 says it reached, once it has ended."""
    pod = _rank_zero(job)
    if pod is None or pod.end is None:
        return None
    outcome, _ = read_outcome(pod.end.message, expected)
    return outcome.step if outcome is not None else None


def read_outcome(message: str, expected: Expected) -> tuple[Outcome | None, str]:
    """The outcome in a termination message, or why it is not believed. Pods are not trusted further than that."""
    try:
        outcome = Outcome.parse(message.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        shown = message_text(message, 200)
        return None, f"its termination message is no outcome: {shown}" if shown else "it left no outcome"
    if outcome.stage != expected.stage or outcome.key != expected.key:
        claimed = f"{outcome.stage} {(outcome.key or 'without key')[:16]}"
        wanted = f"{expected.stage} {(expected.key or 'without key')[:16]}"
        return None, f"its outcome claims {claimed}, expected {wanted}; it is not believed"
    if outcome.status is OutcomeStatus.SUCCEEDED:
        return _believable(outcome, expected)
    return outcome, ""


def _believable(outcome: Outcome, expected: Expected) -> tuple[Outcome | None, str]:
    if expected.key is None:
        return (outcome, "") if outcome.prepare is not None else (None, "its outcome has no report of prepare")
    if outcome.artifact is None:
        return None, "its outcome names no artifact"
    uri = outcome.artifact.uri
    if not any(_lies_in(uri, store, expected.key) for store in expected.stores):
        stores = " or ".join(expected.stores)
        return None, f"its artifact lies at {message_text(uri, 200)}, expected below {stores}; it is not believed"
    return outcome, ""


def _lies_in(uri: str, store: str, key: str) -> bool:
    """Whether ``uri`` is the artifact's place in a store. A folder has many names; the last two parts must fit."""
    place = f"/artifacts/{key}"
    if store.startswith("file:"):
        return uri.startswith("file:") and uri.endswith(place)
    return uri == store.rstrip("/") + place


def _done(job: JobView, expected: Expected) -> Verdict:
    pod = _rank_zero(job)
    if pod is None or pod.end is None:
        return Verdict("OutcomeLost", "the Job is complete, but its pod is gone and nobody read its outcome", lost=True)
    outcome, fault = read_outcome(pod.end.message, expected)
    if outcome is None or outcome.status is not OutcomeStatus.SUCCEEDED:
        fault = fault or "its outcome says that it failed, though it exited with 0"
        return Verdict("OutcomeRejected", f"pod {pod.name}: {fault}", FailureClass.ERROR, rank=0, node=pod.node)
    return Verdict("Succeeded", outcome=outcome, step=outcome.step)


def _failed(job: JobView, expected: Expected) -> Verdict:
    reason, message = job.failed or ("", "")
    findings = list(_findings(job, expected))
    rule = _of_rule(message)
    if rule is not None and rule.cause != "Preempted":
        findings = [f for f in findings if f.cause != "PodDeleted"]  # the Job controller ended those: a consequence
    if rule is not None and not _spoken_for(job, message, findings):
        findings.append(rule)
    if not findings:
        lost = f"the Job failed and its pods say nothing: {reason}: {message}"
        return Verdict("PodsGone", message_text(lost), FailureClass.PREEMPTED)  # pods only go if somebody deletes them
    root = min(findings, key=lambda f: (ROOT_ORDER.index(f.cause), f.rank))
    return Verdict(root.reason, root.message, _class_of(root.cause), rank=root.rank, node=root.node, step=root.step)


def _class_of(cause: str) -> FailureClass:
    """What an attempt is charged with. Ranks that only lost each other met a fault outside of them."""
    special = {"PodDeleted": FailureClass.PREEMPTED, "PeerLost": FailureClass.INFRASTRUCTURE}
    return special.get(cause) or FailureClass(cause)


def _findings(job: JobView, expected: Expected) -> Iterator[_Finding]:
    """What each pod that did not succeed says; the newest pod of an index speaks for it."""
    for pod in job.pods:
        finding = _finding(pod, expected)
        if finding is not None:
            yield finding


def _finding(pod: PodView, expected: Expected) -> _Finding | None:
    said = _said(pod, expected)
    if pod.disruption is not None:
        step = said.step if said is not None else None
        disrupted = _Finding("Preempted", "DisruptionTarget", pod.disruption, pod.index, pod.node, step)
        causes = [disrupted, *([said] if said else [])]
        return min(causes, key=lambda finding: ROOT_ORDER.index(finding.cause))
    return said


def _said(pod: PodView, expected: Expected) -> _Finding | None:
    """By outcome, else by the container's state."""
    end = pod.end
    if end is None:
        lost = pod.phase == "Failed"
        gone = "the pod failed and its container left no state: its node may be lost"
        return _Finding("Infrastructure", "PodLost", gone, pod.index, pod.node) if lost else None
    outcome, fault = read_outcome(end.message, expected)
    step = outcome.step if outcome is not None else None
    deleted = pod.deleting_since is not None
    if outcome is not None:
        if outcome.failure_class is None:
            return None
        stopped = deleted and outcome.failure_class is FailureClass.PREEMPTED
        cause = "PodDeleted" if stopped else outcome.failure_class.value
        return _Finding(cause, cause, outcome.message or "", pod.index, pod.node, step)
    if end.reason == "OOMKilled":
        killed = "the kernel killed it: it used more memory than its limit (OOMKilled)"
        return _Finding("OutOfMemory", "OOMKilled", killed, pod.index, pod.node)
    return _by_exit_code(pod, end.exit_code, fault, deleted=deleted)


def _by_exit_code(pod: PodView, code: int, fault: str, *, deleted: bool) -> _Finding | None:
    known = {int(member): member.failure_class for member in ExitCode}
    if code == 0:
        return None
    failure = known.get(code)
    if not deleted and pod.end is not None and pod.end.reason in _STATE_LOST:
        message = f"the kubelet lost its container ({pod.end.reason}, exit code {code}): its node was restarted or lost"
        return _Finding("Infrastructure", "NodeLost", message, pod.index, pod.node)
    if deleted and (failure is FailureClass.PREEMPTED or (failure is None and code > _SIGNALLED)):
        message = f"the pod was deleted while it ran (exit code {code})"
        return _Finding("PodDeleted", "PodDeleted", message, pod.index, pod.node)
    cause = failure.value if failure is not None else "Error"
    return _Finding(cause, cause, f"exit code {code}; {fault}", pod.index, pod.node)


def _of_rule(message: str) -> _Finding | None:
    """What the failure policy's rule says: the durable record when the pods are gone."""
    found = re.search(r"rule at index (\d{1,4})\b", message)
    failure = class_of_rule(int(found.group(1))) if found else None
    if failure is None:
        return None
    return _Finding(failure.value, failure.value, message, 0, None)


def _spoken_for(job: JobView, message: str, findings: list[_Finding]) -> bool:
    """Whether the pod that the Job's message names has said itself how it ended: that is believed first."""
    named = {pod.index for pod in job.pods if pod.name and pod.name in message}
    return any(finding.rank in named for finding in findings)


def _rank_zero(job: JobView) -> PodView | None:
    """The newest pod of index 0 that has ended, else the newest."""
    pods = [pod for pod in job.pods if pod.index == 0]
    return next((pod for pod in pods if pod.end is not None), pods[0] if pods else None)


def _is_unheard(job: JobView, now: float) -> bool:
    """Whether the end of a complete Job's pod is news that may still come: two watches, and two lists, are not in step.

    A pod that was not seen at all is waited for, unless the Job controller's clock is off by more than that wait.
    """
    pod = _rank_zero(job)
    if pod is not None:
        return pod.end is None and not pod.over
    return job.completed is not None and abs(now - job.completed) <= POD_GONE_SECONDS


def _still_ends(pod: PodView, now: float) -> bool:
    """Whether a pod of a failed Job may yet say how it ended."""
    if pod.over:
        return False
    return pod.deleting_since is None or now <= pod.deleting_since + POD_GONE_SECONDS
