"""From the cache's plain objects to what ``decide`` looks at. Identity is by controller UID; names verify, labels tell.

Nothing in here trusts an object's content further than its type: a field that is missing or of another type is absent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from boresight_api.plan import Plan
from boresight_api.status import Condition, RunStatus
from pydantic import ValidationError

from . import names
from .api import Object
from .cache import Cache
from .memory import Memory
from .plain import condition, epoch, mapping, mappings, number, text, texts
from .planning import Planner
from .settings import Settings
from .siblings import Siblings, stores_of
from .views import ContainerEnd, JobView, Observation, Part, PodView, RunView

CONTAINER = "stage"
"""Name of the stage's container; others in the pod are injected by the cluster."""
INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
MAX_CONDITIONS = 16
_NEWER = {"extra_forbidden", "enum", "literal_error"}
"""Faults of a status that a newer release's fields and words make."""


class Observer:
    """Puts an observation together."""

    def __init__(
        self,
        settings: Settings,
        cache: Cache,
        planner: Planner,
        siblings: Siblings,
        memory: Memory,
        server_now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._planner = planner
        self._siblings = siblings
        self._memory = memory
        self._server_now = server_now

    async def observe(self, uid: str) -> Observation | None:
        """All that is known about a run; None if it is gone. The one await may read the plan's snapshot."""
        run = self._run(uid)
        if run is None:
            return None
        jobs = self._jobs(run)
        if await self._planner.recall(run, jobs, self._server_now()):
            run = self._run(uid)  # time has passed
            jobs = self._jobs(run) if run is not None else ()
        return self._look(run, jobs) if run is not None else None

    def _look(self, run: RunView, jobs: tuple[JobView, ...]) -> Observation:
        """From memory alone, at one moment."""
        settings, now = self._settings.of(run.namespace), self._server_now()
        planned = self._planner.plan(run, jobs, now)
        return Observation(
            run=run,
            now=now,
            settings=settings,
            plan=planned.plan,
            pins=planned.pins,
            problems=planned.problems,
            jobs=jobs,
            rivals=self._siblings.rivals(run, stores_of(run.document, settings), _keys(planned.plan, run.status)),
            refusals=tuple(self._memory.of(run.uid).refusals.values()),
            usage=self._siblings.usage(run, settings),
            pins_lost=planned.pins_lost,
            nodes_gone=self._memory.nodes_gone(now),
        )

    def with_new_keys(self, observation: Observation, status: RunStatus) -> Observation | None:
        """With the rivals at keys that only the decision has found, as when ``prepare`` has just ended. None if there
        are none, for then nothing is to be decided anew."""
        keys = _keys(None, status) - _keys(observation.plan, observation.run.status)
        stores = stores_of(observation.run.document, observation.settings)
        found = self._siblings.rivals(observation.run, stores, keys) if keys else {}
        return replace(observation, rivals={**observation.rivals, **found}) if found else None

    def planned_devices(self, uid: str, stages: Iterable[str]) -> int:
        """Devices that attempts of these stages of a run will ask for."""
        run = self._run(uid)
        if run is None:
            return 0
        return self._planner.devices(run, self._jobs(run), stages, self._settings.of(run.namespace), self._server_now())

    def _run(self, uid: str) -> RunView | None:
        found = self._cache.run(uid)
        return None if found is None else run_view(found)

    def _jobs(self, run: RunView) -> tuple[JobView, ...]:
        facts = self._memory.of(run.uid)
        found = self._cache.jobs_of(run.uid)
        facts.deleted &= {text(job, "metadata", "uid") for job in found}
        views = (
            job_view(
                job,
                self._cache.pods_of(text(job, "metadata", "uid")),
                run_name=run.name,
                run_uid=run.uid,
                deleted=facts.deleted,
            )
            for job in found
        )
        told = (replace(view, events=facts.events_of(view)) for view in views if view is not None)
        return tuple(sorted(told, key=lambda view: (view.created, view.attempt, view.name)))


def _keys(plan: Plan | None, status: RunStatus) -> set[str]:
    planned = {stage.key for stage in plan.stages} if plan is not None else set()
    return {key for key in planned | {stage.key for stage in status.stages} if key}


def run_view(found: Object) -> RunView:
    """A run of any kind. A status that cannot be read is a lost one, unless a newer operator wrote it."""
    meta = mapping(found, "metadata")
    status, problem = read_status(found.get("status"))
    labels = texts(meta, "labels")
    return RunView(
        kind=str(found.get("kind", "")),
        namespace=text(meta, "namespace"),
        name=text(meta, "name"),
        uid=text(meta, "uid"),
        resource_version=text(meta, "resourceVersion"),
        generation=number(meta.get("generation")),
        created=epoch(meta.get("creationTimestamp")) or 0.0,
        deleting=bool(meta.get("deletionTimestamp")),
        labels=labels,
        annotations=texts(meta, "annotations"),
        document={
            "apiVersion": found.get("apiVersion"),
            "kind": found.get("kind"),
            "metadata": {"name": meta.get("name"), "namespace": meta.get("namespace"), "labels": labels},
            "spec": found.get("spec"),
        },
        status=status,
        status_problem=problem,
    )


def read_status(document: object) -> tuple[RunStatus, str | None]:
    """The status as the contract has it, and what a newer operator put there that this one does not know.

    Of a newer operator's status the conditions are read none the less, as far as they can be.
    """
    if not document:
        return RunStatus(), None
    try:
        return RunStatus.model_validate(document), None
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        newer = sorted({".".join(map(str, fault["loc"])) for fault in faults if fault["type"] in _NEWER})
        return (RunStatus(conditions=_conditions(document)), f"status.{newer[0]}") if newer else (RunStatus(), None)


def _conditions(status: object) -> tuple[Condition, ...]:
    found = []
    for item in mappings(status, "conditions")[:MAX_CONDITIONS]:
        with contextlib.suppress(ValidationError):
            found.append(Condition.model_validate(item))
    return tuple(found)


def job_view(
    job: Object,
    pods: Iterable[Object],
    *,
    run_name: str,
    run_uid: str,
    deleted: Iterable[str] = (),
) -> JobView | None:
    """A Job of the run; None if its name is not the one that its labels would have been given."""
    meta = mapping(job, "metadata")
    labels, annotations = texts(meta, "labels"), texts(meta, "annotations")
    stage, key = labels.get(names.STAGE_LABEL, ""), annotations.get(names.KEY_ANNOTATION) or None
    attempt = number(labels.get(names.ATTEMPT_LABEL))
    name, uid = text(meta, "name"), text(meta, "uid")
    try:
        part = Part(labels.get(names.PART_LABEL, Part.WORK))
    except ValueError:
        return None
    if name != names.attempt_name(run_name, run_uid, stage, key, attempt, part):
        return None
    spec = mapping(job, "spec")
    failure = condition(job, "Failed") or condition(job, "FailureTarget")
    return JobView(
        uid=uid,
        name=name,
        stage=stage,
        key=key,
        attempt=attempt,
        part=part,
        plan=annotations.get(names.PLAN_ANNOTATION) or None,
        created=epoch(meta.get("creationTimestamp")) or 0.0,
        deleting=bool(meta.get("deletionTimestamp")) or uid in deleted,
        suspended=spec.get("suspend") is True,
        complete=condition(job, "Complete") is not None,
        completed=epoch(mapping(job, "status").get("completionTime")),
        failed=(text(failure, "reason"), text(failure, "message")) if failure else None,
        completions=number(spec.get("completions"), 1),
        devices=number(annotations.get(names.DEVICES_ANNOTATION)),
        pods=tuple(sorted(map(pod_view, pods), key=lambda pod: (pod.index, -pod.created, pod.name))),
    )


def pod_view(pod: Object) -> PodView:
    """A pod, whatever it says."""
    meta, spec, status = mapping(pod, "metadata"), mapping(pod, "spec"), mapping(pod, "status")
    container = _container(status)
    state = mapping(container, "state")
    terminated = mapping(state, "terminated")
    disruption, unscheduled = condition(pod, "DisruptionTarget"), condition(pod, "PodScheduled", "False")
    return PodView(
        uid=text(meta, "uid"),
        name=text(meta, "name"),
        index=number(text(meta, "annotations", INDEX_ANNOTATION)),
        created=epoch(meta.get("creationTimestamp")) or 0.0,
        node=text(spec, "nodeName") or None,
        phase=text(status, "phase") or "Pending",
        deleting_since=epoch(meta.get("deletionTimestamp")),
        ip=text(status, "podIP") or None,
        host_network=spec.get("hostNetwork") is True,
        disruption=_words(disruption),
        unschedulable=_words(unscheduled),
        waiting_reason=text(state, "waiting", "reason") or None,
        waiting_message=text(state, "waiting", "message"),
        has_container_status=bool(container),
        running=isinstance(state.get("running"), Mapping),
        end=_end(terminated) if terminated else None,
    )


def _end(terminated: Mapping[str, Any]) -> ContainerEnd:
    started, finished = epoch(terminated.get("startedAt")), epoch(terminated.get("finishedAt"))
    return ContainerEnd(
        exit_code=number(terminated.get("exitCode")),
        reason=text(terminated, "reason"),
        message=text(terminated, "message"),
        ran_seconds=max(0, int(finished - started)) if started and finished else None,
    )


def _container(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of the stage's container; empty if there is none yet."""
    return next((item for item in mappings(status, "containerStatuses") if item.get("name") == CONTAINER), {})


def _words(said: Mapping[str, Any] | None) -> str | None:
    """A condition's message, else its reason."""
    return None if said is None else text(said, "message") or text(said, "reason")
