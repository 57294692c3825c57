"""What must hold at every moment and at the end, judged from outside: by what the API server and the store hold."""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from boresight_api.execution import Prepare, Stage
from boresight_api.stages import inputs_of
from boresight_api.status import RunStatus
from boresight_operator import api, names
from boresight_operator.api import Object

from .job_controller import condition, is_over
from .process import Call
from .registry import Change, begins_to_end, controller_of, name_of, namespace_of, seconds_of, uid_of
from .workload import End, document_of
from .world import Process, World

DONE = {"Succeeded", "Cached"}
EXTERNAL_WAITS = {
    "Suspended",
    "StoppedAfter",
    "QuotaPending",
    "Unschedulable",
}


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Attempt:
    """What a Job's labels say that it is."""

    job_uid: str
    namespace: str
    run_uid: str
    stage: str
    number: int
    part: str
    key: str | None
    storage: str
    pods: int


class Invariants:
    """Watches a world. Raises nothing itself: :attr:`broken` collects, :meth:`check` raises."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broken: list[str] = []
        self.attempts: dict[str, Attempt] = {}
        """By the Job's UID."""
        self.numbers: dict[tuple[str, str, int, str], str] = {}
        """(run UID, stage, attempt, part) -> Job's UID: every one ever made."""
        self.named: set[str] = set()
        """UIDs of Jobs that a status has named."""
        self.taken_unseen: set[str] = set()
        """UIDs of Jobs that users deleted before any status named them: nobody can know that their number was used."""
        self.pods: dict[str, list[str]] = defaultdict(list)
        """Job's UID -> UIDs of all pods it ever had."""
        self.excused: dict[str, set[str]] = defaultdict(set)
        """Run UID -> what users did to it that may undo finished stages."""
        self.removed_artifacts: set[tuple[str, str]] = set()
        """(storage, key) of artifacts that somebody deleted from the store."""
        self.log = _Errors()
        logging.getLogger("boresight_operator").addHandler(self.log)
        world.registry.subscribers.append(self.on_change)
        world.on_serve = self.only_the_holder_writes

    def close(self) -> None:
        """Stop listening to logs."""
        logging.getLogger("boresight_operator").removeHandler(self.log)

    def check(self) -> None:
        """Raise what was found so far."""
        found = [*self.broken, *self.world.errors, *self.log.seen]
        if found:
            raise Broken("\n".join(found[:20]))

    def _fail(self, text: str) -> None:
        self.broken.append(f"{self.world.now:.3f} s: {text}")

    def forget(self, run_uid: str) -> None:
        """The status was lost: of attempts whose Job is gone too, only a checkpoint folder may still tell."""
        for (uid, _, number, _), job in self.numbers.items():
            made = self.attempts[job]
            folders = self.world.store.checkpoints.get((made.storage, made.key or ""), {})
            if uid == run_uid and job not in self.world.registry.by_uid and f"{uid[:8]}-{number}" not in folders:
                self.taken_unseen.add(job)

    # -- at every change ---------------------------------------------------------------------------------------------

    def on_change(self, change: Change) -> None:
        """One write, just stored."""
        by_operator = change.actor in self.world.processes
        if by_operator and change.type == "ADDED":
            self._nothing_for_the_dead(change)
        if change.resource == api.JOBS and change.type == "ADDED":
            self._job_is_right(change)
        if change.resource == api.JOBS and change.actor == "user" and uid_of(change.new) not in self.named:
            self.taken_unseen.add(uid_of(change.new))
        if change.resource == api.PODS and change.type == "ADDED":
            self._pod_is_alone(change.new)
        if by_operator and (change.type == "DELETED" or begins_to_end(change)):
            self._only_our_own_is_deleted(change)
        if change.resource in api.RUNS and by_operator:
            self._status_is_true(change)

    def only_the_holder_writes(self, process: Process, call: Call) -> None:
        """Whatever becomes of the request: it may not even be sent."""
        if not call.mutates or call.about_lease:
            return
        lease = next(iter(self.world.registry.all(api.LEASES)), None)
        holder = lease["spec"].get("holderIdentity") if lease is not None else None
        if holder != process.identity:
            self._fail(f"{process.identity} sent {call.method} {call.path}, but {holder} holds the Lease")

    def _nothing_for_the_dead(self, change: Change) -> None:
        """A request that was sent before the process was told of the deletion may be sent again."""
        owner, call = controller_of(change.new), self.world.call
        if owner is None or call is None:
            return
        known = self.world.processes[change.actor].dead_runs.get(owner["uid"])
        if known is None or known >= call.sent:
            return
        begun = [at for at, who, target in self.world.requests if (who, target) == (change.actor, call.target)]
        if min(begun) > known:
            self._fail(f"{change.resource.kind} {name_of(change.new)} was created for dead UID {owner['uid']}")

    def _job_is_right(self, change: Change) -> None:
        job = change.new
        made = self._attempt(job)
        if made is None:
            return
        self.attempts[uid_of(job)] = made
        number = (made.run_uid, made.stage, made.number, made.part)
        if number in self.numbers and self.numbers[number] not in self.taken_unseen:
            self._fail(f"attempt {made.number} of {made.stage} was used twice ({name_of(job)})")
        self.numbers[number] = uid_of(job)
        for other in self.world.registry.all(api.JOBS, made.namespace):
            if uid_of(other) != uid_of(job) and self._holds(other):
                self._collide(made, self.attempts.get(uid_of(other)), "Job")
        self._status_names_it(made, job)
        if made.key is not None:
            self._inputs_exist(made, job)
            self._is_not_done(made, job)

    def _status_names_it(self, made: Attempt, job: Object) -> None:
        """The status is written before anything exists."""
        run = self.world.registry.by_uid.get(made.run_uid)
        stages = run[1].get("status", {}).get("stages", ()) if run is not None else ()
        named = [stage for stage in stages if stage["name"] == made.stage and stage.get("attempt") == made.number]
        if run is not None and not named and not self.excused[made.run_uid]:
            self._fail(f"Job {name_of(job)} was created, but no status names attempt {made.number} of {made.stage}")

    def _only_our_own_is_deleted(self, change: Change) -> None:
        if change.new["metadata"].get("labels", {}).get(names.RUN_UID_LABEL) is None:
            self._fail(f"{change.actor} deleted {change.resource.kind} {name_of(change.new)}, which is somebody else's")

    def _attempt(self, job: Object) -> Attempt | None:
        labels = job["metadata"].get("labels", {})
        if names.RUN_UID_LABEL not in labels:
            return None
        document = self._document(job)
        if document is None:
            # A lost request that is sent again may be for a run that is gone by now, and its ConfigMap with it.
            if labels[names.RUN_UID_LABEL] in self.world.registry.by_uid:
                self._fail(f"Job {name_of(job)} was created before its ConfigMap")
            return None
        annotations = job["metadata"].get("annotations", {})
        return Attempt(
            uid_of(job),
            namespace_of(job),
            labels[names.RUN_UID_LABEL],
            labels[names.STAGE_LABEL],
            int(labels[names.ATTEMPT_LABEL]),
            labels.get(names.PART_LABEL, "work"),
            annotations.get(names.KEY_ANNOTATION),
            document.execution.storage,
            int(job["spec"]["completions"]),
        )

    def _document(self, job: Object) -> Stage | Prepare | None:
        volumes = job["spec"]["template"]["spec"].get("volumes", ())
        mounted = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
        found = [self.world.registry.find(api.CONFIG_MAPS, namespace_of(job), name) for name in mounted]
        return document_of([config_map for config_map in found if config_map is not None])

    def _holds(self, job: Object) -> bool:
        """Whether a pod of this Job may still run, or come to run."""
        if condition(job, "Complete") or condition(job, "Failed"):
            return False
        pods = self.world.registry.owned(uid_of(job), api.PODS)
        if "deletionTimestamp" in job["metadata"]:
            return any(self._may_run(pod) for pod in pods)
        return True

    def _may_run(self, pod: Object) -> bool:
        if is_over(pod):
            return False
        ends = pod["metadata"].get("deletionTimestamp")
        lost = pod["spec"].get("nodeName") in self.world.kubelet.lost
        waited = self.world.registry.now() - seconds_of(ends) if ends else 0.0
        return not (lost and waited >= self.world.defaults.node_lost_seconds - 2)

    def _collide(self, made: Attempt, other: Attempt | None, what: str) -> None:
        if other is None or other.namespace != made.namespace or other.job_uid == made.job_uid:
            return
        if other.key is None and other.job_uid not in self.world.registry.by_uid:
            return  # pods of a prepare whose Job somebody deleted: if no watch has told of them yet, nothing can
        if (other.run_uid, other.stage) == (made.run_uid, made.stage):
            self._fail(f"two live {what}s of stage {made.stage}: attempts {other.number} and {made.number}")
        elif made.key is not None and (other.storage, other.key) == (made.storage, made.key):
            self._fail(f"two live {what}s of key {made.key[:8]}: of {other.stage} {other.number} and {made.number}")

    def _pod_is_alone(self, pod: Object) -> None:
        owner = controller_of(pod)
        if owner is not None:
            self.pods[owner["uid"]].append(uid_of(pod))
        made = self.attempts.get(owner["uid"]) if owner else None
        if made is None:
            return
        for other in self.world.registry.all(api.PODS, made.namespace):
            controller = controller_of(other)
            if controller is not None and self._may_run(other):
                self._collide(made, self.attempts.get(controller["uid"]), "pod")

    def _inputs_exist(self, made: Attempt, job: Object) -> None:
        document = self._document(job)
        assert isinstance(document, Stage)
        for role, value in inputs_of(document.config):
            place = (made.storage, value.key or "")
            if value.key and place not in self.world.store.artifacts and place not in self.removed_artifacts:
                self._fail(f"{made.stage} {made.number} was started before its input {role} was there")

    def _is_not_done(self, made: Attempt, job: Object) -> None:
        """Nobody starts what a run's stored status says is finished."""
        assert made.key is not None
        if (made.storage, made.key) not in self.world.store.artifacts:
            return
        for run in self.world.runs():
            if namespace_of(run) != made.namespace or "deletionTimestamp" in run["metadata"]:
                continue
            for stage in run.get("status", {}).get("stages", ()):
                same = stage.get("key") == made.key and stage.get("state") in DONE
                here = stage.get("artifact", {}).get("uri", "").startswith(f"{made.storage}/")
                if same and here and not self.excused[uid_of(run)]:
                    self._fail(f"{made.stage} {made.number} runs again: {name_of(run)} has its artifact")

    # -- the status --------------------------------------------------------------------------------------------------

    def _status_is_true(self, change: Change) -> None:
        assert change.old is not None
        run, before = change.new, change.old
        for part in ("spec",):
            if run.get(part) != before.get(part):
                self._fail(f"{change.actor} changed {part} of {name_of(run)}")
        for part in ("labels", "annotations", "finalizers", "ownerReferences"):
            if run["metadata"].get(part) != before["metadata"].get(part):
                self._fail(f"{change.actor} changed metadata.{part} of {name_of(run)}")
        seen, stored = run.get("status", {}).get("observedGeneration"), run["metadata"]["generation"]
        if seen != stored:
            self._fail(f"the status of {name_of(run)} was decided on generation {seen}, stored is {stored}")
        try:
            RunStatus.model_validate(run.get("status", {}))
        except ValueError as error:
            self._fail(f"the status of {name_of(run)} is none: {error}")
        old = {stage["name"]: stage for stage in before.get("status", {}).get("stages", ())}
        for stage in run.get("status", {}).get("stages", ()):
            self._stage_is_true(run, old.get(stage["name"], {}), stage)

    def _stage_is_true(self, run: Object, before: Mapping[str, Any], stage: Mapping[str, Any]) -> None:
        name, key = f"{name_of(run)}/{stage['name']}", stage.get("key")
        self.named.add(stage.get("jobUID", ""))
        if key and stage["state"] in DONE:
            place = self._place(stage)
            digest = self.world.store.artifacts.get(place)
            if place not in self.removed_artifacts and digest != stage.get("artifact", {}).get("digest"):
                self._fail(f"{name} is {stage['state']} at {key[:8]}, but the store has {digest}")
        same = before.get("key") == key
        if same and key and before["state"] in DONE and stage["state"] not in DONE and not self._may_undo(run):
            self._fail(f"{name} was {before['state']} and is {stage['state']} ({stage.get('reason')})")
        self._attempt_goes_up(run, before, stage)

    def _attempt_goes_up(self, run: Object, before: Mapping[str, Any], stage: Mapping[str, Any]) -> None:
        """A number may be given up only as long as nothing was made under it."""
        old, new = before.get("attempt", 0), stage.get("attempt", 0)
        new = max([new, *(entry["attempt"] for entry in stage.get("history", ()))])
        used = any((uid_of(run), stage["name"], old, part) in self.numbers for part in ("work", "merge"))
        if old > new and used and not self.excused[uid_of(run)]:
            self._fail(f"{name_of(run)}/{stage['name']}: attempt went from {old} to {new}")

    def _place(self, stage: Mapping[str, Any]) -> tuple[str, str]:
        uri = stage.get("artifact", {}).get("uri", "")
        return uri.removesuffix(f"/artifacts/{stage['key']}"), stage["key"]

    def _may_undo(self, run: Object) -> bool:
        return bool(self.excused[uid_of(run)] or self.removed_artifacts)

    # -- at rest -----------------------------------------------------------------------------------------------------

    def at_rest(self) -> None:
        """Nothing will happen any more by itself: every run is over, or waits for something outside."""
        for run in self.world.runs():
            if problem := stuck(run):
                self._fail(f"{run['kind']} {name_of(run)} is stuck: {problem}")
            else:
                self._end_is_true(run)
        self.check()

    def _end_is_true(self, run: Object) -> None:
        states = {stage["name"]: stage["state"] for stage in run["status"].get("stages", ())}
        succeeded = condition(run, "Succeeded") is not None
        states.pop("prepare", None)  # a status that was lost may find all outcomes before prepare has its turn
        if succeeded and any(state not in DONE for state in states.values()):
            self._fail(f"{name_of(run)} Succeeded with {states}")
        if run["status"].get("observedGeneration") != run["metadata"]["generation"]:
            self._fail(f"{name_of(run)}: generation {run['metadata']['generation']} was not observed")

    def budgets(self) -> None:
        """What was charged is what really failed; what somebody else ended was free."""
        for run in self.world.runs():
            if self.excused[uid_of(run)] or self.removed_artifacts or self.world.kubelet.trouble:
                continue
            for stage in run.get("status", {}).get("stages", ()):
                self._charged_exactly(run, stage)
        self.check()

    def _charged_exactly(self, run: Object, stage: Mapping[str, Any]) -> None:
        """The attempt that ends a stage for good may be charged or not; every other one is, if anybody saw its pod."""
        real = Counter(self._charges(uid_of(run), stage["name"], stage.get("key")))
        for budget, kind in BUDGETS.items():
            counted, failed = stage.get(budget, 0), real[kind]
            missed = failed if self.world.blind else 1 if stage["state"] == "Failed" else 0
            if stage["name"] != "prepare" and not failed - missed <= counted <= failed:
                self._fail(f"{name_of(run)}/{stage['name']}: {budget} is {counted}, but {failed} attempts failed so")

    def _charges(self, run_uid: str, stage: str, key: str | None) -> Iterator[str]:
        """What each attempt at this key cost, judged by how its pods really ended."""
        for made in self.attempts.values():
            if (made.run_uid, made.stage, made.key) == (run_uid, stage, key):
                ends = [
                    self.world.kubelet.ends[pod] for pod in self.pods[made.job_uid] if pod in self.world.kubelet.ends
                ]
                costs = {cost(end, shard=made.pods > 1) for end, told in ends if not told}
                yield from sorted(costs - {None})[:1]  # type: ignore[type-var]

    def nothing_left(self) -> None:
        """After all runs were deleted: only artifacts stay."""
        for resource in (api.JOBS, api.PODS, api.CONFIG_MAPS, api.SERVICES, api.NETWORK_POLICIES):
            for obj in self.world.registry.all(resource):
                self._fail(f"{resource.kind} {name_of(obj)} was left behind")
        self.check()

    def writes_by_kind(self) -> Counter[str]:
        """How often operators wrote what."""
        return Counter(f"{change.type} {change.resource.plural}" for change in self.world.writes)


BUDGETS = {
    "infrastructureRetries": "infrastructure",
    "errorRetries": "error",
    "outOfMemoryRetries": "memory",
}


def cost(end: End, *, shard: bool) -> str | None:
    """The budget that an end by itself is charged to; None if it is none's (it worked, or no attempt follows it)."""
    if end.exit_code == 0:
        return None if shard or is_outcome(end.message) else "error"
    if end.reason == "OOMKilled" or end.exit_code == 72:
        return "memory"
    if end.exit_code in {73, 74, 75}:
        return "infrastructure"
    return None if end.exit_code in {64, 65, 71, 76, 77} else "error"


def is_outcome(message: str) -> bool:
    """Whether a stage would be believed."""
    return message.startswith('{"apiVersion"') and "f" * 64 not in message


def stuck(run: Object) -> str | None:
    """Why this run is not over though nothing outside holds it; None if it is as it should be at rest."""
    conditions = {item["type"]: item for item in run.get("status", {}).get("conditions", ())}
    succeeded = conditions.get("Succeeded", {})
    if succeeded.get("status") in {"True", "False"}:
        return None
    if conditions.get("Stalled", {}).get("status") == "True":
        return None
    if not conditions:
        return "it has no conditions"
    stages = run["status"].get("stages", ())
    waits = [stage for stage in stages if stage["state"] in {"Waiting", "Suspended"}]
    if any(stage["state"] == "Suspended" or stage.get("reason") in EXTERNAL_WAITS for stage in waits):
        return None
    if conditions.get("Suspended", {}).get("status") == "True":
        return None
    shown = [(stage["name"], stage["state"], stage.get("reason"), stage.get("attempt")) for stage in stages]
    return json.dumps([succeeded.get("reason"), shown])


class _Errors(logging.Handler):
    """Errors with a traceback that the operator logs: a reconcile that raised what it does not know."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(self.format(record)[-3000:])


def failures(world: World) -> Iterator[tuple[str, str, str]]:
    """(run, stage, failure class) of every attempt in every history."""
    for run in world.runs():
        for stage in run.get("status", {}).get("stages", ()):
            for attempt in stage.get("history", ()):
                yield name_of(run), stage["name"], attempt.get("failureClass", "")
