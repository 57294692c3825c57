"""What the API server alone needs for a burst: the writes of the operator, replayed by a process that decides nothing.

No controller can be faster on the same servers with the same writes; what the operator takes beyond it is its own.
"""

from __future__ import annotations

import json
from typing import Any

from apiserver.client import Client, Object, until
from apiserver.operator_process import OperatorProcess
from boresight_operator.api import ALIGNMENT_RUNS, CONFIG_MAPS, JOBS, NETWORK_POLICIES, Resource
from operator_setup import TEAM, load, operator, servers, target

FIRST = 0
"""Number of the run whose objects are taken as the pattern."""
SERVER_FIELDS = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")
JOB_LABELS = ("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name")


def floor(count: int) -> Object:
    """Seconds for ``count`` runs, each with its status and the objects of its first stage, one after the other."""
    with servers() as plane, operator(plane) as process:
        load(plane, "burst", target=target(), count=2)
        steps = recorded(plane.client(), process)
    with servers() as plane:
        return load(plane, "replay", target=target(), count=count, steps=steps)


def recorded(client: Client, process: OperatorProcess) -> list[Object]:
    """What the operator writes for a run up to its first Job, in its order, as (method, path, body)."""
    name = f"run-{FIRST}"
    until(lambda: process.metric("boresight_queue_depth") == 0, "the operator rests")
    run = client.get(ALIGNMENT_RUNS, TEAM, name)
    uid = run["metadata"]["uid"]
    status = {"apiVersion": run["apiVersion"], "kind": run["kind"], "metadata": {"name": name}, "status": run["status"]}
    steps = [step("PATCH", f"{ALIGNMENT_RUNS.path(TEAM, name, 'status')}?fieldManager=boresight&force=true", status)]
    for resource in (NETWORK_POLICIES, CONFIG_MAPS, JOBS):
        steps += [written(resource, item) for item in client.list(resource, TEAM) if is_of(item, uid)]
    return [json.loads(json.dumps(one).replace(uid, "{uid}").replace(name, "run-{n}")) for one in steps]


def is_of(item: Object, uid: str) -> bool:
    """Whether the run with this UID owns it."""
    return any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", ()))


def written(resource: Resource, item: Object) -> Object:
    """The request that made ``item``."""
    body: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind, **item}
    body["metadata"] = {name: value for name, value in item["metadata"].items() if name not in SERVER_FIELDS}
    body.pop("status", None)
    if resource == JOBS:
        body["spec"] = {name: value for name, value in item["spec"].items() if name != "selector"}
        labels = body["spec"]["template"]["metadata"]["labels"]
        for label in JOB_LABELS:
            labels.pop(label, None)
    if resource == NETWORK_POLICIES:
        name = item["metadata"]["name"]
        return step("PATCH", f"{resource.path(TEAM, name)}?fieldManager=boresight&force=true", body)
    return step("POST", f"{resource.path(TEAM)}?fieldManager=boresight", body)


def step(method: str, path: str, body: Object) -> Object:
    """One request."""
    return {"method": method, "path": path, "body": body}
