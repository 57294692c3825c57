"""The real Kueue in a cluster, as its own manifests install it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from apiserver.client import ApiError, Object, until
from boresight_operator.api import Resource
from cluster.cluster import Cluster
from cluster.images import Image, base
from kits.go_programs import Say
from kits.kueue_program import KUEUE, manifests
from kits.programs import executable

NAMESPACE = "kueue-system"
GROUP = "kueue.x-k8s.io"
FLAVORS = Resource(GROUP, "v1beta1", "resourceflavors", "ResourceFlavor", namespaced=False)
CLUSTER_QUEUES = Resource(GROUP, "v1beta1", "clusterqueues", "ClusterQueue", namespaced=False)
PRIORITIES = Resource(GROUP, "v1beta1", "workloadpriorityclasses", "WorkloadPriorityClass", namespaced=False)
QUEUES = Resource(GROUP, "v1beta1", "localqueues", "LocalQueue")


@contextmanager
def installed(cluster: Cluster, say: Say) -> Iterator[None]:
    """Kueue for Jobs. It goes at the end: its webhooks stand before every Job of the cluster."""
    layer = base()
    layer.file(executable(KUEUE, say), "manager")
    image = Image("kueue", (layer,))
    cluster.load((image,))
    objects = yaml.safe_load_all(cluster.kubectl("kustomize", str(manifests())))
    text = yaml.safe_dump_all([_ours(item, image) for item in objects if item["kind"] != "APIService"])
    cluster.kubectl("apply", "--server-side", "--filename=-", stdin=text)
    try:
        cluster.kubectl("rollout", "status", "--namespace", NAMESPACE, "deployment", "--timeout=120s")
        yield
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "--wait=false", "--filename=-", stdin=text)


def make_queue(cluster: Cluster, namespace: str, *, cpu: str) -> str:
    """A queue of one namespace with so much CPU, in which the more urgent takes the place of the less urgent."""
    client = cluster.client
    quota: dict[str, Any] = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [
            {
                "coveredResources": ["cpu", "memory"],
                "flavors": [
                    {
                        "name": namespace,
                        "resources": [
                            {"name": "cpu", "nominalQuota": cpu},
                            {"name": "memory", "nominalQuota": "64Gi"},
                        ],
                    }
                ],
            }
        ],
    }

    def made() -> bool:
        try:
            make()
        except ApiError as error:
            if error.code != 500:  # its webhooks answer some time after it says that it is ready
                raise
            return False
        return True

    def make() -> None:
        client.apply(FLAVORS, None, _object(FLAVORS, namespace))
        client.apply(CLUSTER_QUEUES, None, {**_object(CLUSTER_QUEUES, namespace), "spec": quota})
        queue = {**_object(QUEUES, "research"), "spec": {"clusterQueue": namespace}}
        client.apply(QUEUES, namespace, queue)
        for name, value in (("low", 1), ("high", 2)):
            client.apply(PRIORITIES, None, {**_object(PRIORITIES, name), "value": value, "description": name})

    until(made, "Kueue takes a queue", seconds=60, every=0.5)
    return "research"


def _ours(item: Object, image: Image) -> Object:
    """With our image, one framework, and no more of the machine than the tests can spare."""
    if item["kind"] == "ConfigMap":
        (name,) = item["data"]
        configuration = yaml.safe_load(item["data"][name])
        configuration["integrations"] = {"frameworks": ["batch/job"]}
        item["data"][name] = yaml.safe_dump(configuration)
    if item["kind"] == "Deployment":
        (container,) = item["spec"]["template"]["spec"]["containers"]
        container |= {"image": image.reference, "imagePullPolicy": "Never"}
        container["resources"] = {"requests": {"cpu": "50m", "memory": "128Mi"}}
    return item


def _object(resource: Resource, name: str) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}}
