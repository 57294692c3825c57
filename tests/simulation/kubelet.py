"""Scheduler, nodes and kubelets: what happens to a pod between its creation and its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from boresight_api.outcome import FailureClass
from boresight_operator import api
from boresight_operator.api import Object

from .controller import Lag
from .job_controller import condition, index_of, is_over, warn
from .registry import Change, Registry, begins_to_end, name_of, namespace_of, stamp, uid_of
from .workload import ArtifactStore, Behaviour, End, Work, document_of

TAINT_SECONDS = 300.0
"""How long pods tolerate an unreachable node."""
POD_GC_SECONDS = 20.0
CHECKPOINTS = (0.2, 0.4, 0.6, 0.8)

Choose = Callable[[Object], Behaviour]


@dataclass
class PodLife:
    """What the kubelet knows of one pod."""

    pod_uid: str
    behaviour: Behaviour
    work: Work | None = None
    started: float | None = None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    done: bool = False

    def cancel(self) -> None:
        """Nothing more happens by itself."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()


class Kubelet:
    """All nodes at once."""

    def __init__(self, registry: Registry, store: ArtifactStore, choose: Choose, lag: Lag) -> None:
        self.registry = registry
        self.store = store
        self.choose = choose
        self.lag = lag
        self.lives: dict[str, PodLife] = {}
        self.unschedulable: str | None = None
        """What the scheduler says instead of choosing a node."""
        self.secrets_missing: set[str] = set()
        """Secrets that pods name and that do not exist."""
        self.lost: set[str] = set()
        """Nodes that do not answer."""
        self.ends: dict[str, tuple[End, bool]] = {}
        """Pod's UID -> how its container ended, and whether it was told to (deleted, evicted, node trouble)."""
        self.trouble = False
        """Whether a node ever was in trouble: what its pods cost is a matter of when it was seen."""
        self._node = 0
        registry.subscribers.append(self._on_change)

    # -- what it reacts to -------------------------------------------------------------------------------------------

    def _on_change(self, change: Change) -> None:
        if change.resource != api.PODS:
            return
        uid = uid_of(change.new)
        if change.type == "ADDED":
            self.lives[uid] = PodLife(uid, self.choose(change.new))
            self._later(self.lives[uid], self.lag(), self._schedule)
        elif change.type == "DELETED":
            life = self.lives.pop(uid, None)
            if life is not None:
                life.cancel()
                life.done = True
        elif begins_to_end(change):
            self._later(self.lives[uid], self.lag(), self._terminate)

    def _later(self, life: PodLife, seconds: float, action: Callable[[PodLife], None]) -> None:
        life.timers.append(asyncio.get_running_loop().call_later(seconds, self._act, life, action))

    def _act(self, life: PodLife, action: Callable[[PodLife], None]) -> None:
        found = self.registry.by_uid.get(life.pod_uid)
        if found is not None and not life.done and found[1]["spec"].get("nodeName") not in self.lost:
            action(life)

    def _pod(self, life: PodLife) -> Object:
        return self.registry.by_uid[life.pod_uid][1]

    # -- starting ----------------------------------------------------------------------------------------------------

    def _schedule(self, life: PodLife) -> None:
        pod = self._pod(life)
        if "deletionTimestamp" in pod["metadata"]:
            return
        if self.unschedulable is not None:
            gone = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": self.unschedulable}
            self._status(life, {"phase": "Pending", "conditions": _with(pod, gone)})
            self._later(life, 5.0, self._schedule)
            return
        nodes = [name_of(node) for node in self.registry.all(api.NODES) if name_of(node) not in self.lost]
        nodes = [node for node in nodes if node not in _avoided(pod)] or nodes
        if not nodes:
            self._later(life, 5.0, self._schedule)
            return
        self._node += 1
        node = nodes[self._node % len(nodes)]
        bound = {**pod, "spec": {**pod["spec"], "nodeName": node}}
        self.registry.update(api.PODS, namespace_of(pod), name_of(pod), bound, "scheduler")
        scheduled = {"type": "PodScheduled", "status": "True"}
        self._status(life, {"phase": "Pending", "conditions": _with(self._pod(life), scheduled)})
        self._later(life, life.behaviour.start_seconds, self._start)

    def _start(self, life: PodLife) -> None:
        pod = self._pod(life)
        if "deletionTimestamp" in pod["metadata"]:
            return
        if self._cannot_start(life, pod):
            self._later(life, 10.0, self._start)
            return
        document = document_of(self._config_maps(pod))
        if document is None:
            raise AssertionError(f"{name_of(pod)} mounts no stage.json and no prepare.json")
        life.work = Work(self.store, document, life.pod_uid, index_of(pod))
        life.started = asyncio.get_running_loop().time()
        running = {"running": {"startedAt": stamp(self.registry.now())}}
        ready = {"type": "Ready", "status": "True"}
        self._container(life, running, {"phase": "Running", "podIP": "10.0.0.1", "conditions": _with(pod, ready)})
        life.work.begin()
        self._plan_end(life, life.work)

    def _cannot_start(self, life: PodLife, pod: Object) -> bool:
        """Write why the container waits, if it does."""
        names = [volume["configMap"]["name"] for volume in pod["spec"].get("volumes", ()) if "configMap" in volume]
        lacking = [name for name in names if self.registry.find(api.CONFIG_MAPS, namespace_of(pod), name) is None]
        if lacking:
            text = f'MountVolume.SetUp failed for volume "stage" : configmap "{lacking[0]}" not found'
            warn(self.registry, api.PODS, pod, "FailedMount", text, "kubelet")
            reason, message = "ContainerCreating", ""
        elif missing := self.secrets_missing & _secrets(pod):
            reason, message = "CreateContainerConfigError", f'secret "{min(missing)}" not found'
        elif life.behaviour.waiting is not None:
            reason = life.behaviour.waiting
            message = "" if reason == "ContainerCreating" else f"Back-off: {reason}"
        else:
            return False
        self._container(life, {"waiting": {"reason": reason, "message": message}}, {"phase": "Pending"})
        return True

    def _config_maps(self, pod: Object) -> list[Mapping[str, Any]]:
        names = [volume["configMap"]["name"] for volume in pod["spec"].get("volumes", ()) if "configMap" in volume]
        return [self.registry.get(api.CONFIG_MAPS, namespace_of(pod), name) for name in names]

    # -- running and ending ------------------------------------------------------------------------------------------

    def _plan_end(self, life: PodLife, work: Work) -> None:
        fate = life.behaviour
        end = work.immediate()
        if end is not None:
            self._later(life, 1.0, lambda life: self._end(life, end))
            return
        seconds = fate.seconds * (1 - work.start_step / 100)
        stops = fate.fails is not None or fate.exit_code is not None or fate.oom_killed
        until = seconds * fate.at if stops else seconds
        for fraction in CHECKPOINTS:
            if seconds * fraction < until or fate.hangs:
                self._later(life, seconds * fraction, lambda _, fraction=fraction: work.checkpoint(fraction))  # type: ignore[misc]
        if not fate.hangs:
            self._later(life, until, self._finish)

    def _finish(self, life: PodLife) -> None:
        fate, work = life.behaviour, life.work
        assert work is not None
        if fate.oom_killed:
            end = End(137, "", "OOMKilled")
        elif fate.exit_code is not None:
            end = End(fate.exit_code, "", "Error")
        elif fate.fails is not None:
            end = work.failure(fate.fails, f"simulated: {fate.fails}", int(100 * fate.at))
        else:
            end = work.finish()
            if fate.claims_key is not None:
                end = End(
                    end.exit_code, end.message.replace(getattr(work.document, "key", "?"), fate.claims_key), end.reason
                )
        if fate.rubbish is not None:
            end = End(end.exit_code, fate.rubbish[:4096], end.reason)
        if fate.lost_message:
            end = End(end.exit_code, "", end.reason)
        self._end(life, end)

    def _end(self, life: PodLife, end: End) -> None:
        pod = self._pod(life)
        life.cancel()
        life.done = True
        told = "deletionTimestamp" in pod["metadata"] or condition(pod, "DisruptionTarget") is not None
        self.ends[life.pod_uid] = (end, told or end.reason == "ContainerStatusUnknown")
        now = stamp(self.registry.now())
        state = {"exitCode": end.exit_code, "reason": end.reason, "message": end.message, "finishedAt": now}
        old = pod.get("status", {}).get("containerStatuses", [{}])[0].get("state", {})
        state["startedAt"] = old.get("running", {}).get("startedAt", now)
        phase = "Succeeded" if end.exit_code == 0 else "Failed"
        self._container(life, {"terminated": state}, {"phase": phase})
        if "deletionTimestamp" in self._pod(life)["metadata"]:
            self._gone(life)

    def _terminate(self, life: PodLife) -> None:
        """SIGTERM, and SIGKILL when the grace period is over."""
        pod = self._pod(life)
        if not pod["spec"].get("nodeName"):
            self._later_anyway(life, POD_GC_SECONDS, lambda: self._pod_gc(life))
            return
        if is_over(pod):
            self._gone(life)
            return
        life.cancel()
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds", 30))
        fate = life.behaviour
        if life.started is None:
            self._later(life, 1.0, lambda life: self._end(life, End(137, "", "ContainerStatusUnknown")))
        elif fate.hangs or fate.ignores_sigterm or fate.term_seconds > grace:
            self._later(life, grace, lambda life: self._end(life, End(137, "", "Error")))
        else:
            self._later(life, fate.term_seconds, self._end_preempted)

    def _end_preempted(self, life: PodLife) -> None:
        assert life.work is not None and life.started is not None
        ran = asyncio.get_running_loop().time() - life.started
        step = life.work.checkpoint(min(0.99, ran / max(life.behaviour.seconds, 1.0)))
        self._end(life, life.work.failure(FailureClass.PREEMPTED, "SIGTERM", step))

    def _gone(self, life: PodLife) -> None:
        pod = self._pod(life)
        life.done = True
        if pod["metadata"].get("deletionGracePeriodSeconds") == 0 and pod["metadata"].get("finalizers"):
            return
        self.registry.delete(api.PODS, namespace_of(pod), name_of(pod), "kubelet", uid=uid_of(pod), grace=0)

    # -- trouble -----------------------------------------------------------------------------------------------------

    def evict(self, pod_uid: str, reason: str = "PreemptionByScheduler") -> None:
        """Somebody more important needs the place: DisruptionTarget, then graceful deletion."""
        life = self.lives.get(pod_uid)
        if life is None or is_over(self._pod(life)):
            return
        pod = self._pod(life)
        target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "preempted by a pod"}
        self._status(life, {"conditions": _with(pod, target)})
        self.registry.delete(api.PODS, namespace_of(pod), name_of(pod), "scheduler")

    def lose_node(self, name: str) -> None:
        """The node does not answer any more; its pods are evicted after a while, and stay for ever."""
        self.trouble = True
        self.lost.add(name)
        asyncio.get_running_loop().call_later(TAINT_SECONDS, self._evict_from, name)

    def return_node(self, name: str) -> None:
        """The node answers again; what ran on it was killed."""
        if name not in self.lost:
            return
        self.lost.discard(name)
        for life in list(self.lives.values()):
            pod = self._pod(life)
            if pod["spec"].get("nodeName") == name and not is_over(pod):
                life.cancel()
                self._later(life, 1.0, lambda life: self._end(life, End(137, "", "ContainerStatusUnknown")))

    def remove_node(self, name: str) -> None:
        """The node object is deleted: pod GC ends its pods by force."""
        self.trouble = True
        if self.registry.find(api.NODES, "", name) is not None:
            self.registry.delete(api.NODES, "", name, "cloud")
        asyncio.get_running_loop().call_later(POD_GC_SECONDS, self._collect_pods_of, name)

    def _evict_from(self, name: str) -> None:
        if name not in self.lost:
            return
        for life in list(self.lives.values()):
            pod = self._pod(life)
            if pod["spec"].get("nodeName") == name and not is_over(pod):
                self.evict(life.pod_uid, "DeletionByTaintManager")

    def _collect_pods_of(self, name: str) -> None:
        self.lost.add(name)
        for life in list(self.lives.values()):
            if self._pod(life)["spec"].get("nodeName") == name:
                self._pod_gc(life)

    def _later_anyway(self, life: PodLife, seconds: float, action: Callable[[], None]) -> None:
        life.timers.append(asyncio.get_running_loop().call_later(seconds, action))

    def _pod_gc(self, life: PodLife) -> None:
        """Mark it Failed and delete it by force, as kube-controller-manager's pod garbage collector does."""
        if self.registry.by_uid.get(life.pod_uid) is None:
            return
        life.cancel()
        pod = self._pod(life)
        if not is_over(pod):
            target = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByPodGC",
                "message": "PodGC: node is gone",
            }
            conditions = (
                _with(pod, target) if pod["spec"].get("nodeName") else pod.get("status", {}).get("conditions", [])
            )
            self._status(life, {"phase": "Failed", "conditions": conditions})
        self._gone(life)

    # -- writing -----------------------------------------------------------------------------------------------------

    def _container(self, life: PodLife, state: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        pod = self._pod(life)
        name = pod["spec"]["containers"][0]["name"]
        statuses = [{"name": name, "state": dict(state), "ready": "running" in state, "restartCount": 0}]
        self._status(life, {**status, "containerStatuses": statuses})

    def _status(self, life: PodLife, status: Mapping[str, Any]) -> None:
        pod = self._pod(life)
        body = {**pod, "status": {**pod.get("status", {"phase": "Pending"}), **status}}
        self.registry.update(api.PODS, namespace_of(pod), name_of(pod), body, "kubelet", subresource="status")


def _with(pod: Object, added: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    others = [item for item in pod.get("status", {}).get("conditions", ()) if item["type"] != added["type"]]
    return [*others, added]


def _secrets(pod: Object) -> set[str]:
    """Secrets that the pod cannot start without."""
    found = set()
    for container in pod["spec"]["containers"]:
        for variable in container.get("env", ()):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference is not None and not reference.get("optional"):
                found.add(reference["name"])
        for source in container.get("envFrom", ()):
            if "secretRef" in source and not source["secretRef"].get("optional"):
                found.add(source["secretRef"]["name"])
    return found


def _avoided(pod: Object) -> set[str]:
    """Nodes that required node affinity excludes by name."""
    found = set()
    affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", ()):
        for rule in [*term.get("matchExpressions", ()), *term.get("matchFields", ())]:
            if rule["operator"] == "NotIn":
                found |= set(rule["values"])
    return found
