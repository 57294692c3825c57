"""Looking, and cleaning up: what is asked of the API server, and what comes back as a fact."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest
from boresight_operator.api import CONFIG_MAPS, EVENTS, JOBS, NETWORK_POLICIES, NODES, Answer
from boresight_operator.client import Client
from boresight_operator.decision import CleanUp, DeleteJob, LookAtEvents, LookAtNode, SavePlan, StartAttempt
from boresight_operator.effects import MAX_EVENTS, Effects
from boresight_operator.errors import Conflict
from boresight_operator.memory import NODE_SECONDS, Memory, RunFacts
from boresight_operator.views import JobView, Observation, Part, PodView
from builders_loop import NAMESPACE, Cluster, failure
from builders_operator import NOW, UID, a_run
from virtual_time import run


class Hands:
    """Effects on a small cluster, for one run."""

    def __init__(self) -> None:
        self.cluster, self.memory = Cluster(), Memory()
        self.gone: set[str] = set()
        self.client = Client(
            self.cluster,
            Random(1),
            guard=lambda: None,
            metric=lambda *_: None,
            in_flight=4,  # type: ignore[arg-type]
        )
        self.effects = Effects(
            self.client, self.memory, lambda resource, obj, uid: None, lambda uid: uid not in self.gone
        )
        self.observation: Observation = a_run().prepared().observe()

    @property
    def owner(self) -> dict[str, Any]:
        return {"uid": UID, "controller": True}

    def play(self, story: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async def with_clock() -> Any:
            await self.client.list(JOBS, NAMESPACE)  # the server's time is known from its first answer
            return await story()

        return run(with_clock())

    def writes(self) -> list[tuple[str, str]]:
        return [(method, path.split("/")[-1]) for method, path in self.cluster.requests if method != "GET"]


def test_warnings_about_a_job_and_its_pods_come_back_newest_first() -> None:
    hands = Hands()
    pod = PodView("pod-uid", "p", 0, NOW)
    job = JobView("job-uid", "j", "policy", None, 1, Part.WORK, None, NOW, pods=(pod,))
    hands.observation = dataclasses.replace(hands.observation, jobs=(job,))
    for number in range(MAX_EVENTS + 5):
        time = f"2027-01-15T08:00:{number:02d}Z"
        event = {"reason": "FailedCreate", "message": f"quota {number}\x00", "lastTimestamp": time}
        hands.cluster.put(EVENTS.plural, {"metadata": {"name": f"e{number}"}, **event})
    assert hands.play(lambda: hands.effects.perform(hands.observation, [LookAtEvents("job-uid")]))
    facts = hands.memory.of(UID)
    found = facts.events_of(job)
    assert found is not None
    assert found[0] == f"FailedCreate: quota {MAX_EVENTS + 4}"
    assert len(found) == MAX_EVENTS
    asked = [path for method, path in hands.cluster.requests if path.endswith("/events")]
    assert len(asked) == 2, "the Job's, and its pod's"
    another = dataclasses.replace(job, pods=(dataclasses.replace(pod, uid="another"),))
    assert facts.events_of(another) is None, "they say nothing of a pod that came later"


def test_a_node_that_is_gone_is_believed_for_a_while() -> None:
    hands = Hands()
    now: list[float] = []

    async def story() -> bool:
        now.append(hands.client.server_now())
        return await hands.effects.perform(hands.observation, [LookAtNode("node-1")])

    assert hands.play(story)
    assert hands.memory.nodes_gone(now[0]) == {"node-1"}
    assert hands.memory.nodes_gone(now[0] + NODE_SECONDS + 1) == frozenset()


def test_a_node_that_exists_or_may_not_be_looked_at_is_no_news() -> None:
    hands = Hands()
    hands.cluster.put(NODES.plural, {"metadata": {"name": "node-1"}})
    assert not hands.play(lambda: hands.effects.perform(hands.observation, [LookAtNode("node-1")]))
    hands.cluster.intercept = lambda method, path: failure(403, "Forbidden", "nodes") if "/nodes/" in path else None
    assert not hands.play(lambda: hands.effects.perform(hands.observation, [LookAtNode("node-2")]))


def test_clean_up_deletes_config_maps_of_its_stages_and_then_the_jobs() -> None:
    hands = Hands()
    labels = {"app.kubernetes.io/managed-by": "boresight-operator", "boresight.dev/run-uid": UID}

    def config_map(name: str, stage: str | None, owner: dict[str, Any]) -> None:
        staged = {"boresight.dev/stage": stage} if stage else {}
        metadata = {"name": name, "labels": {**labels, **staged}, "ownerReferences": [owner]}
        hands.cluster.put(CONFIG_MAPS.plural, {"metadata": metadata})

    config_map("a", "policy", hands.owner)
    config_map("b", "policy", hands.owner)
    config_map("another-stage", "evaluation", hands.owner)
    config_map("a-plan", None, hands.owner)
    config_map("foreign", "policy", {"uid": "another", "controller": True})
    job = hands.cluster.put(JOBS.plural, {"metadata": {"name": "job"}})
    effect = CleanUp((DeleteJob("job", job["metadata"]["uid"]),), ("policy",))
    assert hands.play(lambda: hands.effects.perform(hands.observation, [effect]))
    assert hands.writes() == [("DELETE", "a"), ("DELETE", "b"), ("DELETE", "job")]


def test_a_job_is_deleted_once() -> None:
    hands = Hands()
    job = hands.cluster.put(JOBS.plural, {"metadata": {"name": "job"}})
    effect = DeleteJob("job", job["metadata"]["uid"])
    assert hands.play(lambda: hands.effects.perform(hands.observation, [effect]))
    assert not hands.play(lambda: hands.effects.perform(hands.observation, [effect]))
    assert hands.writes() == [("DELETE", "job")]


def test_the_plan_is_saved_before_the_first_attempt_that_needs_it_and_found_by_the_next_process() -> None:
    hands = Hands()
    assert hands.observation.plan is not None
    stage = hands.observation.plan.stages[0]
    start = StartAttempt(stage.name, stage.key, 1)
    hands.play(lambda: hands.effects.perform(hands.observation, [start]))
    made = hands.writes()
    assert [what for method, what in made if method == "POST"] == ["configmaps", "configmaps", "jobs"]
    other = Hands()
    other.cluster = hands.cluster
    other.client._exchange._transport = hands.cluster  # type: ignore[assignment]
    hands.cluster.requests.clear()
    other.play(lambda: other.effects.perform(other.observation, [SavePlan(other.observation.plan)]))  # type: ignore[arg-type]
    assert hands.writes() == []


def test_a_network_policy_is_applied_again_only_if_it_says_something_else() -> None:
    hands = Hands()

    def applied() -> int:
        return sum(
            f"/{NETWORK_POLICIES.plural}/" in path for method, path in hands.cluster.requests if method == "PATCH"
        )

    for attempt in (1, 2):
        hands.play(lambda: hands.effects.perform(hands.observation, [StartAttempt("prepare", None, attempt)]))  # noqa: B023
    assert applied() == 1
    settings = hands.observation.settings.overlaid({"ingress_from": [{"pod_labels": {"app": "prometheus"}}]})
    hands.observation = dataclasses.replace(hands.observation, settings=settings)
    hands.play(lambda: hands.effects.perform(hands.observation, [StartAttempt("prepare", None, 3)]))
    assert applied() == 2


def test_nothing_is_made_for_a_run_that_is_gone() -> None:
    hands = Hands()
    hands.gone.add(UID)
    with pytest.raises(Conflict, match="is gone"):
        hands.play(lambda: hands.effects.perform(hands.observation, [StartAttempt("prepare", None, 1)]))
    assert hands.writes() == []


def test_what_is_refused_does_not_hold_up_what_follows_and_is_news_once() -> None:
    hands = Hands()
    job = hands.cluster.put(JOBS.plural, {"metadata": {"name": "job"}})
    quota: Callable[[str, str], Answer | None] = lambda method, path: (  # noqa: E731
        failure(403, "Forbidden", "exceeded quota") if (method, path.split("/")[-1]) == ("POST", "configmaps") else None
    )
    hands.cluster.intercept = quota
    effects = [StartAttempt("prepare", None, 1), DeleteJob("job", job["metadata"]["uid"])]
    assert hands.play(lambda: hands.effects.perform(hands.observation, effects))
    assert ("DELETE", "job") in hands.writes()
    assert not hands.play(lambda: hands.effects.perform(hands.observation, effects[:1]))
    (refusal,) = hands.memory.of(UID).refusals.values()
    assert (refusal.kind, refusal.reason, refusal.message) == ("ConfigMap", "Forbidden", "exceeded quota")
    hands.cluster.intercept = lambda method, path: None
    assert hands.play(lambda: hands.effects.perform(hands.observation, effects[:1]))
    assert not hands.memory.of(UID).refusals


@pytest.mark.parametrize(
    ("code", "reason", "message", "noted"),
    [
        (403, "Forbidden", "exceeded quota", "Forbidden"),
        (403, "disallowed by policy", 'admission webhook "x" denied the request: no', "Forbidden"),
        (400, "", 'admission webhook "x" denied the request: no', "Forbidden"),
        (422, "Invalid", "spec.template: Invalid value", "Invalid"),
    ],
)
def test_a_webhook_may_deny_with_any_code_and_reason(code: int, reason: str, message: str, noted: str) -> None:
    hands = Hands()
    hands.cluster.intercept = lambda method, path: (
        failure(code, reason, message) if (method, path.split("/")[-1]) == ("POST", "jobs") else None
    )
    hands.play(lambda: hands.effects.perform(hands.observation, [StartAttempt("prepare", None, 1)]))
    (refusal,) = hands.memory.of(UID).refusals.values()
    assert refusal.reason == noted


def test_the_last_message_of_a_refusal_counts_and_the_first_time() -> None:
    facts = RunFacts()
    assert facts.refused("Job", "j", "Forbidden", "exceeded quota: pods", 1.0)
    assert not facts.refused("Job", "j", "Forbidden", "exceeded quota: cpu", 2.0)
    (refusal,) = facts.refusals.values()
    assert (refusal.message, refusal.since) == ("exceeded quota: cpu", 1.0)
