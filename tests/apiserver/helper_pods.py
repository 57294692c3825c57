"""The pods of ``kubectl boresight ... --in-cluster``, and what they print, played by the test."""

from __future__ import annotations

import io

from boresight.framed import Frames
from boresight_operator.api import PODS

from .client import Object, until
from .kubelet import End
from .kubelet_logs import KubeletLogs
from .world import World

OURS = "app.kubernetes.io/managed-by=kubectl-boresight"


def helper(world: World) -> Object:
    """The pod, once it is there."""
    (pod,) = until(lambda: world.client.list(PODS, world.namespace, labels=OURS), "the pod of the command")
    return pod


def no_helper(world: World) -> None:
    """Waits until it is gone."""
    until(lambda: not world.client.list(PODS, world.namespace, labels=OURS), "the pod is removed")


def framed(pod: Object, text: str, code: int | None = 0) -> str:
    """As the command in the pod prints it; without a code, so far."""
    log = io.BytesIO()
    frames = Frames(log, pod["spec"]["containers"][0]["command"][2])
    frames.write(text.encode())
    if code is not None:
        frames.end(code)
    return log.getvalue().decode()


def start(world: World, logs: KubeletLogs) -> Object:
    """Start the pod: it runs, and its log is there, still empty."""
    pod = helper(world)
    logs.write(pod, "")
    return world.kubelet.run(pod)


def play(world: World, logs: KubeletLogs, text: str, code: int = 0, *, stderr: str = "") -> Object:
    """Run the pod and let it print ``text``."""
    pod = start(world, logs)
    write_and_end(world, logs, pod, stderr + framed(pod, text, code), code)
    return pod


def write_and_end(world: World, logs: KubeletLogs, pod: Object, log: str, code: int = 0, reason: str = "") -> None:
    """Leave this log, and end. Its status comes first: with the end of what it prints the command removes it."""
    world.kubelet.end(pod, End(code, reason=reason))
    logs.write(pod, log)
    logs.end(pod)
