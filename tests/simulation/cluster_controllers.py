"""Garbage collector and namespace controller: deletion that takes its time."""

from __future__ import annotations

from boresight_operator import api
from boresight_operator.api import Object, Resource

from .controller import Controller
from .registry import FOREGROUND, NAMESPACES, RESOURCES, Change, name_of, namespace_of, uid_of


class GarbageCollector(Controller):
    """Deletes what has no owner any more, and in foreground deletion the dependents before the owner."""

    name = "garbage-collector"

    def interested(self, change: Change) -> list[str]:
        owners = [ref["uid"] for ref in change.new["metadata"].get("ownerReferences", ())]
        return [uid_of(change.new), *owners, *self.registry.dependents.get(uid_of(change.new), ())]

    def sync(self, key: str) -> None:
        found = self.registry.by_uid.get(key)
        if found is None:
            return
        resource, obj = found
        owners = obj["metadata"].get("ownerReferences", ())
        alive = [ref for ref in owners if ref["uid"] in self.registry.by_uid]
        if owners and not alive:
            self._delete(resource, obj, "Background")
        elif any(ref.get("blockOwnerDeletion") and self._ends(ref["uid"]) for ref in alive):
            held = bool(self.registry.dependents.get(key))
            self._delete(resource, obj, "Foreground" if held else "Background")
        if FOREGROUND in obj["metadata"].get("finalizers", ()) and "deletionTimestamp" in obj["metadata"]:
            self._finish(resource, key)

    def _ends(self, uid: str) -> bool:
        metadata = self.registry.by_uid[uid][1]["metadata"]
        return "deletionTimestamp" in metadata and FOREGROUND in metadata.get("finalizers", ())

    def _delete(self, resource: Resource, obj: Object, propagation: str) -> None:
        if "deletionTimestamp" in obj["metadata"]:
            return
        self.registry.delete(
            resource, namespace_of(obj), name_of(obj), self.name, uid=uid_of(obj), propagation=propagation
        )

    def _finish(self, resource: Resource, uid: str) -> None:
        """Take the finalizer away once nothing that blocks is left."""
        found = self.registry.by_uid.get(uid)
        if found is None or self._blocked(uid):
            return
        obj = found[1]
        left = [item for item in obj["metadata"].get("finalizers", ()) if item != FOREGROUND]
        patch = {"metadata": {"finalizers": left or None}}
        self.registry.merge(resource, namespace_of(obj), name_of(obj), patch, self.name)

    def _blocked(self, uid: str) -> bool:
        return any(
            ref["uid"] == uid and ref.get("blockOwnerDeletion")
            for dependent in self.registry.owned(uid)
            for ref in dependent["metadata"]["ownerReferences"]
        )


class NamespaceController(Controller):
    """Empties a namespace that ends, then removes it."""

    name = "namespace-controller"

    def interested(self, change: Change) -> list[str]:
        name = name_of(change.new) if change.resource == NAMESPACES else namespace_of(change.new)
        found = self.registry.find(NAMESPACES, "", name)
        return [name] if found is not None and "deletionTimestamp" in found["metadata"] else []

    def sync(self, key: str) -> None:
        found = self.registry.find(NAMESPACES, "", key)
        if found is None or "deletionTimestamp" not in found["metadata"]:
            return
        left = [
            (resource, obj) for resource in RESOURCES if resource.namespaced for obj in self.registry.all(resource, key)
        ]
        for resource, obj in left:
            if "deletionTimestamp" not in obj["metadata"]:
                propagation = "Background" if resource != api.PODS else None
                self.registry.delete(resource, key, name_of(obj), self.name, propagation=propagation)
        if not left:
            patch = {"metadata": {"finalizers": None}}
            self.registry.merge(NAMESPACES, "", key, patch, self.name)
