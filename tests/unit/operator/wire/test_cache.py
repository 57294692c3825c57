"""The cache ends in what was listed, whatever came before, and wakes the runs that something concerns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from boresight_operator.api import ALIGNMENT_RUNS, EVAL_RUNS, JOBS, PODS, WATCHED, Listed, Object, Resource
from boresight_operator.cache import Cache, Listing, newer
from boresight_operator.claims import Saying, job_claims, run_claims
from boresight_operator.views import Claim
from hypothesis import given, settings
from hypothesis import strategies as st

K1, K2 = "a" * 64, "b" * 64


def an_object(name: str, uid: str, version: int, owner: str | None = None, **rest: Any) -> dict[str, Any]:
    owners = [{"kind": "X", "name": "x", "uid": owner, "controller": True}] if owner else []
    metadata = {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": str(version), "ownerReferences": owners}
    return {"metadata": {**metadata, **rest.pop("metadata", {})}, **rest}


def a_run(uid: str, version: int, *stages: tuple[str, str], name: str = "", **rest: Any) -> dict[str, Any]:
    status = {"stages": [{"name": f"s{n}", "key": key, "state": state} for n, (key, state) in enumerate(stages)]}
    return an_object(name or uid, uid, version, spec={"a": 1}, **{"status": status, **rest})


def a_job(uid: str, version: int, run: str, *, key: str = K1, ended: bool = False, name: str = "") -> dict[str, Any]:
    conditions = [{"type": "Complete", "status": "True"}] if ended else []
    metadata = {"annotations": {"boresight.dev/key": key}}
    return an_object(name or uid, uid, version, run, metadata=metadata, status={"conditions": conditions})


def a_pod(uid: str, version: int, job: str, phase: str = "Running", name: str = "") -> dict[str, Any]:
    return an_object(name or uid, uid, version, job, status={"phase": phase})


def listed(version: int, *items: Object) -> Listed:
    return Listed(items, str(version))


def versions(cache: Cache) -> dict[str, str]:
    return {uid: run["metadata"]["resourceVersion"] for uid in cache.runs() if (run := cache.run(uid))}


# Order


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", None])
def test_an_event_that_is_not_newer_is_ignored(kind: str | None) -> None:
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("r", 10))
    assert cache.observe(ALIGNMENT_RUNS, kind, a_run("r", 9, (K1, "Running"))) == set()
    assert cache.observe(ALIGNMENT_RUNS, kind, a_run("r", 10, (K1, "Running"))) == set()
    assert versions(cache) == {"r": "10"}


def test_versions_are_numbers_of_any_length() -> None:
    assert newer("10", "9")
    assert not newer("9", "10")
    assert newer("18446744073709551617", "18446744073709551616")
    assert newer("x1", "2")
    assert not newer("x1", "x1")


def test_the_deletion_of_another_uid_is_ignored() -> None:
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("new", 10, name="run"))
    assert cache.observe(ALIGNMENT_RUNS, "DELETED", a_run("old", 5, name="run")) == set()
    assert set(cache.runs()) == {"new"}


def test_a_deletion_older_than_the_entry_is_ignored() -> None:
    """A label that goes and comes back is a DELETED and then an ADDED of one object; the first may be replayed."""
    cache = Cache()
    cache.observe(JOBS, "DELETED", a_job("j", 5, "r"))
    cache.observe(JOBS, "ADDED", a_job("j", 6, "r"))
    cache.observe(JOBS, "DELETED", a_job("j", 5, "r"))
    assert len(cache.jobs_of("r")) == 1


def test_what_was_deleted_stays_deleted() -> None:
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("r", 5))
    assert cache.observe(ALIGNMENT_RUNS, "DELETED", a_run("r", 7)) == {"r"}
    assert cache.observe(ALIGNMENT_RUNS, "MODIFIED", a_run("r", 6)) == set()
    assert cache.run("r") is None


def test_a_new_object_under_a_name_ends_the_old_one_and_a_late_event_of_it_is_ignored() -> None:
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("old", 5, name="run"))
    assert cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("new", 9, name="run")) == {"old", "new"}
    assert cache.observe(ALIGNMENT_RUNS, "MODIFIED", a_run("old", 6, name="run")) == set()
    assert set(cache.runs()) == {"new"}


def test_an_old_object_of_which_nothing_was_known_does_not_end_the_new_one_under_its_name() -> None:
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("new", 9, name="run"))
    assert cache.observe(ALIGNMENT_RUNS, "MODIFIED", a_run("old", 6, name="run")) == set()
    assert set(cache.runs()) == {"new"}


# Lists


def test_a_deletion_is_remembered_until_a_list_is_newer() -> None:
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "DELETED", a_run("r", 25))
    cache.replace(ALIGNMENT_RUNS, None, listed(20))
    assert cache.observe(ALIGNMENT_RUNS, "MODIFIED", a_run("r", 22)) == set()


def test_what_a_list_lacks_is_gone_unless_it_is_newer() -> None:
    cache = Cache()
    for uid, version in (("gone", 3), ("kept", 4), ("newer", 30)):
        cache.observe(ALIGNMENT_RUNS, "ADDED", a_run(uid, version))
    assert cache.replace(ALIGNMENT_RUNS, None, listed(20, a_run("kept", 4), a_run("unseen", 12))) == {"gone", "unseen"}
    assert set(cache.runs()) == {"kept", "newer", "unseen"}


def test_a_list_does_not_bring_back_what_was_deleted_after_it() -> None:
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "DELETED", a_run("r", 25))
    cache.replace(ALIGNMENT_RUNS, None, listed(20, a_run("r", 4)))
    assert set(cache.runs()) == set()


def test_a_list_brings_back_what_was_given_up_by_mistake() -> None:
    """Whatever made us believe that an object is gone: a newer list that has it is right."""
    cache = Cache()
    cache.replace(ALIGNMENT_RUNS, None, listed(12, a_run("r", 10)))
    cache.observe(ALIGNMENT_RUNS, "DELETED", a_run("r", 15))
    cache.replace(ALIGNMENT_RUNS, None, listed(14, a_run("r", 10)))
    assert set(cache.runs()) == set(), "that list was older"
    assert cache.replace(ALIGNMENT_RUNS, None, listed(20, a_run("r", 10))) == {"r"}


def test_an_event_older_than_a_list_that_lacks_its_object_is_ignored() -> None:
    cache = Cache()
    cache.replace(ALIGNMENT_RUNS, None, listed(20))
    assert cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("r", 19)) == set()
    assert cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("r", 21)) == {"r"}


def test_a_list_of_one_namespace_says_nothing_of_others() -> None:
    cache = Cache(["ns", "other"])
    elsewhere = a_run("x", 3, metadata={"namespace": "other"})
    cache.observe(ALIGNMENT_RUNS, "ADDED", elsewhere)
    cache.replace(ALIGNMENT_RUNS, "ns", listed(20))
    assert set(cache.runs()) == {"x"}
    assert cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("y", 10, metadata={"namespace": "other"})) == {"y"}


def test_a_list_older_than_the_last_one_means_that_etcd_was_restored() -> None:
    cache = Cache()
    cache.replace(ALIGNMENT_RUNS, None, listed(1000, a_run("a", 900), a_run("b", 950, (K1, "Running"))))
    assert cache.replace(ALIGNMENT_RUNS, None, listed(500, a_run("b", 450))) == {"a", "b"}
    assert versions(cache) == {"b": "450"}
    assert cache.observe(ALIGNMENT_RUNS, "MODIFIED", a_run("b", 501, (K1, "Failed"))) == {"b"}


def test_it_is_synced_once_everything_was_listed_everywhere() -> None:
    cache = Cache(["one", "two"])
    for resource in WATCHED:
        for namespace in ("one", "two"):
            assert not cache.synced
            cache.replace(resource, namespace, listed(1))
    assert cache.synced


# Who is concerned


def test_what_no_decision_depends_on_wakes_nobody_and_is_kept() -> None:
    cache = Cache()
    run = a_run("r", 5, (K1, "Running"))
    cache.observe(ALIGNMENT_RUNS, "ADDED", run)
    progress = {"percent": 12, "remainingSeconds": 60, "progress": [{"name": "policy", "step": 3}]}
    run["status"] |= progress
    run["metadata"] |= {"resourceVersion": "6", "managedFields": [{"manager": "x"}]}
    assert cache.observe(ALIGNMENT_RUNS, "MODIFIED", run) == set()
    stored = cache.run("r")
    assert stored is not None
    assert stored["metadata"]["resourceVersion"] == "6"
    assert stored["status"].items() >= progress.items()


def test_pods_find_their_run_also_when_they_come_before_their_job() -> None:
    cache = Cache()
    assert cache.observe(PODS, "ADDED", a_pod("p", 5, "j")) == set()
    assert cache.gone() == set()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("r", 4))
    assert cache.observe(JOBS, "ADDED", a_job("j", 3, "r")) == {"r"}
    assert [pod["metadata"]["uid"] for pod in cache.pods_of("j")] == ["p"]
    assert cache.observe(PODS, "MODIFIED", a_pod("p", 6, "j", "Failed")) == {"r"}
    assert cache.observe(PODS, "MODIFIED", a_pod("p", 7, "j", "Failed")) == set(), "nothing that matters is different"
    assert cache.observe(PODS, "DELETED", a_pod("p", 8, "j", "Failed")) == {"r"}
    assert cache.pods_of("j") == ()


def test_an_owner_in_another_namespace_is_none() -> None:
    cache, elsewhere = Cache(), {"metadata": {"namespace": "other"}}
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("r", 1))
    cache.observe(JOBS, "ADDED", a_job("j", 2, "r"))
    foreign = an_object("f", "f", 3, "r", status={}, **elsewhere)
    assert cache.observe(JOBS, "ADDED", foreign) == set()
    pod = an_object("p", "p", 4, "j", status={"phase": "Failed"}, **elsewhere)
    assert cache.observe(PODS, "ADDED", pod) == set()
    labelled = {"metadata": {"namespace": "other", "labels": {"boresight.dev/run-uid": "r"}}}
    assert cache.observe(PODS, "ADDED", an_object("o", "o", 5, "gone", status={}, **labelled)) == set()
    assert [job["metadata"]["uid"] for job in cache.jobs_of("r")] == ["j"]
    assert cache.pods_of("j") == ()


def test_a_pod_that_names_a_run_for_its_controller_is_none_of_its_jobs() -> None:
    """Whoever may make a pod may name any owner in it, also one in another namespace."""
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("r", 1))
    cache.observe(JOBS, "ADDED", a_job("j", 2, "r"))
    cache.observe(PODS, "ADDED", an_object("p", "p", 3, "r", status={}, metadata={"namespace": "other"}))
    cache.observe(JOBS, "ADDED", an_object("k", "k", 4, "j", status={}, metadata={"namespace": "other"}))
    assert [job["metadata"]["uid"] for job in cache.jobs_of("r")] == ["j"]
    assert cache.pods_of("j") == ()


def test_what_is_left_of_a_run_that_is_gone_is_news_for_it_until_all_is_gone() -> None:
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("r", 1))
    cache.observe(JOBS, "ADDED", a_job("j", 2, "r"))
    labelled = {"metadata": {"labels": {"boresight.dev/run-uid": "r"}}}
    cache.observe(PODS, "ADDED", an_object("p", "p", 3, "j", status={}, **labelled))
    assert cache.gone() == set()
    cache.observe(ALIGNMENT_RUNS, "DELETED", a_run("r", 4))
    assert cache.gone() == {"r"}
    assert cache.observe(JOBS, "DELETED", a_job("j", 5, "r")) == {"r"}
    assert cache.gone() == {"r"}
    assert cache.observe(PODS, "DELETED", an_object("p", "p", 6, "j", status={}, **labelled)) == {"r"}
    assert cache.gone() == set()


def test_a_claim_that_goes_wakes_the_other_runs_that_have_the_key() -> None:
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("first", 1, (K1, "Pending")))
    cache.observe(EVAL_RUNS, "ADDED", a_run("second", 2, (K1, "Pending"), (K2, "Pending")))
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("third", 3, (K2, "Pending")))
    assert cache.runs_with_key("ns", "", K1) == {"first", "second"}
    assert cache.observe(ALIGNMENT_RUNS, "MODIFIED", a_run("first", 4, (K1, "Starting"))) == {"first"}, "frees nobody"
    assert cache.observe(ALIGNMENT_RUNS, "MODIFIED", a_run("first", 5, (K1, "Running"))) == {"first"}, "still LIVE"
    assert cache.observe(ALIGNMENT_RUNS, "DELETED", a_run("first", 6)) == {"first", "second"}
    assert cache.runs_with_key("ns", "", K1) == {"second"}
    assert cache.runs_with_key("elsewhere", "", K2) == frozenset()


def test_a_run_that_is_being_deleted_gives_up_its_claims() -> None:
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("first", 1, (K1, "Starting")))
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("second", 2, (K1, "Waiting")))
    ending = a_run("first", 3, (K1, "Starting"), metadata={"deletionTimestamp": "2026-11-22T00:00:00Z"})
    assert cache.observe(ALIGNMENT_RUNS, "MODIFIED", ending) == {"first", "second"}


def test_the_end_of_a_job_wakes_those_who_wait_for_its_key_though_its_run_is_gone() -> None:
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("waits", 2, (K1, "Waiting")))
    assert cache.observe(JOBS, "ADDED", a_job("j", 3, "gone", key=K1)) == {"gone"}
    assert [job["metadata"]["uid"] for job in cache.jobs_with_key("ns", "", K1)] == ["j"]
    assert cache.observe(JOBS, "MODIFIED", a_job("j", 4, "gone", key=K1, ended=True)) == {"gone", "waits"}
    assert cache.observe(JOBS, "DELETED", a_job("j", 5, "gone", key=K1, ended=True)) == {"gone"}


def test_a_job_that_is_gone_works_on_its_key_until_pods_were_listed_after_it() -> None:
    """The watch of pods may be behind that of Jobs: a pod that nobody has told of yet may run."""
    cache = Cache()
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("mine", 1, (K1, "Running")))
    cache.observe(ALIGNMENT_RUNS, "ADDED", a_run("waits", 2, (K1, "Waiting")))
    cache.observe(JOBS, "ADDED", a_job("j", 3, "mine"))
    assert not cache.wants_pods()
    cache.observe(JOBS, "DELETED", a_job("j", 10, "mine"))
    assert cache.wants_pods()
    assert not cache.wants_pods(), "asked for once"
    assert by_uid(cache.jobs_with_key("ns", "", K1)).keys() == by_uid(cache.jobs_of("mine")).keys() == {"j"}
    assert all("deletionTimestamp" in job["metadata"] for job in cache.jobs_of("mine"))
    assert cache.replace(PODS, None, listed(9)) == set(), "begun before the Job was gone"
    assert cache.jobs_of("mine")
    assert cache.replace(PODS, None, listed(11)) == {"mine", "waits"}
    assert not cache.jobs_of("mine")
    assert not cache.jobs_with_key("ns", "", K1)


def test_a_pod_of_a_job_that_is_gone_wakes_the_run_of_that_job() -> None:
    cache = Cache()
    cache.observe(JOBS, "ADDED", a_job("j", 3, "mine"))
    cache.observe(JOBS, "DELETED", a_job("j", 10, "mine"))
    assert cache.observe(PODS, "ADDED", a_pod("p", 11, "j")) == {"mine"}
    assert [job["metadata"]["uid"] for job in cache.jobs_of("mine")] == ["j"], "once"


def test_a_job_that_had_ended_leaves_nothing_to_wait_for() -> None:
    cache = Cache()
    cache.observe(JOBS, "ADDED", a_job("j", 3, "mine", ended=True))
    cache.observe(JOBS, "DELETED", a_job("j", 10, "mine", ended=True))
    assert not cache.wants_pods()
    assert not cache.jobs_of("mine")


def test_a_status_of_rubbish_claims_nothing() -> None:
    for status in (None, {}, {"stages": None}, {"stages": [None, 1, {"key": 3}, {"key": ""}]}):
        assert Cache().observe(ALIGNMENT_RUNS, "ADDED", a_run("r", 1, status=status)) == {"r"}


# Any history


@dataclass
class Server:
    """What is true, and everything that was ever said about it."""

    clock: int = 0
    objects: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {r.plural: {} for r in WATCHED})
    said: list[tuple[Resource, str, dict[str, Any]]] = field(default_factory=list)

    def change(self, resource: Resource, name: str, what: int) -> None:
        self.clock += 1
        here = self.objects[resource.plural]
        old = here.get(name)
        if old is None or what == 1:
            self._say(resource, "DELETED", here.pop(name) if old else None)
            uid = f"{name}-{self.clock}"
            here[name] = self._made(resource, name, uid, what)
            self._say(resource, "ADDED", here[name])
        elif what == 0:
            self._say(resource, "DELETED", here.pop(name))
        else:
            here[name] = self._made(resource, name, old["metadata"]["uid"], what)
            self._say(resource, "MODIFIED", here[name])

    def _made(self, resource: Resource, name: str, uid: str, what: int) -> dict[str, Any]:
        self.clock += 1
        if resource == JOBS:
            return a_job(
                uid, self.clock, self._owner(ALIGNMENT_RUNS, what), key=(K1, K2)[what % 2], ended=what > 5, name=name
            )
        if resource == PODS:
            return a_pod(uid, self.clock, self._owner(JOBS, what), ("Running", "Failed")[what % 2], name=name)
        state = ("Starting", "Running", "Waiting", "Succeeded")[what % 4]
        return a_run(uid, self.clock, ((K1, K2)[what // 4 % 2], state), name=name)

    def _owner(self, resource: Resource, number: int) -> str:
        owners = sorted(self.objects[resource.plural].items())
        return owners[number % len(owners)][1]["metadata"]["uid"] if owners else "nobody"

    def _say(self, resource: Resource, kind: str, obj: dict[str, Any] | None) -> None:
        if obj is not None:
            if kind == "DELETED":
                self.clock += 1
                obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.clock)}}
            self.said.append((resource, kind, obj))

    def list(self, resource: Resource) -> Listed:
        return Listed(tuple(self.objects[resource.plural].values()), str(self.clock))


def everything(cache: Cache) -> Mapping[str, Any]:
    """All that can be seen of a cache, in no order."""
    runs = {uid: cache.run(uid) for uid in cache.runs()}
    return {
        "runs": runs,
        "jobs": {uid: by_uid(cache.jobs_of(uid)) for uid in (*runs, "nobody")},
        "pods": {uid: by_uid(cache.pods_of(uid)) for run in runs for uid in by_uid(cache.jobs_of(run))},
        "keys": {key: cache.runs_with_key("ns", "", key) for key in (K1, K2)},
        "job keys": {key: by_uid(cache.jobs_with_key("ns", "", key)) for key in (K1, K2)},
        "counts": cache.counts(),
    }


def by_uid(objects: tuple[Object, ...]) -> dict[str, Object]:
    return {obj["metadata"]["uid"]: obj for obj in objects}


@dataclass(frozen=True)
class View:
    """What a decision about a run depends on."""

    own: str
    """Itself, its Jobs and pods."""
    claimed: frozenset[tuple[str, str, Saying]]
    """What others claim of its keys: (key, who, what)."""

    def has_news(self, now: View) -> bool:
        """Whether the run, having seen this, must be woken: others that begin to claim something free nobody."""
        came = {what.claim for _, _, what in now.claimed - self.claimed}
        return now.own != self.own or not self.claimed <= now.claimed or Claim.DONE in came


def concerns(cache: Cache, uid: str) -> View | None:
    run = cache.run(uid)
    if run is None:
        return None
    jobs = by_uid(cache.jobs_of(uid))
    own = [run["spec"], run["status"], jobs, {job: by_uid(cache.pods_of(job)) for job in jobs}]
    mine = run_claims(run).by_key
    said = [
        (key, other, run_claims(cache.run(other) or {}).by_key[key])
        for key in mine
        for other in cache.runs_with_key("ns", "", key)
    ]
    said += [
        (key, job["metadata"]["uid"], job_claims(job).by_key[key])
        for key in mine
        for job in cache.jobs_with_key("ns", "", key)
    ]
    return View(repr(without_versions(own)), frozenset(one for one in said if one[2].claim is not None))


def without_versions(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: without_versions(item) for name, item in sorted(value.items()) if name != "resourceVersion"}
    return [without_versions(item) for item in value] if isinstance(value, list) else value


KINDS = (ALIGNMENT_RUNS, JOBS, PODS)
NAMES = {ALIGNMENT_RUNS: "r", JOBS: "j", PODS: "p"}
STEP = st.one_of(
    st.tuples(st.just("change"), st.sampled_from(KINDS), st.integers(0, 2), st.integers(0, 9)),
    st.tuples(st.just("deliver"), st.sampled_from(KINDS), st.integers(0, 200), st.just(0)),
    st.tuples(st.sampled_from(["list", "begin", "page", "finish"]), st.sampled_from(KINDS), st.just(0), st.just(0)),
)


STEPS = st.lists(STEP, min_size=20, max_size=80)


class History:
    """Plays steps against a cache and remembers for each run what was to be seen when it was last woken."""

    def __init__(self) -> None:
        self.server = Server()
        self.cache = Cache()
        self.woken: dict[str, View | None] = {}
        self.open: dict[str, tuple[Listing, list[Object]]] = {}

    def wake(self, uids: set[str]) -> None:
        self.woken |= {uid: concerns(self.cache, uid) for uid in uids}

    def play(self, step: tuple[str, Resource, int, int]) -> None:
        what, resource, number, detail = step
        if what == "change":
            self.server.change(resource, f"{NAMES[resource]}{number}", detail)
        elif what == "deliver":
            said = [event for event in self.server.said if event[0] == resource]
            if said:
                _, kind, obj = said[number % len(said)]
                self.wake(self.cache.observe(resource, kind, obj))
        elif what == "list" and resource.plural not in self.open:
            self.wake(self.cache.replace(resource, None, self.server.list(resource)))
        elif what == "begin" and resource.plural not in self.open:
            now = self.server.list(resource)
            self.open[resource.plural] = self.cache.listing(resource, None, now.resource_version), list(now.items)
        elif what in {"page", "finish"} and resource.plural in self.open:
            listing, left = self.open[resource.plural]
            page, left[:] = (left[:1], left[1:]) if what == "page" else (left[:], [])
            self.wake(listing.add(page))
            if not left:
                self.wake(listing.finish())
                del self.open[resource.plural]

    def list_all(self) -> None:
        for resource in WATCHED:
            self.play(("finish", resource, 0, 0))
            self.play(("list", resource, 0, 0))


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, replayed=st.lists(st.integers(0, 200), min_size=5, max_size=20))
def test_any_history_of_events_and_lists_ends_in_what_was_listed_last(
    steps: list[tuple[str, Resource, int, int]], replayed: list[int]
) -> None:
    history = History()
    for step in steps:
        history.play(step)
    history.list_all()
    fresh = Cache()
    for resource in WATCHED:
        fresh.replace(resource, None, history.server.list(resource))
    assert everything(history.cache) == everything(fresh)
    for number in replayed:
        for resource in KINDS:
            history.play(("deliver", resource, number, 0))
    assert everything(history.cache) == everything(fresh)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_no_change_that_concerns_a_run_goes_by_without_waking_it(steps: list[tuple[str, Resource, int, int]]) -> None:
    history = History()
    for step in [*steps, ("list", ALIGNMENT_RUNS, 0, 0)]:
        history.play(step)
        for uid in history.cache.runs():
            seen, now = history.woken[uid], concerns(history.cache, uid)
            assert seen is not None, uid
            assert now is not None, uid
            assert not seen.has_news(now), uid
    assert all(seen is None for uid, seen in history.woken.items() if history.cache.run(uid) is None)
