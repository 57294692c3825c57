"""Builders for the operator's tests: a run as ``decide`` sees it, with its Jobs and pods, and time that goes on.

    world = a_run().prepared().with_job("feedback-model", pods=[a_pod().running()])
    decision = world.decide()

A :class:`World` is one run, what is stored of it, and its Jobs. ``step`` decides, stores the status and does the
effects as the loop and the API server would; ``settle`` does so until nothing changes.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from boresight_api.manifest import parse_manifest
from boresight_api.outcome import (
    ExitCode,
    FailureClass,
    Metric,
    Outcome,
    OutcomeStatus,
    PrepareReport,
    PublishedArtifact,
    StageFinding,
    StageState,
    SuiteResult,
    exit_code_of,
)
from boresight_api.pins import Pin
from boresight_api.plan import Plan, plan
from boresight_api.problems import ProblemsError
from boresight_api.resolve import merged
from boresight_api.spec import Storage
from boresight_api.status import Condition, RunStatus, StageStatus
from boresight_operator import names
from boresight_operator.decide import decide
from boresight_operator.decision import CleanUp, Decision, DeleteJob, StartAttempt
from boresight_operator.objects.failure_policy import RULES
from boresight_operator.settings import NamespaceSettings
from boresight_operator.views import (
    PREPARE,
    ContainerEnd,
    JobView,
    Observation,
    Part,
    PodView,
    Refusal,
    Rival,
    RunView,
    Usage,
)
from builders_manifests import an_alignment_run

NOW = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""
UID = "11111111-2222-3333-4444-555555555555"
STORE = "s3://bucket/team"
SETTINGS = NamespaceSettings(storage=Storage(uri=STORE))
NODE = "node-a"


def settings(**changes: Any) -> NamespaceSettings:
    """The namespace's settings with ``changes``."""
    return SETTINGS.model_copy(update=changes)


def digest_of(text: str) -> str:
    """A digest that is another for another text."""
    return "sha256:" + (text.encode().hex() + "0" * 64)[:64]


def pin_of(source: str) -> Pin:
    """What ``prepare`` finds a source to be."""
    return Pin(id=source, digest=f"sha256:{source * 4}", revision="c" * 40)


def artifact(key: str, store: str = STORE) -> PublishedArtifact:
    """Where a stage's artifact lies."""
    return PublishedArtifact(uri=f"{store}/artifacts/{key}", digest=digest_of(key[:16]))


def ended(code: int, message: str = "", *, reason: str = "", ran: int | None = 100) -> ContainerEnd:
    """A container's end."""
    return ContainerEnd(code, reason or ("Completed" if code == 0 else "Error"), message, ran)


def a_pod(index: int = 0, **fields: Any) -> PodView:
    """A pod that has just been made; ``fields`` of :class:`PodView` over it."""
    return PodView(**{"uid": f"pod-{index}", "name": f"pod-{index}", "index": index, "created": NOW, **fields})


def running(index: int = 0, **fields: Any) -> PodView:
    """A pod whose container runs."""
    return a_pod(index, **{"phase": "Running", "running": True, "has_container_status": True, "node": NODE, **fields})


def over(end: ContainerEnd, index: int = 0, **fields: Any) -> PodView:
    """A pod whose container has ended."""
    phase = "Succeeded" if end.exit_code == 0 else "Failed"
    return a_pod(index, **{"phase": phase, "end": end, "has_container_status": True, "node": NODE, **fields})


def success(stage: str, key: str, *, store: str = STORE, **fields: Any) -> Outcome:
    """What a stage says that has published."""
    return Outcome(status=OutcomeStatus.SUCCEEDED, stage=stage, key=key, artifact=artifact(key, store), **fields)


def failure(stage: str, key: str | None, kind: FailureClass, message: str = "", step: int | None = None) -> Outcome:
    """What a stage says that failed."""
    status = OutcomeStatus.FAILED
    return Outcome(status=status, stage=stage, key=key, failure_class=kind, message=message or kind.value, step=step)


def said(outcome: Outcome, *, ran: int | None = 100) -> ContainerEnd:
    """The end of a container that left ``outcome``."""
    code = ExitCode.DONE if outcome.failure_class is None else exit_code_of(outcome.failure_class)
    return ended(int(code), outcome.to_bytes().decode(), ran=ran)


def by_rule(failure_class: FailureClass, pod: str = "pod-0") -> tuple[str, str]:
    """A Job's Failed condition, as Kubernetes 1.34 words it."""
    index = 0 if failure_class is FailureClass.PREEMPTED else RULES.index(failure_class)
    if failure_class is FailureClass.PREEMPTED:
        return "PodFailurePolicy", f"Pod default/{pod} has condition DisruptionTarget matching FailJob rule at index 0"
    code = int(exit_code_of(failure_class))
    message = (
        f"Container stage for pod default/{pod} failed with exit code {code} matching FailJob rule at index {index}"
    )
    return "PodFailurePolicy", message


@functools.lru_cache(256)
def _planned(document: str, pins: tuple[Pin, ...], recipe: str | None) -> Plan:
    """Planning takes as long as deciding, and tests plan the same again and again."""
    return plan(parse_manifest(json.loads(document)), {pin.id: pin for pin in pins}, recipe=recipe)


@dataclass
class World:
    """One run in a cluster that does what the test says."""

    document: dict[str, Any]
    now: float = NOW
    settings: NamespaceSettings = SETTINGS
    status: RunStatus = field(default_factory=RunStatus)
    jobs: list[JobView] = field(default_factory=list)
    rivals: dict[str, tuple[Rival, ...]] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    usage: Usage = field(default_factory=Usage)
    nodes_gone: frozenset[str] = frozenset()
    pins_lost: bool = False
    store: dict[str, StageFinding] = field(default_factory=dict)
    """By stage: what ``prepare`` finds; else Missing."""
    generation: int = 1
    uid: str = UID
    created: float = NOW - 60
    deleting: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    status_problem: str | None = None
    tweak: Callable[[Plan], Plan] = lambda plan: plan
    """Changes the plan as no manifest of this release can: several nodes."""
    decisions: list[Decision] = field(default_factory=list)
    _made: int = 0

    # -- what is -----------------------------------------------------------------------------------------------------

    @property
    def run(self) -> RunView:
        meta = self.document["metadata"]
        return RunView(
            kind=self.document["kind"],
            namespace="default",
            name=meta["name"],
            uid=self.uid,
            resource_version="1",
            generation=self.generation,
            created=self.created,
            deleting=self.deleting,
            labels={},
            annotations=self.annotations,
            document=self.document,
            status=self.status,
            status_problem=self.status_problem,
        )

    @property
    def pins(self) -> dict[str, Pin]:
        return {
            source.id: Pin(id=source.id, digest=source.digest, key=source.key, revision=source.revision)
            for source in self.status.sources
            if (source.digest is None) != (source.key is None)
        }

    def observe(self) -> Observation:
        """As the loop would put it together."""
        problems: tuple[Any, ...] = ()
        found: Plan | None = None
        try:
            found = self.tweak(_planned(json.dumps(self.document), tuple(self.pins.values()), self.status.recipe))
        except ProblemsError as error:
            problems = error.problems
        return Observation(
            run=self.run,
            now=self.now,
            settings=self.settings,
            plan=found,
            pins=self.pins,
            problems=problems,
            jobs=tuple(self.jobs),
            rivals=self.rivals,
            refusals=self.refusals,
            usage=self.usage,
            pins_lost=self.pins_lost,
            nodes_gone=self.nodes_gone,
        )

    def stage(self, name: str) -> StageStatus:
        """A stage's stored state."""
        return next(stage for stage in self.status.stages if stage.name == name)

    def condition(self, name: str) -> Condition:
        """A stored condition."""
        return next(condition for condition in self.status.conditions if condition.type == name)

    def job(self, stage: str, part: Part = Part.WORK) -> JobView:
        """The newest Job of a stage."""
        return next(job for job in reversed(self.jobs) if job.stage == stage and job.part is part)

    def key(self, stage: str) -> str:
        """A stage's key, all sources pinned as ``prepare`` pins them."""
        key = self.full_plan().stage(stage).key
        assert key is not None
        return key

    def full_plan(self) -> Plan:
        """The plan with every source pinned."""
        document = json.dumps(self.document)
        pins = tuple(pin_of(source.id) for source in _planned(document, (), None).sources)
        return self.tweak(_planned(document, pins, self.status.recipe))

    # -- what happens ------------------------------------------------------------------------------------------------

    def decide(self) -> Decision:
        return decide(self.observe())

    def step(self) -> Decision:
        """Decide, store the status, do the effects."""
        decision = self.decide()
        self.decisions.append(decision)
        self.status = decision.status
        for effect in decision.effects:
            match effect:
                case StartAttempt():
                    self._create(effect)
                case DeleteJob():
                    self._delete(effect)
                case CleanUp(jobs=jobs):
                    for job in jobs:
                        self._delete(job)
        return decision

    def settle(self, rounds: int = 8) -> World:
        """Until nothing changes; fails if that takes more than ``rounds``."""
        for _ in range(rounds):
            before, jobs = self.status, list(self.jobs)
            decision = self.step()
            if self.status == before and self.jobs == jobs:
                assert not [e for e in decision.effects if isinstance(e, StartAttempt)]
                return self
        raise AssertionError(f"not settled after {rounds} rounds: {self.status}")

    def after(self, seconds: float) -> World:
        """Time goes on."""
        self.now += seconds
        return self

    def update(self, stage: str, part: Part = Part.WORK, **fields: Any) -> World:
        """The newest Job of a stage changes."""
        job = self.job(stage, part)
        self.jobs[self.jobs.index(job)] = dataclasses.replace(job, **fields)
        return self

    def runs(self, stage: str, *pods: PodView, part: Part = Part.WORK) -> World:
        """The pods of a stage's Job run."""
        return self.update(stage, part, suspended=False, pods=pods or (running(created=self.now),)).settle()

    def succeeds(self, stage: str, part: Part = Part.WORK, **fields: Any) -> World:
        """A stage's Job completes."""
        job = self.job(stage, part)
        outcome = self.report() if stage == PREPARE else success(stage, job.key or "", **fields)
        return self.update(stage, part, complete=True, pods=(over(said(outcome)),)).settle()

    def fails(self, stage: str, kind: FailureClass, message: str = "", step: int | None = None, **fields: Any) -> World:
        """A stage's Job fails, by its outcome."""
        job = self.job(stage)
        pod = over(said(failure(stage, job.key, kind, message, step)), **fields)
        return self.update(stage, failed=by_rule(kind), pods=(pod,)).settle()

    def ends(self, stage: str) -> World:
        """A Job that is deleted is gone at last."""
        self.jobs.remove(self.job(stage))
        return self.settle()

    def edit(self, **spec: Any) -> World:
        """The user changes the spec."""
        self.document = {**self.document, "spec": merged(self.document["spec"], copy.deepcopy(spec))}
        self.generation += 1
        return self

    def report(self) -> Outcome:
        """What ``prepare`` says now."""
        full = self.full_plan()
        stages = tuple(
            self.store.get(stage.name, StageFinding(name=stage.name, state=StageState.MISSING)) for stage in full.stages
        )
        pins = tuple(pin_of(source.id) for source in full.sources)
        made = PrepareReport(plan=full.digest or "", pins=pins, stages=stages)
        return Outcome(status=OutcomeStatus.SUCCEEDED, stage=PREPARE, prepare=made)

    def prepared(self) -> World:
        """``prepare`` has run."""
        return self.settle().runs(PREPARE).after(10).succeeds(PREPARE)

    def done_until(self, stage: str) -> World:
        """Every stage before ``stage`` has succeeded; it has its first Job."""
        if not any(s.name == PREPARE and s.state == "Succeeded" for s in self.status.stages):
            self.prepared()
        for planned in self.full_plan().stages:
            if planned.name == stage:
                return self
            if self.stage(planned.name).state not in {"Succeeded", "Cached"}:
                self.runs(planned.name).after(100).succeeds(planned.name)
        return self

    def _create(self, start: StartAttempt) -> None:
        name = names.attempt_name(self.run.name, self.uid, start.stage, start.key, start.attempt, start.part)
        if any(job.name == name for job in self.jobs):
            return
        self._made += 1
        planned = None if start.key is None else self.observe().plan
        stage = planned.stage(start.stage) if planned else None
        nodes = (stage.compute.nodes or 1) if stage and start.part is Part.WORK else 1
        each = stage.compute.devices_per_node if stage else 0
        devices = 0 if stage is None or start.part is Part.MERGE else nodes * (1 if each is None else each)
        self.jobs.append(
            JobView(
                uid=f"job-{self._made}",
                name=name,
                stage=start.stage,
                key=start.key,
                attempt=start.attempt,
                part=start.part,
                plan=planned.digest if planned else None,
                created=self.now,
                completions=nodes,
                devices=devices,
            )
        )

    def _delete(self, gone: DeleteJob) -> None:
        for index, job in enumerate(self.jobs):
            if job.uid == gone.uid:
                self.jobs[index] = dataclasses.replace(job, deleting=True)


def a_run(document: Mapping[str, Any] | None = None, **fields: Any) -> World:
    """A run that was just applied; ``fields`` of :class:`World` over it."""
    return World(document=dict(document or an_alignment_run()), **fields)


def metric(name: str, value: str) -> Metric:
    """A headline metric."""
    return Metric(name=name, value=value)


def win_rate(value: str) -> SuiteResult:
    """A line of an evaluation."""
    return SuiteResult(suite="Pairwise", name="winRate", candidate="policy", baseline="initial", value=value)


def several_nodes(stage: str, nodes: int) -> Callable[[Plan], Plan]:
    """A :attr:`World.tweak`: ``stage`` has several nodes, which no manifest of this release may say yet."""

    def tweak(found: Plan) -> Plan:
        compute = {"nodes": nodes}
        stages = tuple(
            dataclasses.replace(s, compute=s.compute.model_copy(update=compute)) if s.name == stage else s
            for s in found.stages
        )
        return dataclasses.replace(found, stages=stages)

    return tweak
