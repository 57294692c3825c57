"""From a run's object to its record, and from a record to what a terminal shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from boresight.cluster.record import manifest_of, record_of
from boresight.errors import UserError
from boresight.records import RunRecord, State
from boresight.source import LogWanted, chosen_attempt, chosen_stage, rank_at_fault
from boresight.status_lines import status_lines
from boresight.text import parse_duration
from boresight.watching import Goal, Verdict, ends, parse_goal
from boresight_api.status import RunStatus
from builders_manifests import an_alignment_run

KEY = "ab" * 32
NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC).timestamp()


def a_condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    time = "2026-11-29T11:00:00Z"
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time}


def a_run(stages: list[dict[str, Any]] | None = None, *conditions: dict[str, Any], **status: Any) -> dict[str, Any]:
    """An object as the API server has it. Its status is one that the contract takes."""
    document = {**status, "stages": stages or [], "conditions": list(conditions)}
    RunStatus.model_validate(document)
    run = an_alignment_run(storage={"uri": "s3://alignment/team"})
    run["metadata"] |= {"namespace": "team", "uid": "u-1", "creationTimestamp": "2026-11-29T10:00:00Z"}
    run["metadata"] |= {"managedFields": [], "resourceVersion": "7"}
    return {**run, "status": document}


def recorded(*args: Any, **status: Any) -> RunRecord:
    return record_of(a_run(*args, **status), NOW)


RUNNING = {
    "name": "policy",
    "key": KEY,
    "state": "Running",
    "attempt": 2,
    "runningSince": "2026-11-29T11:50:00Z",
    "runningSeconds": 300,
    "queuedSeconds": 40,
    "deviceSeconds": 7200,
    "history": [
        {
            "attempt": 1,
            "failureClass": "Preempted",
            "reason": "Preempted",
            "message": "drained",
            "rank": 1,
            "node": "node-1",
            "stepsGained": 250,
            "startTime": "2026-11-29T11:00:00Z",
            "endTime": "2026-11-29T11:05:00Z",
        }
    ],
}


def test_a_stage_at_work_has_worked_until_now() -> None:
    progress = [{"name": "policy", "attempt": 2, "podUID": "p", "phase": "train", "step": 310, "totalSteps": 500}]
    progress[0]["updatedTime"] = "2026-11-29T11:59:50Z"
    run = recorded(
        [RUNNING],
        a_condition("Succeeded", "Unknown", "Running", "policy (attempt 2)"),
        progress=progress,
        stage="policy",
        remainingSeconds=840,
        deviceSeconds=7200,
    )
    (stage,) = run.stages
    assert (run.state, run.status, stage.seconds, stage.attempt_count) == (State.RUNNING, "Running", 900.0, 2)
    assert stage.progress is not None
    assert status_lines(run) == [
        "AlignmentRun team/first: Running (policy), 2.0 device-hours used",
        "STAGE        STATE      KEY           QUEUED  TIME         ATTEMPTS  METRICS",
        "policy       Running    abababababab  40 s    15 min 00 s         2  train 310/500, 14 min 00 s left",
        "└ attempt 1  Preempted                        5 min 00 s             on node-1, rank 1, 250 steps kept",
        "policy: attempt 1: Preempted: drained",
    ]
    assert rank_at_fault(stage, 1) == "1"
    assert rank_at_fault(stage, 2) == "0"


def test_progress_of_an_attempt_that_is_over_is_not_shown() -> None:
    old = [{"name": "policy", "attempt": 1, "podUID": "p", "step": 1, "totalSteps": 5}]
    old[0]["updatedTime"] = "2026-11-29T11:00:00Z"
    assert recorded([RUNNING], progress=old).stages[0].progress is None


@pytest.mark.parametrize(
    ("conditions", "state", "over"),
    [
        ([], State.PENDING, False),
        ([a_condition("Succeeded", "True", "Succeeded")], State.SUCCEEDED, True),
        ([a_condition("Succeeded", "False", "Diverged")], State.FAILED, True),
        ([a_condition("Suspended", "True", "Suspended")], State.SUSPENDED, False),
        ([a_condition("Succeeded", "Unknown", "StoppedAfter")], State.HELD, True),
        ([a_condition("Succeeded", "Unknown", "QuotaPending")], State.PENDING, False),
        ([a_condition("Stalled", "True", "InvalidSpec", "spec.x: found nothing")], State.PENDING, True),
    ],
)
def test_the_whole_is_what_its_conditions_say(conditions: list[Any], state: State, over: bool) -> None:
    run = recorded([], *conditions)
    assert run.state is state
    assert ends(run) is over


@pytest.mark.parametrize(
    ("metadata", "status", "unseen"),
    [
        ({"generation": 1}, {"observedGeneration": -1}, True),
        ({"generation": 2}, {"observedGeneration": 1}, True),
        ({"generation": 2}, {"observedGeneration": 2}, False),
        ({"annotations": {"boresight.dev/retry": "b"}}, {"retry": "a"}, True),
        ({"annotations": {"boresight.dev/retry": "b"}}, {"retry": "b"}, False),
        ({"annotations": {"boresight.dev/retry": "b" * 257}}, {"retry": "a digest"}, False),
    ],
)
def test_what_a_status_says_of_before_the_newest_edit_ends_nothing(
    metadata: dict[str, Any], status: dict[str, Any], unseen: bool
) -> None:
    done = {"name": "policy", "key": KEY, "state": "Succeeded", "attempt": 1}
    run = a_run([done], a_condition("Succeeded", "True", "Succeeded"), **status)
    run["metadata"] |= metadata
    record = record_of(run, NOW)
    assert record.unseen is unseen
    assert ends(record) is not unseen
    for goal in ("Succeeded", "stage=policy"):
        assert Goal(goal).verdict(record) is (Verdict.POSSIBLE if unseen else Verdict.REACHED)
    assert ("no operator has acted on the newest change" in "\n".join(status_lines(record))) is unseen


def test_a_stage_that_waits_says_why_and_one_that_works_does_not() -> None:
    waits = {"name": "policy", "state": "Waiting", "reason": "Unschedulable", "message": "0/2 nodes\x1b[2J"}
    done = {"name": "prepare", "state": "Succeeded", "reason": "Succeeded", "attempt": 1}
    lines = status_lines(recorded([done, waits]))
    assert lines[-1] == "policy: Unschedulable: 0/2 nodes\ufffd[2J"
    assert not any(line.startswith("prepare: ") for line in lines)


def test_a_stall_that_no_stage_tells_of_is_told() -> None:
    problem = a_condition("Stalled", "True", "NotAllowed", "spec.storage.uri: found s3://other")
    assert status_lines(recorded([], problem))[-1] == "stalled: spec.storage.uri: found s3://other"
    failed = {"name": "policy", "state": "Failed", "reason": "Diverged", "message": "step 3: nan", "attempt": 1}
    command = "kubectl boresight logs first -n team --stage policy --attempt 1"
    stalled = a_condition("Stalled", "True", "Diverged", f"policy: step 3: nan\n{command}")
    lines = status_lines(recorded([failed], stalled))
    assert lines[-2:] == ["policy: Diverged: step 3: nan", command]


def test_a_state_of_a_newer_operator_is_unknown_and_no_error() -> None:
    run = a_run([{"name": "policy", "state": "Running"}])
    run["status"]["stages"][0]["state"] = "Dreaming"
    assert record_of(run, NOW).stages[0].state is State.UNKNOWN


def test_the_store_is_that_of_its_artifacts_else_that_of_its_spec() -> None:
    artifact = {"uri": f"s3://settings/ns/artifacts/{KEY}", "digest": f"sha256:{KEY}"}
    made = {"name": "policy", "key": KEY, "state": "Succeeded", "artifact": artifact}
    assert recorded([made]).store == "s3://settings/ns"
    assert recorded().store == "s3://alignment/team"


def test_the_manifest_is_what_a_user_would_write() -> None:
    run = a_run()
    run["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "x"}
    assert manifest_of(run)["metadata"] == {"name": "first", "namespace": "team", "annotations": {"mine": "x"}}
    assert json.dumps(manifest_of(run)).count("managedFields") == 0


# -- goals, attempts, times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "stages", "verdict"),
    [
        ("Prepared", {"prepare": "Running"}, Verdict.POSSIBLE),
        ("Prepared", {"prepare": "Succeeded", "policy": "Running"}, Verdict.REACHED),
        ("stage=policy", {"prepare": "Succeeded", "policy": "Running"}, Verdict.POSSIBLE),
        ("stage=policy", {"prepare": "Succeeded", "policy": "Cached"}, Verdict.REACHED),
        ("stage=policy", {"prepare": "Failed", "policy": "Pending"}, Verdict.IMPOSSIBLE),
        ("Succeeded", {"prepare": "Succeeded", "policy": "Failed"}, Verdict.IMPOSSIBLE),
        ("Succeeded", {}, Verdict.POSSIBLE),
    ],
)
def test_goals(goal: str, stages: dict[str, str], verdict: Verdict) -> None:
    run = recorded([{"name": name, "state": state, "key": KEY} for name, state in stages.items()])
    assert parse_goal(goal).verdict(run) is verdict


def test_a_stage_that_the_plan_does_not_have_is_told_once_there_is_a_plan() -> None:
    goal = Goal("stage=polcy")
    assert goal.verdict(recorded([{"name": "prepare", "state": "Running"}])) is Verdict.POSSIBLE
    with pytest.raises(UserError, match="has no stage polcy; it has policy"):
        goal.verdict(recorded([{"name": "policy", "state": "Pending", "key": KEY}]))
    with pytest.raises(UserError, match="expected Succeeded, Prepared or stage=NAME"):
        parse_goal("Ready")


def test_the_stage_and_attempt_that_a_log_is_of() -> None:
    run = recorded([{"name": "prepare", "state": "Succeeded", "attempt": 1}, RUNNING])
    assert chosen_stage(run, None).name == "policy"
    assert chosen_attempt(run, chosen_stage(run, None), LogWanted()) == 2
    assert chosen_attempt(run, chosen_stage(run, None), LogWanted(previous=True)) == 1
    done = recorded([{"name": "prepare", "state": "Succeeded", "attempt": 1}])
    assert chosen_stage(done, None).name == "prepare"
    with pytest.raises(UserError, match=r"has no attempt 0 \(attempts: 1\)"):
        chosen_attempt(done, chosen_stage(done, None), LogWanted(previous=True))
    with pytest.raises(UserError, match="no stage has begun"):
        chosen_stage(recorded(), None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5s", 1.5), ("10m", 600), ("1h30m", 5400), ("", None), ("soon", None), ("5d", None)],
)
def test_times(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds
