"""``decide`` answers every observation, however odd: what it says fits the API, and it does not change its mind."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from boresight_api.outcome import FailureClass, PublishedArtifact
from boresight_api.plan import Plan
from boresight_api.status import (
    AttemptStatus,
    Condition,
    ConditionStatus,
    RunStatus,
    SourceStatus,
    StageStateName,
    StageStatus,
)
from boresight_operator.decide import decide
from boresight_operator.decide.events import REASONS
from boresight_operator.decision import Decision, StartAttempt
from boresight_operator.settings import Limits, NamespaceSettings
from boresight_operator.views import (
    Claim,
    ContainerEnd,
    JobView,
    Observation,
    Part,
    PodView,
    Refusal,
    Rival,
    Usage,
)
from builders_manifests import an_alignment_run, an_eval_run, planned
from builders_operator import NOW, SETTINGS, STORE, a_run, artifact, failure, said, success
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DOCUMENT = an_alignment_run()
PLAN = planned(DOCUMENT)
KEYS = [stage.key or "" for stage in PLAN.stages]
NAMES = ["prepare", *(stage.name for stage in PLAN.stages), "warm-start"]
_REASONS = (
    "BackOff SameKeyRunning QuotaPending NameConflict PodsForbidden DeadlineExceeded Merging Starting Running "
    "MissingInput ImagePull SecretMissing StoppedAfter PreviousAttemptEnding NodeLost NotStarted ObjectInvalid "
    "MountFailed Unschedulable NamespaceLimit"
)
REASON = st.sampled_from([None, *_REASONS.split()])
_TIMES = (
    "2027-01-15T08:00:00Z 2027-01-15T07:00:00Z 1970-01-01T00:00:00Z 9999-99-99T99:99:99Z 2027-01-15T08:00:00.5Z "
    "9999-12-31T23:59:59.999999999Z"
)
TIME = st.sampled_from([None, *_TIMES.split()])
NUMBER = st.one_of(st.none(), st.integers(0, 3), st.just(99_999))
COUNT = st.one_of(st.none(), st.integers(0, 8), st.just(2**31 - 1))
MOMENT = st.one_of(st.floats(), st.sampled_from([NOW, NOW - 10, NOW - 1000, NOW + 1000]))
TEXT = st.text(max_size=40)


def a_key() -> st.SearchStrategy[str | None]:
    return st.sampled_from([None, *KEYS, "f" * 64])


@st.composite
def attempts(draw: st.DrawFn) -> AttemptStatus:
    return AttemptStatus(
        attempt=draw(st.integers(0, 5) | st.just(99_999)),
        failure_class=draw(st.sampled_from([None, *FailureClass])),
        reason=draw(REASON),
        node=draw(st.sampled_from([None, "node-a", "node-b"])),
        start_time=draw(TIME),
        end_time=draw(TIME),
    )


@st.composite
def stages(draw: st.DrawFn, name: str) -> StageStatus:
    own = KEYS[NAMES.index(name) - 1] if 0 < NAMES.index(name) <= len(KEYS) else None
    key = draw(st.sampled_from([own, own, own, None, "f" * 64]))
    return StageStatus(
        name=name,
        key=key,
        state=draw(st.sampled_from(StageStateName)),
        reason=draw(REASON),
        since=draw(TIME),
        attempt=draw(NUMBER),
        job_uid=draw(st.sampled_from([None, "job-1", "job-2", "nobody"])),
        resumed_from_step=draw(NUMBER),
        preemptions=draw(COUNT),
        infrastructure_retries=draw(COUNT),
        error_retries=draw(COUNT),
        out_of_memory_retries=draw(COUNT),
        missing_input_retries=draw(COUNT),
        device_seconds=draw(COUNT),
        queued_seconds=draw(COUNT),
        running_since=draw(TIME),
        running_seconds=draw(COUNT),
        start_time=draw(TIME),
        artifact=draw(st.sampled_from([None, artifact(key)])) if key else None,
        history=tuple(draw(st.lists(attempts(), max_size=4))),
    )


@st.composite
def statuses(draw: st.DrawFn) -> RunStatus:
    names = draw(st.sampled_from([[], NAMES, NAMES[:-1], NAMES[:1], NAMES[1:3], ["prepare", "evaluation", "policy"]]))
    conditions = [
        Condition(type=name, status=draw(st.sampled_from(ConditionStatus)), reason="Any", last_transition_time=time)
        for name in ("Accepted", "Succeeded", "ProgressAvailable")
        if (time := draw(TIME)) is not None
    ]
    pinned = [
        SourceStatus(id=source.id, name=source.name, uri=source.uri, digest=f"sha256:{source.id * 4}")
        for source in PLAN.sources
    ]
    return RunStatus(
        plan=draw(a_key()) if draw(st.booleans()) else PLAN.digest,
        prepared=draw(a_key()),
        store=draw(a_key()),
        recipe=draw(st.sampled_from([None, "1"])),
        retry=draw(st.sampled_from([None, "1"])),
        sources=tuple(draw(st.sampled_from([[], pinned]))),
        stages=tuple(draw(stages(name)) for name in names),
        conditions=tuple(conditions),
        device_seconds=draw(COUNT),
        queued_seconds=draw(COUNT),
    )


def messages(stage: str, key: str | None) -> st.SearchStrategy[str]:
    told = [failure(stage, key, kind, "it broke", 7) for kind in FailureClass]
    good = [success(stage, key, step=9)] if key else []
    known = [said(outcome).message for outcome in (*told, *good)]
    return st.one_of(TEXT, st.sampled_from([*known, "", "{}", "[]", "null", '{"prepare": 1}', "[" * 900]))


@st.composite
def pods(draw: st.DrawFn, stage: str, key: str | None) -> PodView:
    end = st.builds(
        ContainerEnd,
        exit_code=st.integers(-1, 255),
        reason=st.sampled_from(["Completed", "Error", "OOMKilled", "ContainerStatusUnknown", ""]),
        message=messages(stage, key),
        ran_seconds=st.none() | st.integers(-5, 10_000),
    )
    return PodView(
        uid=draw(st.sampled_from("abc")),
        name=draw(st.sampled_from(["", "pod-0", "pod-1"])),
        index=draw(st.integers(-1, 70_000) | st.integers(0, 2)),
        created=draw(MOMENT),
        node=draw(st.sampled_from([None, "node-a", "n" * 400])),
        phase=draw(st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown", ""])),
        deleting_since=draw(st.none() | MOMENT),
        disruption=draw(st.none() | TEXT),
        unschedulable=draw(st.none() | TEXT),
        waiting_reason=draw(
            st.sampled_from([None, "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "?"])
        ),
        waiting_message=draw(TEXT | st.just('secret "s" not found')),
        has_container_status=draw(st.booleans()),
        running=draw(st.booleans()),
        end=draw(st.none() | end),
    )


@st.composite
def jobs(draw: st.DrawFn) -> JobView:
    stage = draw(st.sampled_from(NAMES))
    own = KEYS[NAMES.index(stage) - 1] if 0 < NAMES.index(stage) <= len(KEYS) else None
    key = draw(st.sampled_from([own, own, None, "f" * 64]))
    failed = st.tuples(
        st.sampled_from(["PodFailurePolicy", "BackoffLimitExceeded", ""]),
        st.sampled_from([f"pod-0 matching FailJob rule at index {n}" for n in (0, 3, 9999)] + ["gone"]) | TEXT,
    )
    return JobView(
        uid=draw(st.sampled_from(["job-1", "job-2", "job-3"])),
        name=draw(st.sampled_from(["a", "b"])),
        stage=stage,
        key=key,
        attempt=draw(st.integers(0, 3) | st.sampled_from([99_999, 999_999_999])),
        part=draw(st.sampled_from(Part)),
        plan=draw(a_key()),
        created=draw(MOMENT),
        deleting=draw(st.booleans()),
        suspended=draw(st.booleans()),
        complete=draw(st.booleans()),
        completed=draw(st.none() | MOMENT),
        failed=draw(st.none() | failed),
        completions=draw(st.integers(-1, 3)),
        devices=draw(st.integers(-1, 2**40) | st.integers(0, 2)),
        pods=tuple(draw(st.lists(pods(stage, key), max_size=3))),
        events=draw(st.none() | st.lists(TEXT | st.just("FailedMount: no"), max_size=2).map(tuple)),
    )


DOCUMENTS: st.SearchStrategy[Any] = st.sampled_from(
    [
        DOCUMENT,
        an_alignment_run(suspend=True),
        an_alignment_run(stopAfter="Synthesis"),
        an_alignment_run(timeouts={"stageSeconds": 1, "startSeconds": 1}, retry={"infrastructure": 0, "error": 0}),
        an_alignment_run(storage={"uri": "s3://other/place", "readFrom": [{"uri": "s3://more"}]}),
        an_eval_run(),
        {"kind": "AlignmentRun", "metadata": {"name": "first"}},
        {"spec": []},
        {
            "spec": {
                "suspend": "yes",
                "retry": 3,
                "timeouts": {"stageSeconds": "1"},
                "storage": {"uri": 7, "readFrom": 1},
            }
        },
        {"spec": {"storage": {"uri": "s3://\udcff", "readFrom": [{}, 3]}, "method": {"feedback": []}}},
    ]
)
PLANS: st.SearchStrategy[Plan | None] = st.sampled_from([PLAN, PLAN, a_run().observe().plan, None])
RIVAL = st.builds(
    Rival,
    kind=st.just("AlignmentRun"),
    name=TEXT,
    uid=TEXT,
    created=MOMENT,
    claim=st.sampled_from(Claim),
    artifact=st.sampled_from([None, PublishedArtifact(uri=f"{STORE}/artifacts/x", digest="sha256:" + "0" * 64)]),
)
REFUSAL = st.builds(
    Refusal,
    name=TEXT,
    kind=st.sampled_from(["Job", "NetworkPolicy"]),
    reason=st.sampled_from(["Forbidden", "Invalid", "NameConflict", "NamespaceTerminating", "?"]),
    message=TEXT,
    since=MOMENT,
)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    base = a_run().observe()
    run = dataclasses.replace(
        base.run,
        kind=draw(st.sampled_from(["AlignmentRun", "EvalRun", "?"])),
        uid=draw(st.sampled_from([base.run.uid, ""])),
        generation=draw(st.integers(-1, 3)),
        created=draw(MOMENT),
        deleting=draw(st.sampled_from([False] * 9 + [True])),
        annotations=draw(st.sampled_from([{}, {"boresight.dev/retry": "1"}, {"boresight.dev/retry": "\udcff" * 300}])),
        document=draw(DOCUMENTS),
        status=draw(statuses()),
        status_problem=draw(st.sampled_from([None] * 9 + ["status.x"])),
    )
    limits = Limits(max_runs=draw(NUMBER), max_devices=draw(NUMBER), max_infrastructure_retries=draw(NUMBER))
    return Observation(
        run=run,
        now=draw(MOMENT),
        settings=draw(st.sampled_from([SETTINGS, NamespaceSettings(), SETTINGS.model_copy(update={"limits": limits})])),
        plan=draw(PLANS),
        pins={},
        jobs=tuple(draw(st.lists(jobs(), max_size=4))),
        rivals={
            key: tuple(draw(st.lists(RIVAL, max_size=2))) for key in draw(st.lists(st.sampled_from(KEYS), max_size=2))
        },
        refusals=tuple(draw(st.lists(REFUSAL, max_size=2))),
        usage=Usage(draw(st.integers(0, 3)), draw(st.integers(0, 3))),
        pins_lost=draw(st.booleans()),
        nodes_gone=draw(st.sampled_from([frozenset(), frozenset({"node-a"})])),
    )


def again(observation: Observation, decision: Decision) -> Decision:
    """``decide`` on what it stored itself, with nothing else changed."""
    return decide(dataclasses.replace(observation, run=dataclasses.replace(observation.run, status=decision.status)))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(observations())
def test_any_observation_gets_a_decision_that_the_api_takes(observation: Observation) -> None:
    decision = decide(observation)
    document = decision.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert RunStatus.model_validate(document) == decision.status
    assert decision.requeue_after is None or 0 < decision.requeue_after < float("inf")
    assert {event.reason for event in decision.events} <= REASONS
    assert decide(observation) == decision


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(observations())
def test_what_is_decided_is_where_it_stays(observation: Observation) -> None:
    """Within a few rounds: a report of ``prepare`` is taken in one and acted on in the next."""
    decision = decide(observation)
    for _ in range(6):
        following = again(observation, decision)
        if following.status == decision.status:
            assert following.effects == again(observation, following).effects
            return
        decision = following
    pytest.fail("the status never settles")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(observations())
def test_an_attempt_is_started_only_under_the_name_that_the_status_gives_it(observation: Observation) -> None:
    decision = decide(observation)
    stages_ = {stage.name: stage for stage in decision.status.stages}
    for effect in decision.effects:
        if isinstance(effect, StartAttempt):
            stage = stages_[effect.stage]
            assert (stage.attempt, stage.job_uid) == (effect.attempt, None)
            assert effect.key == (None if effect.stage == "prepare" else stage.key)
