"""Kueue, as far as a Job sees it: born suspended, admitted when there is room, evicted when somebody else needs it."""

from __future__ import annotations

from boresight_operator import api, names
from boresight_operator.api import Object, Resource

from .controller import Controller, Lag
from .job_controller import condition
from .registry import Change, Registry, name_of, namespace_of


def _queued(job: Object) -> bool:
    return names.QUEUE_LABEL in job["metadata"].get("labels", {})


class Kueue(Controller):
    """Admits up to ``slots`` Jobs at once, in the order of their creation."""

    name = "kueue"

    def __init__(self, registry: Registry, lag: Lag, slots: int) -> None:
        super().__init__(registry, lag)
        self.slots = slots
        registry.admit.append(self._webhook)

    def interested(self, change: Change) -> list[str]:
        return ["queue"] if change.resource == api.JOBS and _queued(change.new) else []

    def sync(self, key: str) -> None:
        jobs = [job for job in self.registry.all(api.JOBS) if _queued(job) and not _finished(job)]
        running = sum(not job["spec"]["suspend"] for job in jobs)
        waiting = [job for job in jobs if job["spec"]["suspend"] and "deletionTimestamp" not in job["metadata"]]
        for job in sorted(waiting, key=lambda job: int(job["metadata"]["resourceVersion"]))[
            : max(0, self.slots - running)
        ]:
            self._set(job, suspend=False)

    def evict(self, job_uid: str) -> None:
        """Its place is somebody else's for a while."""
        found = self.registry.by_uid.get(job_uid)
        if found is not None and _queued(found[1]) and not _finished(found[1]) and not found[1]["spec"]["suspend"]:
            self._set(found[1], suspend=True)

    def _set(self, job: Object, *, suspend: bool) -> None:
        patch = {"spec": {"suspend": suspend}}
        self.registry.merge(api.JOBS, namespace_of(job), name_of(job), patch, self.name)

    @staticmethod
    def _webhook(resource: Resource, obj: Object) -> Object:
        if resource == api.JOBS and _queued(obj):
            return {**obj, "spec": {**obj["spec"], "suspend": True}}
        return obj


def _finished(job: Object) -> bool:
    return condition(job, "Complete") is not None or condition(job, "Failed") is not None
