"""What people (and GitOps) do to runs, and what can befall what runs made."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from boresight_operator import api
from boresight_operator.api import Object, Resource

from .invariants import Invariants
from .registry import Failure, controller_of, name_of, namespace_of, uid_of
from .world import NAMESPACE, World

BY_KIND: Mapping[str, Resource] = {resource.kind: resource for resource in api.RUNS}


class User:
    """Acts at once, past the faults of the wire: ``kubectl`` is not under test."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self.world = world
        self.invariants = invariants
        self.registry = world.registry

    def apply(self, document: Mapping[str, Any], name: str, namespace: str = NAMESPACE) -> Object:
        """Create a run from a manifest."""
        body = copy.deepcopy(dict(document))
        body["metadata"] = {**body.get("metadata", {}), "name": name}
        return self.registry.create(BY_KIND[str(body["kind"])], namespace, body, "user")

    def find(self, name: str) -> Object | None:
        """The run of that name, of any kind."""
        return next((run for run in self.world.runs() if name_of(run) == name), None)

    def run(self, name: str) -> Object:
        """The run of that name; it must be there."""
        found = self.find(name)
        assert found is not None, f"no run {name}"
        return found

    def edit(self, name: str, spec: Mapping[str, Any]) -> None:
        """Merge ``spec`` into the run's; None removes a field."""
        self._patch(name, {"spec": spec})

    def move(self, name: str, uri: str | None) -> None:
        """Another store (None: the namespace's): nothing that was finished is known to be there."""
        self._excuse(name, "storage")
        self._patch(name, {"spec": {"storage": {"uri": uri} if uri else None}})

    def suspend(self, name: str) -> None:
        """spec.suspend."""
        self._patch(name, {"spec": {"suspend": True}})

    def resume(self, name: str) -> None:
        """No spec.suspend."""
        self._patch(name, {"spec": {"suspend": None}})

    def retry(self, name: str, value: str) -> None:
        """The annotation."""
        self._excuse(name, "retry")
        self._patch(name, {"metadata": {"annotations": {"boresight.dev/retry": value}}})

    def label(self, name: str, value: str) -> None:
        """Something that concerns nobody."""
        self._patch(name, {"metadata": {"labels": {"team": value}}})

    def delete(self, name: str, propagation: str = "Background") -> None:
        """kubectl delete."""
        run = self.find(name)
        if run is not None:
            resource = BY_KIND[run["kind"]]
            self.registry.delete(resource, namespace_of(run), name, "user", propagation=propagation)

    def lose_status(self, name: str, status: Mapping[str, Any] | None = None) -> None:
        """Empty the status by hand, or put lies into it."""
        self._excuse(name, "status")
        run = self.find(name)
        if run is not None:
            self.invariants.forget(uid_of(run))
            body = {**run, "status": dict(status or {})}
            resource = BY_KIND[run["kind"]]
            try:
                self.registry.update(resource, namespace_of(run), name, body, "user", subresource="status")
            except Failure as failure:
                if failure.code != 422:
                    raise

    # -- what befalls children ---------------------------------------------------------------------------------------

    def jobs(self, name: str, stage: str | None = None) -> list[Object]:
        """Jobs of a run, oldest first."""
        run = self.find(name)
        owned = self.registry.owned(uid_of(run), api.JOBS) if run is not None else []
        return [job for job in owned if stage in (None, job["metadata"]["labels"]["boresight.dev/stage"])]

    def pods(self, name: str, stage: str | None = None) -> list[Object]:
        """Pods of a run's Jobs."""
        return [pod for job in self.jobs(name, stage) for pod in self.registry.owned(uid_of(job), api.PODS)]

    def delete_job(self, job: Object, propagation: str = "Background") -> None:
        """kubectl delete job."""
        self.registry.delete(api.JOBS, namespace_of(job), name_of(job), "user", propagation=propagation)

    def delete_pod(self, pod: Object) -> None:
        """kubectl delete pod."""
        self.registry.delete(api.PODS, namespace_of(pod), name_of(pod), "user")

    def remove_artifact(self, storage: str, key: str) -> None:
        """Somebody cleans up the store."""
        self.invariants.removed_artifacts.add((storage, key))
        self.world.store.artifacts.pop((storage, key), None)
        self.world.store.checkpoints.pop((storage, key), None)

    def _excuse(self, name: str, why: str) -> None:
        run = self.find(name)
        if run is not None:
            self.invariants.excused[uid_of(run)].add(why)

    def _patch(self, name: str, patch: Mapping[str, Any]) -> None:
        run = self.find(name)
        if run is not None and "deletionTimestamp" not in run["metadata"]:
            try:
                self.registry.merge(BY_KIND[run["kind"]], namespace_of(run), name, patch, "user")
            except Failure as failure:
                if failure.code != 422:
                    raise


def owner_uid(obj: Object) -> str:
    """UID of the controller."""
    owner = controller_of(obj)
    assert owner is not None
    return str(owner["uid"])
