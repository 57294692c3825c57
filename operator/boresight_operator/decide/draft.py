"""The status while it is being decided, and what else the decision will hold. Policies read and change it in turn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from boresight_api.outcome import FailureClass, message_text
from boresight_api.plan import Plan, PlannedStage
from boresight_api.status import AttemptStatus, RunStatus, StageStateName, StageStatus

from ..decision import Effect, Event
from ..objects.work import INDEPENDENT_RECIPES
from ..views import PREPARE, JobView, Observation, Part, PodView
from .wishes import Wishes, wishes_of

State = StageStateName
LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59Z: times are kept within what RFC 3339 can write."""
MAX_ATTEMPT = 99_999
MAX_COUNT = 2**31 - 1
MAX_SECONDS = 2**53
HISTORY = 10
DONE = frozenset({State.CACHED, State.SUCCEEDED})
REFUSED = frozenset({"NameConflict", "NamespaceTerminating", "PodsForbidden", "ObjectInvalid"})
"""Reasons to wait of an attempt whose objects the API server does not take; PodsForbidden also of one with a Job."""
NODE_LOST = "NodeLost"
"""Reason of a stage that runs, as far as anybody can tell, on a node that does not answer any more."""
FREE = frozenset({"BackOff", "StoppedAfter"})
"""Reasons to wait that are not waiting for a place."""


@dataclass(slots=True)
class Draft:
    """What ``decide`` works on."""

    seen: Observation
    now: int
    wishes: Wishes
    plan: Plan | None
    """As the latest pins have it: after a report of ``prepare`` it knows more than ``seen.plan``."""
    status: RunStatus
    """All but the stages."""
    stages: dict[str, StageStatus]
    """By name, in the plan's order, ``prepare`` first."""
    effects: list[Effect] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    wake: float | None = None

    def planned(self) -> Iterator[tuple[PlannedStage, StageStatus]]:
        """The plan's stages with their state."""
        for planned in self.plan.stages if self.plan else ():
            yield planned, self.stages[planned.name]

    def planned_stage(self, name: str) -> PlannedStage | None:
        """None for ``prepare``, and for a stage that is not in the plan."""
        return next((stage for stage in self.plan.stages if stage.name == name), None) if self.plan else None

    def put(self, stage: StageStatus) -> StageStatus:
        """Replace a stage."""
        self.stages[stage.name] = stage
        return stage

    def move(
        self, stage: StageStatus, state: State, reason: str | None = None, message: str | None = None, **fields: Any
    ) -> StageStatus:
        """Put ``stage`` into a state for a reason. ``since`` stays while both stay; time in a queue is counted."""
        update: dict[str, Any] = {"state": state, "reason": reason, "message": text(message), **fields}
        if (stage.state, stage.reason) != (state, reason) or stage.since is None:
            update["since"] = stamp(self.now)
            if queues(stage):
                spent = max(0, self.now - _or(seconds(stage.since), self.now))
                update["queued_seconds"] = min(MAX_COUNT, (stage.queued_seconds or 0) + spent)
                total = min(MAX_COUNT, (self.status.queued_seconds or 0) + spent)
                self.status = self.status.model_copy(update={"queued_seconds": total})
        return self.put(stage.model_copy(update=update))

    def close(
        self,
        stage: StageStatus,
        job: JobView | None,
        reason: str,
        message: str | None = None,
        *,
        failure: FailureClass | None = None,
        rank: int | None = None,
        node: str | None = None,
        gained: int | None = None,
        devices: int = 0,
    ) -> StageStatus:
        """The stage's attempt is over: into its history, and its time into the sums, once.

        ``devices`` counts where there is no ``job`` any more that says how many it had.
        """
        ran = self.ran(stage, job)
        began = self.now - ran if ran or stage.running_since else None
        over = AttemptStatus(
            attempt=min(stage.attempt or 0, MAX_ATTEMPT),
            failure_class=failure,
            reason=reason,
            message=text(message),
            rank=rank if rank is not None and 0 <= rank <= 65_535 else None,
            node=node[:253] if node else None,
            steps_gained=gained,
            start_time=stage.running_since or (stamp(began) if began is not None else None),
            end_time=stamp(self.now),
        )
        stage = self.stop_clock(stage, job, devices)
        return self.put(stage.model_copy(update={"history": remember(stage.history, over), "job_uid": None}))

    def stop_clock(self, stage: StageStatus, job: JobView | None, devices: int = 0) -> StageStatus:
        """Its pods do not run any more, for now or for good: running time and device seconds are added."""
        ran = self.ran(stage, job)
        used = ran * max(0, job.devices if job is not None else devices)
        total = min(MAX_SECONDS, (self.status.device_seconds or 0) + used)
        if used:
            self.status = self.status.model_copy(update={"device_seconds": total})
        update = {
            "running_since": None,
            "running_seconds": min(MAX_COUNT, (stage.running_seconds or 0) + ran) or None,
            "device_seconds": min(MAX_SECONDS, (stage.device_seconds or 0) + used) or stage.device_seconds,
            "start_time": stage.start_time or (stamp(self.now - ran) if ran else None),
        }
        return self.put(stage.model_copy(update=update))

    def ran(self, stage: StageStatus, job: JobView | None) -> int:
        """Seconds that the present attempt has run since it last began to."""
        newest = {pod.index: pod for pod in reversed(job.pods) if not _is_counted(stage, pod)} if job else {}
        told = [pod.end.ran_seconds for pod in newest.values() if pod.end and pod.end.ran_seconds is not None]
        if told:
            return min(max(0, *told), MAX_COUNT)
        began = seconds(stage.running_since)
        return 0 if began is None else min(max(0, self.now - began), MAX_COUNT)

    def event(self, reason: str, message: str, *, warning: bool = False) -> None:
        """Say it once, when this decision is stored."""
        self.events.append(Event("Warning" if warning else "Normal", reason, message_text(message)))

    def wake_at(self, when: float) -> None:
        """Decide again then at the latest."""
        after = max(when - self.now, 0.0) + 1.0  # times are whole seconds; be past it
        self.wake = after if self.wake is None else min(self.wake, after)


def draft_of(observation: Observation) -> Draft:
    """The stored status as a start. What ``boresight-progress`` owns is left out."""
    status = observation.run.status
    return Draft(
        seen=observation,
        now=clock(observation.now),
        wishes=wishes_of(observation.run, observation.settings),
        plan=observation.plan,
        status=own(status),
        stages={stage.name: stage for stage in status.stages},
    )


def own(status: RunStatus) -> RunStatus:
    """What ``boresight`` owns of a status."""
    conditions = tuple(c for c in status.conditions if c.type != "ProgressAvailable")
    return status.model_copy(
        update={"percent": None, "remaining_seconds": None, "progress": (), "conditions": conditions}
    )


def _is_counted(stage: StageStatus, pod: PodView) -> bool:
    """Whether a pod ran before its Job was evicted: the clock was stopped then, and its time added."""
    evicted = seconds(stage.since) if stage.reason == "QuotaPending" and stage.running_since is None else None
    return evicted is not None and pod.created < evicted


def under_way(stage: StageStatus) -> bool:
    """Whether it has an attempt that exists, or is to."""
    if stage.state in {State.STARTING, State.RUNNING}:
        return True
    waits = stage.state is State.WAITING and stage.attempt is not None
    return waits and (stage.job_uid is not None or stage.reason in REFUSED)


def queues(stage: StageStatus) -> bool:
    """Whether it wants to run and does not, for another reason than our own back-off or the user's wish."""
    if stage.state is State.RUNNING:
        return stage.running_since is None
    return stage.state is State.STARTING or (stage.state is State.WAITING and stage.reason not in FREE)


def remember(history: tuple[AttemptStatus, ...], over: AttemptStatus) -> tuple[AttemptStatus, ...]:
    """The last ten, oldest first, each number once."""
    kept = [entry for entry in history if entry.attempt != over.attempt]
    return tuple(sorted([*kept, over], key=lambda entry: entry.attempt)[-HISTORY:])


def clock(now: float) -> int:
    """Whole seconds, within what can be written."""
    return int(min(max(now, 0.0), LAST_SECOND)) if math.isfinite(now) else 0


def stamp(when: float) -> str:
    """RFC 3339, UTC, whole seconds."""
    return datetime.fromtimestamp(clock(when), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(time: str | None) -> int | None:
    """Seconds since the epoch; None if it is no time."""
    if time is None:
        return None
    try:
        return clock(datetime.fromisoformat(time).timestamp())
    except (ValueError, OverflowError):
        return None


def text(message: str | None) -> str | None:
    """Fit for a status, or None for nothing."""
    return (message_text(message) or None) if message else None


def are_shards(draft: Draft, job: JobView) -> bool:
    """Whether the pods of ``job`` need not know each other, so that a merge follows. The Job says how many they are."""
    planned = draft.planned_stage(job.stage)
    independent = job.stage in {"synthesis", "evaluation"} if planned is None else planned.recipe in INDEPENDENT_RECIPES
    return independent and job.part is Part.WORK and job.completions > 1


def has_ended(job: JobView) -> bool:
    """Whether nothing of it runs any more. A Job that has failed may have ranks that still end."""
    return job.complete or (job.failed is not None and all(pod.over for pod in job.pods))


def finished(draft: Draft) -> bool:
    """Whether the plan's keys are known and every one of them has its artifact."""
    stages = list(draft.planned())
    return bool(stages) and all(planned.key == stage.key and stage.state in DONE for planned, stage in stages)


def is_prepare(stage: StageStatus) -> bool:
    """Whether it is the stage before all keyed ones."""
    return stage.name == PREPARE


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
