"""The cluster itself: what the other tests of this folder rest on."""

from __future__ import annotations

import time
import uuid

import pytest
from apiserver.client import Object, until
from boresight_operator.api import PODS
from cluster.cluster import Cluster, find, shell_image, up
from cluster.plan import default_folder


def run(cluster: Cluster, script: str) -> tuple[str, float]:
    """What a shell in a pod prints, and the seconds that it ran."""
    name = f"shell-{uuid.uuid4().hex[:6]}"
    container = {"name": "shell", "image": shell_image().reference, "command": ["sh", "-c", script]}
    spec = {"restartPolicy": "Never", "containers": [container]}
    cluster.client.create(PODS, "default", {"metadata": {"name": name}, "spec": spec})

    def ended() -> Object | None:
        statuses = cluster.client.get(PODS, "default", name)["status"].get("containerStatuses", [])
        return next((status["state"]["terminated"] for status in statuses if "terminated" in status["state"]), None)

    try:
        until(ended, "the pod has ended", seconds=60)
        text = cluster.client.call("GET", PODS.path("default", name, "log"))
    finally:
        cluster.client.delete(PODS, "default", name, gracePeriodSeconds=0)
    said, _, seconds = str(text).rstrip().rpartition("\n")
    return said, float(seconds)


def timed(command: str) -> str:
    return f"exec 2>&1; start=$(date +%s); {command}; echo $(($(date +%s) - start))"


def test_a_pod_finds_services_by_name_and_reaches_them(cluster: Cluster) -> None:
    said, _ = run(
        cluster,
        timed("nslookup kubernetes.default.svc.cluster.local; nc -w 3 kubernetes.default 443 < /dev/null && echo open"),
    )
    assert "Address: 10.96.0.1" in said
    assert "open" in said


def test_what_a_pod_asks_of_the_outside_fails_at_once(cluster: Cluster) -> None:
    said, seconds = run(cluster, timed("nc -w 20 192.0.2.77 80 < /dev/null"))
    assert "No route to host" in said
    assert seconds < 5


def test_who_starts_a_cluster_that_is_up_gets_that_one(cluster: Cluster) -> None:
    before = {node["metadata"]["uid"] for node in cluster.client.call("GET", "/api/v1/nodes")["items"]}
    started = time.monotonic()
    again = up(default_folder(), pytest.fail)
    assert time.monotonic() - started < 10
    assert {node["metadata"]["uid"] for node in again.client.call("GET", "/api/v1/nodes")["items"]} == before
    assert find(default_folder()) is not None
