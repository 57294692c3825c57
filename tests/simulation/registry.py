"""What the API server does with objects: versions, generations, finalizers, ownership of fields. No HTTP, no clock.

Objects are JSON data and never mutated: every write stores a new one. One counter orders all writes of all kinds, as
etcd's revision does. Admission and controllers of the real cluster that we rely on are in the modules beside this one.
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from boresight_operator import api
from boresight_operator.api import Object, Resource

from . import fields as sets
from .schema import NETWORK_POLICY, PLAIN, SERVICE, Crd, Shape, crds, defaults, faults, pruned

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
RESOURCES = (
    *api.RUNS,
    api.JOBS,
    api.PODS,
    api.CONFIG_MAPS,
    api.SERVICES,
    api.EVENTS,
    api.NODES,
    api.NETWORK_POLICIES,
    api.LEASES,
    NAMESPACES,
)
WITH_STATUS = {*api.RUNS, api.JOBS, api.PODS, api.NODES}
WITH_GENERATION = {*api.RUNS, api.JOBS, api.NETWORK_POLICIES}
NEED_VERSION = {*api.RUNS, api.LEASES}
"""Whose PUT must name a resourceVersion."""
FOREGROUND = "foregroundDeletion"
JOB_TRACKING = "batch.kubernetes.io/job-tracking"
SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
DNS_LABEL = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")


class Failure(Exception):
    """An answer that is no success, as a Kubernetes Status."""

    def __init__(self, code: int, reason: str, message: str, causes: tuple[Mapping[str, str], ...] = ()) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code, self.reason, self.message, self.causes = code, reason, message, causes


@dataclass(frozen=True)
class Change:
    """One write, as it was stored."""

    resource: Resource
    type: str
    """ADDED, MODIFIED or DELETED."""
    old: Object | None
    new: Object
    """With DELETED: the last state, at the version of the deletion."""
    actor: str
    """Who did it: ``user``, ``operator-1``, ``job-controller``, ..."""
    time: float

    @property
    def version(self) -> int:
        """Its place in the order of all writes."""
        return int(self.new["metadata"]["resourceVersion"])


def uid_of(obj: Object) -> str:
    """Identity of an object."""
    return str(obj["metadata"]["uid"])


def name_of(obj: Object) -> str:
    """Name of an object."""
    return str(obj["metadata"]["name"])


def namespace_of(obj: Object) -> str:
    """Namespace of an object; empty if its kind has none."""
    return str(obj["metadata"].get("namespace", ""))


def stamp(seconds: float, *, micro: bool = False) -> str:
    """Time as Kubernetes writes it."""
    form = "%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ"
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


def seconds_of(text: str) -> float:
    """Inverse of :func:`stamp`."""
    return datetime.fromisoformat(text).timestamp()


def controller_of(obj: Object) -> Mapping[str, Any] | None:
    """The ownerReference that controls it."""
    return next((ref for ref in obj["metadata"].get("ownerReferences", ()) if ref.get("controller")), None)


def begins_to_end(change: Change) -> bool:
    """Whether this write is the one that marked the object as deleting."""
    metadata = change.old["metadata"] if change.old is not None else {}
    return "deletionTimestamp" in change.new["metadata"] and "deletionTimestamp" not in metadata


class Registry:
    """All objects of a cluster."""

    def __init__(self, now: Callable[[], float], new_uid: Callable[[], str]) -> None:
        self.now = now
        self.new_uid = new_uid
        self.version = 0
        self.objects: dict[Resource, dict[tuple[str, str], Object]] = {resource: {} for resource in RESOURCES}
        self.defaulted: set[str] = set()
        """UIDs of runs whose status is the default that readers see and is not stored: any write changes such a run."""
        self.by_uid: dict[str, tuple[Resource, Object]] = {}
        self.dependents: dict[str, dict[str, None]] = defaultdict(dict)
        """Owner's UID -> UIDs of what it owns, in the order of creation."""
        self.subscribers: list[Callable[[Change], None]] = []
        self.admit: list[Callable[[Resource, Object], Object]] = []
        """Mutating admission, of creations."""
        self.refuse: list[Callable[[str, Resource, Object], None]] = []
        """Admission: called with verb, resource and the new object; raises Failure."""

    # -- reading -----------------------------------------------------------------------------------------------------

    def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        return self.objects[resource].get((namespace if resource.namespaced else "", name))

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """The object. Raises Failure 404."""
        found = self.find(resource, namespace, name)
        if found is None:
            raise Failure(404, "NotFound", f'{_qualified(resource)} "{name}" not found')
        return found

    def all(self, resource: Resource, namespace: str | None = None) -> Iterator[Object]:
        """Objects of a kind in the order of their names."""
        found = self.objects[resource]
        for key in sorted(found):
            if namespace is None or key[0] == namespace:
                yield found[key]

    def owned(self, uid: str, resource: Resource | None = None) -> list[Object]:
        """What names ``uid`` as an owner, in the order of creation."""
        found = [self.by_uid[dependent] for dependent in self.dependents.get(uid, ())]
        return [obj for kind, obj in found if resource is None or kind == resource]

    # -- writing -----------------------------------------------------------------------------------------------------

    def create(self, resource: Resource, namespace: str, body: Object, actor: str, manager: str = "") -> Object:
        """POST."""
        self._refuse_ended_namespace(resource, namespace)
        obj = copy.deepcopy(dict(body))
        metadata = obj["metadata"] = dict(obj.get("metadata") or {})
        if "name" not in metadata and "generateName" in metadata:
            metadata["name"] = metadata["generateName"] + self.new_uid()[:5]
        if metadata.get("namespace", namespace) != namespace and resource.namespaced:
            text = "the namespace of the provided object does not match the namespace sent on the request"
            raise Failure(400, "BadRequest", text)
        if metadata.get("resourceVersion"):
            raise Failure(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        for name in (
            "resourceVersion",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
        ):
            metadata.pop(name, None)
        if resource.namespaced:
            metadata["namespace"] = namespace
        metadata["uid"] = self.new_uid()
        metadata["creationTimestamp"] = stamp(self.now())
        if resource in WITH_STATUS and resource is not api.NODES:
            obj.pop("status", None)
        if resource == api.PODS:
            obj["status"] = {"phase": "Pending"}
        obj = self._completed(resource, obj)
        for admit in self.admit:
            obj = admit(resource, obj)
        if self.find(resource, namespace, str(metadata.get("name", ""))) is not None:
            raise Failure(409, "AlreadyExists", f'{_qualified(resource)} "{metadata["name"]}" already exists')
        for check in self.refuse:
            check("create", resource, obj)
        if resource in WITH_GENERATION:
            obj["metadata"]["generation"] = 1
        if tracked(resource):
            unowned = {"status": obj["status"]} if resource in api.RUNS else {}  # its default
            obj = self._with_update(resource, unowned, obj, manager or actor, None)
        return self._store(resource, None, obj, actor)

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object,
        actor: str,
        *,
        manager: str = "",
        subresource: str | None = None,
    ) -> Object:
        """PUT, to the object or to its /status."""
        if resource == api.LEASES and self.find(resource, namespace, name) is None:
            metadata = {field: value for field, value in body["metadata"].items() if field != "resourceVersion"}
            return self.create(resource, namespace, {**body, "metadata": metadata}, actor, manager)
        old = self.get(resource, namespace, name)
        version = body.get("metadata", {}).get("resourceVersion")
        if not version and resource in NEED_VERSION:
            text = "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
            raise Failure(422, "Invalid", f'{_qualified(resource)} "{name}" is invalid: {text}')
        self._refuse_stale(resource, old, body)
        new = self._new_state(resource, old, body, subresource)
        if subresource and tracked(resource):
            old = self._with_less(resource, old, body)
        return self._replace(resource, old, new, actor, manager or actor, subresource)

    def _with_less(self, resource: Resource, old: Object, body: Object) -> Object:
        """A PUT of the status without labels leaves the labels, but takes them from who owned them."""
        seen = {**_configuration(resource, old, None, whole=True), "metadata": body.get("metadata", {})}
        entries = [
            {**entry, "fieldsV1": sets.present(entry["fieldsV1"], seen, shape_of(resource))}
            for entry in old["metadata"].get("managedFields", ())
        ]
        return {**old, "metadata": {**old["metadata"], "managedFields": [e for e in entries if e["fieldsV1"]]}}

    def merge(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Object,
        actor: str,
        *,
        manager: str = "",
        subresource: str | None = None,
    ) -> Object:
        """PATCH with a JSON merge patch (RFC 7386)."""
        old = self.get(resource, namespace, name)
        self._refuse_stale(resource, old, patch)
        body = _merge_patched(old, patch)
        return self._replace(
            resource, old, self._new_state(resource, old, body, subresource), actor, manager or actor, subresource
        )

    def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object,
        actor: str,
        *,
        manager: str,
        force: bool,
        subresource: str | None = None,
    ) -> tuple[Object, bool]:
        """Server-side apply. Returns the stored object and whether it was created."""
        old = self.find(resource, namespace, name)
        created = old is None
        if old is None:
            if subresource:
                raise Failure(404, "NotFound", f'{_qualified(resource)} "{name}" not found')
            self._refuse_ended_namespace(resource, namespace)
            metadata = {"name": name, "uid": self.new_uid(), "creationTimestamp": stamp(self.now())}
            if resource.namespaced:
                metadata["namespace"] = namespace
            old = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
            if resource in WITH_GENERATION:
                metadata["generation"] = 1  # type: ignore[assignment]
        else:
            self._refuse_stale(resource, old, body)
        new = self._applied(resource, old, body, manager, force, subresource)
        if created:
            new = self._completed(resource, new)
            for check in self.refuse:
                check("create", resource, new)
            return self._store(resource, None, new, actor), True
        return self._replace(resource, old, new, actor, manager, subresource, applied=True), False

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        actor: str,
        *,
        uid: str | None = None,
        version: str | None = None,
        propagation: str | None = None,
        grace: int | None = None,
    ) -> Object:
        """DELETE: at once, or marked until finalizers and grace are over."""
        old = self.get(resource, namespace, name)
        for field, wanted, found in (
            ("UID", uid, uid_of(old)),
            ("ResourceVersion", version, old["metadata"]["resourceVersion"]),
        ):
            if wanted is not None and wanted != found:
                text = f"Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {found}"
                raise Failure(
                    409, "Conflict", f'Operation cannot be fulfilled on {_qualified(resource)} "{name}": {text}'
                )
        finalizers = [item for item in old["metadata"].get("finalizers", ()) if item not in {FOREGROUND, "orphan"}]
        kept = FOREGROUND in old["metadata"].get("finalizers", ())
        if propagation == "Foreground" or (propagation is None and kept):
            finalizers.append(FOREGROUND)
        seconds = self._grace(resource, old, grace)
        if not finalizers and not seconds:
            return self._remove(resource, old, actor)
        metadata = {**old["metadata"], "finalizers": finalizers}
        if not finalizers:
            del metadata["finalizers"]
        if "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = stamp(self.now() + seconds)
            metadata["deletionGracePeriodSeconds"] = seconds
            if "generation" in metadata:
                metadata["generation"] += 1
        elif seconds < metadata.get("deletionGracePeriodSeconds", 0):
            metadata["deletionTimestamp"] = stamp(self.now() + seconds)
            metadata["deletionGracePeriodSeconds"] = seconds
        if metadata == old["metadata"]:
            return old
        return self._store(resource, old, {**old, "metadata": metadata}, actor)

    def _grace(self, resource: Resource, obj: Object, wanted: int | None) -> int:
        """Seconds that the kubelet has; only pods that are on a node and not over have any."""
        if resource is not api.PODS or not obj["spec"].get("nodeName"):
            return 0
        if obj.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
            return 0
        return int(obj["spec"].get("terminationGracePeriodSeconds", 30)) if wanted is None else wanted

    # -- inside ------------------------------------------------------------------------------------------------------

    def _refuse_ended_namespace(self, resource: Resource, namespace: str) -> None:
        if not resource.namespaced:
            return
        found = self.objects[NAMESPACES].get(("", namespace))
        if found is None:
            raise Failure(404, "NotFound", f'namespaces "{namespace}" not found')
        if "deletionTimestamp" in found["metadata"]:
            text = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated"}
            raise Failure(403, "Forbidden", f"{_qualified(resource)} is forbidden: {text}", (cause,))

    def _refuse_stale(self, resource: Resource, old: Object, body: Object) -> None:
        version = body.get("metadata", {}).get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            text = "the object has been modified; please apply your changes to the latest version and try again"
            raise Failure(
                409, "Conflict", f'Operation cannot be fulfilled on {_qualified(resource)} "{name_of(old)}": {text}'
            )

    def _new_state(self, resource: Resource, old: Object, body: Object, subresource: str | None) -> Object:
        """``body`` where this endpoint may write, ``old`` elsewhere."""
        if subresource == "status":
            state = {name: value for name, value in old.items() if name != "status"}
            return {**state, "status": copy.deepcopy(body["status"])} if "status" in body else state
        state = copy.deepcopy(dict(body))
        metadata = state["metadata"] = dict(state.get("metadata") or {})
        if metadata.get("uid") not in (None, uid_of(old)):
            text = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {uid_of(old)}"
            raise Failure(409, "Conflict", text)
        for name in ("uid", "creationTimestamp", "generation", "namespace", "name", "managedFields", "resourceVersion"):
            if name in old["metadata"]:
                metadata[name] = old["metadata"][name]
        for name in ("labels", "annotations"):
            if not metadata.get(name):
                metadata.pop(name, None)
        for name in ("deletionTimestamp", "deletionGracePeriodSeconds"):
            metadata.pop(name, None)
            if name in old["metadata"]:
                metadata[name] = old["metadata"][name]
        if resource in WITH_STATUS:
            state.pop("status", None)
            if "status" in old:
                state["status"] = old["status"]
        return state

    def _applied(
        self, resource: Resource, old: Object, body: Object, manager: str, force: bool, subresource: str | None
    ) -> Object:
        """``body`` merged into ``old``, with managedFields after it."""
        shape = shape_of(resource)
        config = _configuration(resource, body, subresource)
        owned = sets.fields_of(config, shape)
        entries = [dict(entry) for entry in old["metadata"].get("managedFields", ())]
        mine = _entry(entries, manager, "Apply", subresource)
        others = [entry for entry in entries if entry is not mine]
        merged = sets.merged(dict(old), config, shape)
        overwritten = sets.changed(old, merged, shape)
        conflicts = [entry["manager"] for entry in others if sets.leaves(_common(entry["fieldsV1"], overwritten))]
        if conflicts and not force:
            text = f'Apply failed with {len(conflicts)} conflicts: conflicts with "{conflicts[0]}"'
            raise Failure(409, "Conflict", text, ({"reason": "FieldManagerConflict", "message": text},))
        for entry in others:
            entry["fieldsV1"] = sets.without(entry["fieldsV1"], _common(entry["fieldsV1"], overwritten))
        others = [entry for entry in others if entry["fieldsV1"]]
        before = mine["fieldsV1"] if mine else {}
        gone = sets.without(before, owned)
        kept: sets.Fields = owned
        for entry in others:
            kept = sets.union(kept, entry["fieldsV1"])
        merged = sets.removed(merged, gone, kept, shape)
        for other in others:
            other["fieldsV1"] = sets.present(other["fieldsV1"], merged, shape)
        others = [other for other in others if other["fieldsV1"]]
        entry = {"manager": manager, "operation": "Apply", "apiVersion": resource.api_version, "fieldsType": "FieldsV1"}
        entry |= {"fieldsV1": owned, "time": stamp(self.now())} | ({"subresource": subresource} if subresource else {})
        if mine is not None and mine["fieldsV1"] == owned:
            entry["time"] = mine["time"]
        metadata = {**merged["metadata"], "managedFields": [*others, *([entry] if owned else [])]}
        return {**merged, "metadata": metadata}

    def _with_update(
        self, resource: Resource, old: Object, new: Object, manager: str, subresource: str | None
    ) -> Object:
        """``new`` with managedFields after an update by ``manager``: what changed is its own."""
        shape = shape_of(resource)
        before, after = (_configuration(resource, obj, None, whole=True) for obj in (old, new))
        touched = sets.changed(before, after, shape)
        entries = [dict(entry) for entry in old.get("metadata", {}).get("managedFields", ())]
        mine = _entry(entries, manager, "Update", subresource)
        kept = []
        for entry in entries:
            left = sets.present(entry["fieldsV1"], after, shape)
            entry["fieldsV1"] = left if entry is mine else sets.without(left, _common(left, touched))
            if entry["fieldsV1"] and entry is not mine:
                kept.append(entry)
        owned = sets.union(mine["fieldsV1"], touched) if mine else touched
        if owned:
            entry = {"manager": manager, "operation": "Update", "apiVersion": resource.api_version}
            entry |= {"fieldsType": "FieldsV1", "fieldsV1": owned, "time": stamp(self.now())}
            kept.append(entry | ({"subresource": subresource} if subresource else {}))
        return {**new, "metadata": {**new["metadata"], "managedFields": kept}}

    def _replace(
        self,
        resource: Resource,
        old: Object,
        new: Object,
        actor: str,
        manager: str,
        subresource: str | None,
        *,
        applied: bool = False,
    ) -> Object:
        """Store ``new`` in place of ``old``, if anything changed."""
        new = self._completed(resource, new, old)
        for check in self.refuse:
            check("update", resource, new)
        same = _essence(new) == _essence(old) and (not applied or _owners(new) == _owners(old))
        if same and uid_of(old) not in self.defaulted:
            return old
        if resource in WITH_GENERATION and _spec(new) != _spec(old):
            new = {**new, "metadata": {**new["metadata"], "generation": old["metadata"]["generation"] + 1}}
        if tracked(resource) and not applied:
            new = self._with_update(resource, old, new, manager, subresource)
        if "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers"):
            pending = new["metadata"].get("deletionGracePeriodSeconds", 0)
            if not pending:
                return self._remove(resource, new, actor)
        return self._store(resource, old, new, actor)

    def _completed(self, resource: Resource, obj: Object, old: Object | None = None) -> Object:
        """Defaulted and pruned; refuses what is invalid."""
        if resource in api.RUNS:
            crd = crds()[resource.plural]
            body = {name: value for name, value in obj.items() if name not in {"metadata"}}
            obj = {**defaults(crd.schema), **pruned(body, crd.schema), "metadata": obj["metadata"]}
            obj = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": obj["metadata"], **obj}
        obj = {**obj, "apiVersion": resource.api_version, "kind": resource.kind}
        if resource is api.JOBS and old is None:
            obj = {**obj, "spec": _defaulted_job(obj)}
        problems = list(_problems(resource, obj, old))
        if problems:
            text = "; ".join(problems)
            raise Failure(422, "Invalid", f'{resource.kind} "{obj["metadata"].get("name")}" is invalid: {text}')
        return obj

    def _store(self, resource: Resource, old: Object | None, new: Object, actor: str) -> Object:
        self.version += 1
        new = {**new, "metadata": {**new["metadata"], "resourceVersion": str(self.version)}}
        self.objects[resource][(namespace_of(new), name_of(new))] = new
        self.by_uid[uid_of(new)] = (resource, new)
        (self.defaulted.add if old is None and resource in api.RUNS else self.defaulted.discard)(uid_of(new))
        self._index(old, new)
        self._tell(Change(resource, "ADDED" if old is None else "MODIFIED", old, new, actor, self.now()))
        return new

    def _remove(self, resource: Resource, old: Object, actor: str) -> Object:
        self.version += 1
        last = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.version)}}
        del self.objects[resource][(namespace_of(old), name_of(old))]
        del self.by_uid[uid_of(old)]
        self._index(old, None)
        self._tell(Change(resource, "DELETED", old, last, actor, self.now()))
        return last

    def _index(self, old: Object | None, new: Object | None) -> None:
        owners = [obj["metadata"].get("ownerReferences") for obj in (old, new) if obj is not None]
        if len(owners) == 2 and owners[0] == owners[1]:
            return
        for obj, add in ((old, False), (new, True)):
            for ref in obj["metadata"].get("ownerReferences", ()) if obj is not None else ():
                owned = self.dependents[ref["uid"]]
                if add:
                    owned[uid_of(obj)] = None
                else:
                    owned.pop(uid_of(obj), None)
                if not owned:
                    del self.dependents[ref["uid"]]

    def _tell(self, change: Change) -> None:
        for subscriber in list(self.subscribers):
            subscriber(change)


def shape_of(resource: Resource) -> Shape:
    """How the kind's objects merge."""
    if resource in api.RUNS:
        return crds()[resource.plural].shape
    return {api.SERVICES: SERVICE, api.NETWORK_POLICIES: NETWORK_POLICY}.get(resource, PLAIN)


def tracked(resource: Resource) -> bool:
    """Whether managedFields are kept: only where somebody applies."""
    return resource in api.RUNS or resource in {api.SERVICES, api.NETWORK_POLICIES}


def _qualified(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def _entry(
    entries: list[dict[str, Any]], manager: str, operation: str, subresource: str | None
) -> dict[str, Any] | None:
    for entry in entries:
        if (entry["manager"], entry["operation"], entry.get("subresource")) == (manager, operation, subresource):
            return entry
    return None


def _configuration(resource: Resource, body: Object, subresource: str | None, *, whole: bool = False) -> dict[str, Any]:
    """The part of ``body`` whose fields can be owned at this endpoint."""
    if subresource == "status":
        return {"status": body["status"]} if "status" in body else {}
    left = {name: value for name, value in body.items() if name not in {"apiVersion", "kind", "metadata"}}
    if not whole and resource in WITH_STATUS:
        left.pop("status", None)
    metadata = {
        name: value
        for name, value in body.get("metadata", {}).items()
        if name in {"labels", "annotations", "ownerReferences", "finalizers"}
    }
    return {**left, **({"metadata": metadata} if metadata else {})}


def _common(a: sets.Fields, b: sets.Fields) -> sets.Fields:
    """Fields of ``a`` that a change of ``b`` takes away; a leaf of ``b`` covers what ``a`` has below it."""
    found: sets.Fields = {}
    for name in a.keys() & b.keys():
        if not a[name]:  # a leaf, or the holder of nothing yet: what others put into it is theirs
            if not b[name] or "." in b[name]:
                found[name] = {}
        elif not b[name]:
            found[name] = a[name]
        elif inner := _common(a[name], b[name]):
            found[name] = inner
    return found


def _merge_patched(value: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    result = dict(value) if isinstance(value, Mapping) else {}
    for name, item in patch.items():
        if item is None:
            result.pop(name, None)
        else:
            result[name] = _merge_patched(result.get(name), item)
    return result


def _essence(obj: Object) -> Object:
    metadata = {k: v for k, v in obj["metadata"].items() if k not in {"managedFields", "resourceVersion"}}
    return {**obj, "metadata": metadata}


def _owners(obj: Object) -> list[Any]:
    entries = [{**entry, "time": None} for entry in obj["metadata"].get("managedFields", ())]
    return sorted(entries, key=lambda entry: (entry["manager"], entry["operation"], entry.get("subresource", "")))


def _spec(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in {"metadata", "status"}}


def _problems(resource: Resource, obj: Object, old: Object | None) -> Iterator[str]:
    """What validation forbids, of that which the operator relies on."""
    metadata = obj["metadata"]
    name = str(metadata.get("name", ""))
    if not name:
        yield "metadata.name: Required value: name or generateName is required"
        return
    pattern = DNS_LABEL if resource is api.SERVICES else SUBDOMAIN
    if not pattern.match(name) or len(name) > (63 if resource is api.SERVICES else 253):
        yield f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain is expected'
    for key, value in metadata.get("labels", {}).items():
        if len(value) > 63 or not LABEL_VALUE.match(value):
            yield f'metadata.labels: Invalid value: "{value}": must be a valid label value ({key})'
    if resource in api.RUNS:
        yield from _run_problems(crds()[resource.plural], obj)
    elif resource is api.CONFIG_MAPS and old is not None and old.get("immutable"):
        if any(obj.get(field) != old.get(field) for field in ("data", "binaryData", "immutable")):
            yield "data: Forbidden: field is immutable when `immutable` is set"
    elif resource is api.JOBS:
        yield from _job_problems(obj, old)


def _run_problems(crd: Crd, obj: Object) -> Iterator[str]:
    name = obj["metadata"]["name"]
    if len(name) > 63:
        yield 'metadata: Invalid value: "object": metadata.name: expected at most 63 characters (it becomes a label)'
    if "." in name:
        yield 'metadata: Invalid value: "object": metadata.name: expected lower-case letters, digits and -'
    for part in ("spec", "status"):
        if part in obj:
            yield from faults(obj[part], crd.schema["properties"][part], part)
        elif part in crd.schema.get("required", ()):
            yield f"{part}: Required value"


def _job_problems(obj: Object, old: Object | None) -> Iterator[str]:
    spec, name = obj["spec"], obj["metadata"]["name"]
    indexed = spec.get("completionMode") == "Indexed"
    tail = len(f"-{spec.get('completions', 1) - 1}") if indexed else 0
    if len(name) + tail > 63:
        yield f'metadata.name: Invalid value: "{name}": must be no more than 63 characters'
    template = spec["template"]["spec"]
    if template.get("restartPolicy") not in {"Never", "OnFailure"}:
        yield 'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
    if "podFailurePolicy" in spec:
        if template.get("restartPolicy") != "Never":
            yield "spec.podFailurePolicy: Invalid value: only allowed when restartPolicy is Never"
        if spec.get("podReplacementPolicy", "Failed") != "Failed":
            yield "spec.podReplacementPolicy: Unsupported value: with podFailurePolicy only Failed is allowed"
        per_index = "backoffLimitPerIndex" in spec
        for index, rule in enumerate(spec["podFailurePolicy"]["rules"]):
            if rule["action"] == "FailIndex" and not per_index:
                yield f'spec.podFailurePolicy.rules[{index}].action: "FailIndex" needs backoffLimitPerIndex'
    if "backoffLimitPerIndex" in spec and not indexed:
        yield "spec.backoffLimitPerIndex: Invalid value: requires indexed completion mode"
    if old is not None:
        fixed = (
            "template",
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "podReplacementPolicy",
            "selector",
        )
        for field in fixed:
            if field in old["spec"] and spec.get(field) != old["spec"].get(field) and not old["spec"].get("suspend"):
                yield f"spec.{field}: Invalid value: field is immutable"


def _defaulted_job(obj: Object) -> dict[str, Any]:
    """The spec as the API server completes it at creation."""
    spec, uid, name = obj["spec"], obj["metadata"]["uid"], obj["metadata"]["name"]
    ours = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
    template = {**spec["template"], "metadata": dict(spec["template"].get("metadata") or {})}
    template["metadata"]["labels"] = {**template["metadata"].get("labels", {}), **ours}
    policy = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    defaults = {"parallelism": 1, "completions": 1, "completionMode": "NonIndexed", "suspend": False, "backoffLimit": 6}
    selector = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    if "backoffLimitPerIndex" in spec:
        defaults["backoffLimit"] = 2**31 - 1
    return {**defaults, "podReplacementPolicy": policy, **spec, "selector": selector, "template": template}


def dumped(obj: Object) -> bytes:
    """As it goes over the wire."""
    return orjson.dumps(obj)
