"""How an attempt ended: what is believed first of one pod, and whose fault it was among ranks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import pairwise

import pytest
from boresight_api.outcome import FailureClass
from boresight_operator.decide.classify import ROOT_ORDER, Expected, Verdict, published, read_outcome, verdict
from boresight_operator.objects.failure_policy import RULES
from boresight_operator.views import JobView, Part, PodView
from builders_operator import NOW, STORE, a_pod, by_rule, ended, failure, over, running, said, success

F = FailureClass
KEY = "ab" * 32
EXPECTED = Expected("policy", KEY, (STORE,))


def job(*pods: PodView, failed: tuple[str, str] | None = None, complete: bool = False) -> JobView:
    return JobView(
        uid="job",
        name="first-policy",
        stage="policy",
        key=KEY,
        attempt=1,
        part=Part.WORK,
        plan=None,
        created=NOW,
        complete=complete,
        failed=failed,
        completions=max(1, len(pods)),
        pods=pods,
    )


def outcome(kind: FailureClass, index: int = 0, step: int | None = None, **pod: object) -> PodView:
    """A pod that left an outcome."""
    return over(said(failure("policy", KEY, kind, f"{kind} of {index}", step)), index, name=f"pod-{index}", **pod)


def judged(job_: JobView) -> Verdict:
    found = verdict(job_, EXPECTED, now=NOW)
    assert found is not None
    return found


@dataclass(frozen=True)
class Case:
    name: str
    pods: tuple[PodView, ...]
    failed: tuple[str, str]
    failure: FailureClass
    reason: str
    rank: int | None = 0


BACK_OFF = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
ONE_POD = [
    Case(
        "outcome before exit code",
        (over(said(failure("policy", KEY, F.INVALID_DATA))),),
        BACK_OFF,
        F.INVALID_DATA,
        "InvalidData",
    ),
    Case("outcome before rule", (outcome(F.INVALID_DATA),), by_rule(F.ERROR), F.INVALID_DATA, "InvalidData"),
    Case("rule when the pod is gone", (), by_rule(F.DIVERGED), F.DIVERGED, "Diverged"),
    Case("rule 0 when the pod is gone", (), by_rule(F.PREEMPTED), F.PREEMPTED, "Preempted"),
    Case("exit code without outcome", (over(ended(74)),), BACK_OFF, F.HUNG, "Hung"),
    Case("exit code beside rubbish", (over(ended(65, "Traceback...")),), BACK_OFF, F.INVALID_DATA, "InvalidData"),
    Case("another exit code", (over(ended(3, "boom")),), BACK_OFF, F.ERROR, "Error"),
    Case("killed by the kernel", (over(ended(137, reason="OOMKilled")),), BACK_OFF, F.OUT_OF_MEMORY, "OOMKilled"),
    Case("killed by a signal", (over(ended(137)),), BACK_OFF, F.ERROR, "Error"),
    Case(
        "lost by the kubelet",
        (over(ended(137, "what was logged", reason="ContainerStatusUnknown")),),
        BACK_OFF,
        F.INFRASTRUCTURE,
        "NodeLost",
    ),
    Case("lost by a reboot", (over(ended(255, reason="Unknown")),), BACK_OFF, F.INFRASTRUCTURE, "NodeLost"),
    Case("255 by its own will", (over(ended(255)),), BACK_OFF, F.ERROR, "Error"),
    Case(
        "lost after it told",
        (over(dataclasses.replace(said(failure("policy", KEY, F.DIVERGED)), reason="ContainerStatusUnknown")),),
        BACK_OFF,
        F.DIVERGED,
        "Diverged",
    ),
    Case(
        "lost while somebody deleted it",
        (over(ended(137, reason="ContainerStatusUnknown"), deleting_since=NOW),),
        BACK_OFF,
        F.PREEMPTED,
        "PodDeleted",
    ),
    Case("evicted", (over(ended(137), disruption="evicted"),), by_rule(F.PREEMPTED), F.PREEMPTED, "DisruptionTarget"),
    Case(
        "evicted, exit 76",
        (outcome(F.PREEMPTED, disruption="x"),),
        by_rule(F.PREEMPTED),
        F.PREEMPTED,
        "DisruptionTarget",
    ),
    Case(
        "evicted while it broke", (outcome(F.ERROR, disruption="x"),), by_rule(F.ERROR), F.PREEMPTED, "DisruptionTarget"
    ),
    Case(
        "evicted after bad data",
        (outcome(F.INVALID_DATA, disruption="x"),),
        by_rule(F.INVALID_DATA),
        F.INVALID_DATA,
        "InvalidData",
    ),
    Case("stopped by SIGTERM", (outcome(F.PREEMPTED, step=7),), by_rule(F.PREEMPTED), F.PREEMPTED, "Preempted"),
    Case("pod deleted by hand", (over(ended(143), deleting_since=NOW),), BACK_OFF, F.PREEMPTED, "PodDeleted"),
    Case(
        "node lost", (PodView("u", "pod-0", 0, NOW, node="n", phase="Failed"),), BACK_OFF, F.INFRASTRUCTURE, "PodLost"
    ),
    Case("nothing is left", (), BACK_OFF, F.PREEMPTED, "PodsGone", None),
    Case("peer lost alone", (outcome(F.PEER_LOST),), by_rule(F.PEER_LOST), F.INFRASTRUCTURE, "PeerLost"),
]


@pytest.mark.parametrize("case", ONE_POD, ids=lambda case: case.name)
def test_of_one_pod(case: Case) -> None:
    found = judged(job(*case.pods, failed=case.failed))
    assert (found.failure, found.reason, found.rank) == (case.failure, case.reason, case.rank)
    assert not found.succeeded


@pytest.mark.parametrize("kind", FailureClass)
def test_every_rule_of_the_job_reads_back_as_its_class(kind: FailureClass) -> None:
    found = judged(job(failed=by_rule(kind)))
    assert found.failure is (F.INFRASTRUCTURE if kind is F.PEER_LOST else kind)
    assert kind in RULES


CLASSES = [kind for kind in FailureClass if kind not in {F.PEER_LOST, F.PREEMPTED}]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_rank_at_fault_is_found_among_those_that_lost_it(kind: FailureClass) -> None:
    pods = (outcome(F.PEER_LOST, 0), outcome(F.PEER_LOST, 1), outcome(kind, 2), outcome(F.PEER_LOST, 3))
    found = judged(job(*pods, failed=by_rule(F.PEER_LOST, "pod-0")))
    assert (found.failure, found.rank, found.message) == (kind, 2, f"{kind} of 2")


def test_among_ranks_the_first_class_of_the_order_is_the_cause() -> None:
    told = [F(name) for name in ROOT_ORDER if name in {member.value for member in FailureClass}]
    for number, (first, second) in enumerate(pairwise(told)):
        found = judged(job(outcome(second, 0), outcome(first, 1), failed=by_rule(second)))
        assert found.failure is first, number


def test_the_order_is_that_of_the_design() -> None:
    known = {"InvalidConfig", "InvalidData", "Diverged", "OutOfMemory", "Preempted", "Infrastructure", "Hung"}
    asked = [name for name in ROOT_ORDER if name in {*known, "Error", "PeerLost"}]
    design = "InvalidConfig InvalidData Diverged OutOfMemory Preempted Infrastructure Hung Error PeerLost"
    assert " ".join(asked) == design


def test_ranks_that_the_job_controller_ended_are_no_preemption() -> None:
    stopped = [outcome(F.PREEMPTED, index, deleting_since=NOW) for index in range(3)]
    found = judged(job(*stopped, outcome(F.ERROR, 3), failed=by_rule(F.ERROR, "pod-3")))
    assert (found.failure, found.rank) == (F.ERROR, 3)
    lost = judged(job(*stopped, failed=by_rule(F.PEER_LOST, "pod-9")))
    assert lost.failure is F.INFRASTRUCTURE


def test_a_failed_job_is_judged_when_every_rank_has_been_heard() -> None:
    still = running(1, deleting_since=NOW + 60)
    assert verdict(job(outcome(F.PEER_LOST), still, failed=by_rule(F.PEER_LOST)), EXPECTED, now=NOW) is None
    assert verdict(job(outcome(F.PEER_LOST), still, failed=by_rule(F.PEER_LOST)), EXPECTED, now=NOW + 100) is not None


def test_a_job_that_goes_on_has_no_verdict() -> None:
    assert verdict(job(running()), EXPECTED, now=NOW) is None


# -- success ---------------------------------------------------------------------------------------------------------


def test_success_needs_the_job_complete_and_rank_zeros_outcome() -> None:
    done = over(said(success("policy", KEY, step=9)))
    assert judged(job(done, complete=True)).succeeded
    assert verdict(job(done), EXPECTED, now=NOW) is None
    other = over(said(success("policy", KEY)), 1)
    assert judged(job(over(ended(0)), other, complete=True)).failure is F.ERROR


REJECTED = {
    "rubbish": ("x" * 4096, "no outcome"),
    "nothing": ("", "left no outcome"),
    "another key": (said(success("policy", "cd" * 32)).message, "claims policy cdcdcdcdcdcdcdcd"),
    "another stage": (said(success("synthesis", KEY)).message, "claims synthesis"),
    "another store": (said(success("policy", KEY, store="s3://evil/x")).message, "expected below s3://bucket/team"),
    "deep nesting": ("[" * 4000, "no outcome"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_an_outcome_that_is_not_believed_is_an_error_that_says_why(name: str) -> None:
    message, why = REJECTED[name]
    found = judged(job(over(ended(0, message)), complete=True))
    assert found.failure is F.ERROR
    assert why in found.message
    assert len(found.message) < 1200


@pytest.mark.parametrize(
    ("pods", "shards", "reason"),
    [
        ((running(),), False, None),
        ((a_pod(),), False, None),
        ((running(deleting_since=NOW),), False, None),
        ((over(said(success("policy", KEY))), running(1)), False, "Succeeded"),
        ((a_pod(phase="Succeeded"),), False, "OutcomeLost"),
        ((), False, "OutcomeLost"),
        ((running(),), True, "ShardsDone"),
    ],
)
def test_a_complete_job_waits_until_its_pods_end_is_seen(
    pods: tuple[PodView, ...], shards: bool, reason: str | None
) -> None:
    """Two watches, and two lists after an outage, are not in step: the Job's news may come before its pod's."""
    found = verdict(job(*pods, complete=True), EXPECTED, shards=shards, now=NOW)
    assert (found.reason if found is not None else None) == reason


@pytest.mark.parametrize(
    ("ago", "lost"), [(0, False), (29, False), (31, True), (-20, False), (-3600, True)], ids=lambda value: str(value)
)
def test_the_pod_of_a_complete_job_that_was_not_seen_at_all_is_waited_for(ago: int, lost: bool) -> None:
    """In a busy cluster the pod's watch may be behind its Job's by seconds. A clock that is off costs no more."""
    unseen = dataclasses.replace(job(complete=True), completed=NOW - ago)
    found = verdict(unseen, EXPECTED, now=NOW)
    assert (found is not None and found.lost) == lost
    heard = dataclasses.replace(unseen, pods=(over(said(success("policy", KEY))),))
    assert judged(heard).succeeded


def test_a_complete_job_whose_pod_is_gone_is_lost_not_failed() -> None:
    found = judged(job(complete=True))
    assert found.lost
    assert not found.succeeded
    assert found.failure is None


@pytest.mark.parametrize("place", ["file:///data/store", "file:///data/a%20b"])
def test_a_folder_may_have_another_name_inside_the_pod(place: str) -> None:
    uri = success("policy", KEY, store="file:///private/data/store")
    outcome_, fault = read_outcome(said(uri).message, Expected("policy", KEY, (place,)))
    assert outcome_ is not None, fault


def test_an_artifact_of_a_store_that_the_run_reads_from_is_taken() -> None:
    shared = Expected("policy", KEY, (STORE, "s3://shared/all/"))
    outcome_, fault = read_outcome(said(success("policy", KEY, store="s3://shared/all")).message, shared)
    assert outcome_ is not None, fault


def test_a_stopped_attempt_that_published_all_the_same_is_seen() -> None:
    done = over(said(success("policy", KEY)))
    assert published(job(done), EXPECTED) is not None
    assert published(job(running()), EXPECTED) is None
    assert published(job(outcome(F.PREEMPTED)), EXPECTED) is None
