"""Jobs to pods as kube-controller-manager 1.34 does it, for the fields that our Jobs use.

Messages and reasons are the real ones: the index of a failure policy's rule in them is what the operator reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from boresight_operator import api
from boresight_operator.api import Object

from .controller import Controller, Lag
from .registry import JOB_TRACKING, Change, Failure, Registry, controller_of, name_of, namespace_of, stamp, uid_of

INDEX = "batch.kubernetes.io/job-completion-index"
CREATE_RETRY_SECONDS = 10.0


class JobController(Controller):
    """One sync of a Job looks at it and all its pods, as stored."""

    name = "job-controller"

    def __init__(self, registry: Registry, lag: Lag) -> None:
        super().__init__(registry, lag)
        self.failures: dict[tuple[str, int], int] = {}
        """Failed pods of a Job's index; the real one keeps it in an annotation of the next pod."""

    def interested(self, change: Change) -> list[str]:
        if change.resource == api.JOBS:
            return [uid_of(change.new)]
        owner = controller_of(change.new) if change.resource == api.PODS else None
        return [owner["uid"]] if owner is not None else []

    def sync(self, key: str) -> None:
        found = self.registry.by_uid.get(key)
        pods = self.registry.owned(key, api.PODS)
        if found is None or "deletionTimestamp" in found[1]["metadata"]:
            for pod in pods:
                self._release(pod)
            return
        job = found[1]
        if condition(job, "Complete") or condition(job, "Failed"):
            for pod in pods:
                self._release(pod) if is_over(pod) else self._delete_pod(pod)
            return
        _Sync(self, job, pods).run()

    def _release(self, pod: Object) -> None:
        left = [item for item in pod["metadata"].get("finalizers", ()) if item != JOB_TRACKING]
        if len(left) != len(pod["metadata"].get("finalizers", ())):
            patch = {"metadata": {"finalizers": left or None}}
            self.registry.merge(api.PODS, namespace_of(pod), name_of(pod), patch, self.name)

    def _delete_pod(self, pod: Object) -> None:
        if "deletionTimestamp" not in pod["metadata"]:
            self.registry.delete(api.PODS, namespace_of(pod), name_of(pod), self.name)

    def write_status(self, job: Object, status: Mapping[str, Any]) -> None:
        """Replace the status; a no-op is no write."""
        current = self.registry.get(api.JOBS, namespace_of(job), name_of(job))
        self.registry.update(
            api.JOBS, namespace_of(job), name_of(job), {**current, "status": status}, self.name, subresource="status"
        )


class _Sync:
    """One look at one Job that is not finished."""

    def __init__(self, controller: JobController, job: Object, pods: Sequence[Object]) -> None:
        self.controller = controller
        self.job = job
        self.spec: Mapping[str, Any] = job["spec"]
        self.pods = pods
        self.status: dict[str, Any] = {"succeeded": 0, "failed": 0, **job.get("status", {})}
        self.indexed = self.spec["completionMode"] == "Indexed"
        self.per_index: int | None = self.spec.get("backoffLimitPerIndex")

    def run(self) -> None:
        self.status.setdefault("startTime", stamp(self.controller.registry.now()))
        self._count_ended()
        target = condition(self._job(), "FailureTarget")
        active = [pod for pod in self.pods if not is_over(pod)]
        if target is not None:
            self._end(active, "Failed", target["reason"], target.get("message", ""))
        elif condition(self._job(), "SuccessCriteriaMet") is not None:
            self._end(active, "Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        elif self.spec["suspend"]:
            self._suspend(active)
        else:
            self._resume()
            self._create_missing(active)
        self._finish_status()

    def _job(self) -> Object:
        return {**self.job, "status": self.status}

    # -- counting ----------------------------------------------------------------------------------------------------

    def _count_ended(self) -> None:
        """Count every pod that ended once; its finalizer goes after the status holds it."""
        ended = [pod for pod in self.pods if is_over(pod) and JOB_TRACKING in pod["metadata"].get("finalizers", ())]
        for pod in ended:
            if pod["status"]["phase"] == "Succeeded":
                self._succeeded(pod)
            else:
                self._failed(pod)
        if ended:
            self._judge()
            self.controller.write_status(self.job, self.status)
            for pod in ended:
                self.controller._release(pod)
            namespace = namespace_of(self.job)
            self.job = self.controller.registry.get(api.JOBS, namespace, name_of(self.job))

    def _succeeded(self, pod: Object) -> None:
        self.status["succeeded"] += 1
        if self.indexed:
            self._add_index("completedIndexes", pod)

    def _failed(self, pod: Object) -> None:
        self.status["failed"] += 1
        action, message = failure_policy(self.spec.get("podFailurePolicy"), pod)
        if action == "FailJob":
            self._condition("FailureTarget", "PodFailurePolicy", message)
        elif self.per_index is not None and self.indexed:
            index = index_of(pod)
            failures = int(
                pod["metadata"].get("annotations", {}).get("batch.kubernetes.io/job-index-failure-count", "0")
            )
            if action == "FailIndex" or failures >= self.per_index:
                self._add_index("failedIndexes", pod)
            else:
                self.controller.failures[uid_of(self.job), index] = failures + 1
        elif action != "Ignore" and self.status["failed"] > self.spec["backoffLimit"]:
            self._condition("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit")

    def _add_index(self, field: str, pod: Object) -> None:
        self.status[field] = spans({*indexes(self.status.get(field, "")), index_of(pod)})

    def _judge(self) -> None:
        completions = int(self.spec["completions"])
        if condition(self._job(), "FailureTarget") is not None:
            return
        if not self.indexed:
            done = self.status["succeeded"] >= completions
        else:
            failed = indexes(self.status.get("failedIndexes", ""))
            done = len(indexes(self.status.get("completedIndexes", ""))) + len(failed) >= completions
            if done and failed:
                self._condition("FailureTarget", "FailedIndexes", "Job has failed indexes")
                return
            if len(failed) > self.spec.get("maxFailedIndexes", completions):
                text = "Job has exceeded the specified maximal number of failed indexes"
                self._condition("FailureTarget", "MaxFailedIndexesExceeded", text)
                return
        if done:
            text = "Reached expected number of succeeded pods"
            self._condition("SuccessCriteriaMet", "CompletionsReached", text)

    # -- acting ------------------------------------------------------------------------------------------------------

    def _end(self, active: Sequence[Object], kind: str, reason: str, message: str) -> None:
        for pod in active:
            self.controller._delete_pod(pod)
        if not active:
            self._condition(kind, reason, message)
            if kind == "Complete":
                self.status["completionTime"] = stamp(self.controller.registry.now())

    def _suspend(self, active: Sequence[Object]) -> None:
        """The finalizer goes first: pods that end by suspension are not failures."""
        for pod in active:
            self.controller._release(pod)
            self.controller._delete_pod(pod)
        if condition(self._job(), "Suspended") is None:
            self._condition("Suspended", "JobSuspended", "Job suspended")
        self.status.pop("startTime", None)

    def _resume(self) -> None:
        if condition(self._job(), "Suspended") is not None:
            self._condition("Suspended", "JobResumed", "Job resumed", status="False")
            self.status["startTime"] = stamp(self.controller.registry.now())

    def _create_missing(self, active: Sequence[Object]) -> None:
        """podReplacementPolicy Failed: a pod that still ends holds its place."""
        wanted = int(self.spec["parallelism"])
        if not self.indexed:
            left = min(wanted, int(self.spec["completions"]) - self.status["succeeded"])
            missing: Sequence[int | None] = [None] * max(0, left - len(active))
        else:
            held = {index_of(pod) for pod in active}
            held |= indexes(self.status.get("completedIndexes", "")) | indexes(self.status.get("failedIndexes", ""))
            missing = [index for index in range(int(self.spec["completions"])) if index not in held]
            missing = missing[: max(0, wanted - len(active))]
        for index in missing:
            try:
                self._create_pod(index)
            except Failure as failure:
                if "NamespaceTerminating" in failure.message or "terminated" in failure.message:
                    return
                self._warn("FailedCreate", f"Error creating: {failure.message}")
                self.controller.look(uid_of(self.job), CREATE_RETRY_SECONDS)
                return

    def _create_pod(self, index: int | None) -> None:
        template = self.spec["template"]
        metadata = {
            "labels": dict(template["metadata"].get("labels", {})),
            "annotations": dict(template["metadata"].get("annotations", {})),
            "finalizers": [JOB_TRACKING],
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": name_of(self.job),
                    "uid": uid_of(self.job),
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        }
        spec = dict(template["spec"])
        middle = ""
        if index is not None:
            metadata["labels"][INDEX] = str(index)
            metadata["annotations"][INDEX] = str(index)
            if self.per_index is not None:
                count = self.controller.failures.get((uid_of(self.job), index), 0)
                metadata["annotations"]["batch.kubernetes.io/job-index-failure-count"] = str(count)
            spec["hostname"] = f"{name_of(self.job)}-{index}"
            middle = f"{index}-"
        metadata["generateName"] = f"{name_of(self.job)}-{middle}"
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        self.controller.registry.create(api.PODS, namespace_of(self.job), body, self.controller.name)

    def _warn(self, reason: str, message: str) -> None:
        registry = self.controller.registry
        warn(registry, api.JOBS, self.job, reason, message, self.controller.name)

    def _condition(self, kind: str, reason: str, message: str, status: str = "True") -> None:
        others = [item for item in self.status.get("conditions", ()) if item["type"] != kind]
        now = stamp(self.controller.registry.now())
        made = {"type": kind, "status": status, "reason": reason, "message": message}
        self.status["conditions"] = [*others, {**made, "lastProbeTime": now, "lastTransitionTime": now}]

    def _finish_status(self) -> None:
        pods = [pod for pod in self.controller.registry.owned(uid_of(self.job), api.PODS) if not is_over(pod)]
        ending = sum("deletionTimestamp" in pod["metadata"] for pod in pods)
        self.status |= {"active": len(pods) - ending, "terminating": ending}
        self.status["ready"] = sum(pod.get("status", {}).get("phase") == "Running" for pod in pods)
        self.controller.write_status(self.job, self.status)


def warn(registry: Any, resource: api.Resource, obj: Object, reason: str, message: str, component: str) -> None:
    """A Warning event about ``obj``."""
    now = stamp(registry.now())
    involved = {"kind": resource.kind, "namespace": namespace_of(obj), "name": name_of(obj), "uid": uid_of(obj)}
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{name_of(obj)}."},
        "involvedObject": {"apiVersion": resource.api_version, **involved},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "source": {"component": component},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    registry.create(api.EVENTS, namespace_of(obj), body, component)


def condition(obj: Object, kind: str) -> Mapping[str, Any] | None:
    """The condition of that type, if it is True."""
    for item in obj.get("status", {}).get("conditions", ()):
        if item["type"] == kind and item["status"] == "True":
            return dict(item)
    return None


def is_over(pod: Object) -> bool:
    """Whether it reached a terminal phase."""
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def index_of(pod: Object) -> int:
    """Completion index."""
    return int(pod["metadata"].get("annotations", {}).get(INDEX, 0))


def indexes(text: str) -> set[int]:
    """``1,3-5`` as a set."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def spans(numbers: set[int]) -> str:
    """Inverse of :func:`indexes`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def failure_policy(policy: Mapping[str, Any] | None, pod: Object) -> tuple[str | None, str]:
    """Action of the first rule that a failed pod matches, and Kubernetes' words for it."""
    place = f"{namespace_of(pod)}/{name_of(pod)}"
    for number, rule in enumerate(policy["rules"] if policy else ()):
        action, end = rule["action"], f"matching {rule['action']} rule at index {number}"
        if "onExitCodes" in rule:
            wanted = rule["onExitCodes"]
            for container in pod["status"].get("containerStatuses", ()):
                code = container.get("state", {}).get("terminated", {}).get("exitCode", 0)
                if code == 0 or wanted.get("containerName", container["name"]) != container["name"]:
                    continue
                if (code in wanted["values"]) == (wanted["operator"] == "In"):
                    return action, f"Container {container['name']} for pod {place} failed with exit code {code} {end}"
        for pattern in rule.get("onPodConditions", ()):
            for item in pod["status"].get("conditions", ()):
                if item["type"] == pattern["type"] and item["status"] == pattern.get("status", "True"):
                    return action, f"Pod {place} has condition {item['type']} {end}"
    return None, ""
