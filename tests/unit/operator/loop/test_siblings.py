"""What one run sees of the others: who claims a key, with what, and what the namespace's limits are used for."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from boresight_operator import names
from boresight_operator.api import ALIGNMENT_RUNS, JOBS
from boresight_operator.cache import Cache
from boresight_operator.observe import run_view
from boresight_operator.settings import Limits, NamespaceSettings
from boresight_operator.siblings import Siblings, Store, stores_of
from boresight_operator.views import Claim, Usage
from builders_manifests import an_alignment_run

KEY = "ab" * 32
DIGEST = "sha256:" + "ab" * 32
ARTIFACT = {"uri": f"s3://store/artifacts/{KEY}", "digest": DIGEST}
STORE = ("s3://store", "")


class Namespace:
    """Runs and Jobs, as the cache has them."""

    def __init__(self, **settings: Any) -> None:
        self.cache = Cache()
        self.woken: list[str] = []
        self.settings = NamespaceSettings(storage={"uri": "s3://store/"}, **settings)
        self.siblings = Siblings(self.cache, lambda _: self.settings, lambda uid, stages: 7, self.woken.append)
        self.version = 0

    def run(self, name: str, *, spec: dict[str, Any] | None = None, gone: bool = False, **stage: Any) -> Any:
        self.version += 1
        metadata: dict[str, Any] = {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "resourceVersion": str(self.version),
            "generation": 1,
            "creationTimestamp": f"2027-01-15T08:00:{self.version:02d}Z",
        }
        if gone:
            metadata["deletionTimestamp"] = "2027-01-15T09:00:00Z"
        stages = [{"name": "policy", "key": KEY, **stage}] if stage else []
        document = an_alignment_run(**(spec or {}))
        found = {**document, "metadata": metadata, "status": {"stages": stages}}
        self.cache.observe(ALIGNMENT_RUNS, "MODIFIED", found)
        self.siblings.changed(f"uid-{name}")
        return run_view(found)

    def job(
        self, run: str, *conditions: str, devices: str = "4", namespace: str = "team", store: Store = STORE
    ) -> None:
        self.version += 1
        metadata = {
            "name": f"job-of-{run}",
            "namespace": namespace,
            "uid": f"job-of-{run}",
            "resourceVersion": str(self.version),
            "labels": {"boresight.dev/stage": "policy", "boresight.dev/run": run},
            "annotations": {
                "boresight.dev/key": KEY,
                "boresight.dev/devices": devices,
                "boresight.dev/store": names.store_digest(*store),
            },
            "ownerReferences": [{"uid": f"uid-{run}", "name": run, "kind": "AlignmentRun", "controller": True}],
        }
        held = [{"type": condition, "status": "True"} for condition in conditions]
        self.cache.observe(JOBS, "MODIFIED", {"metadata": metadata, "spec": {}, "status": {"conditions": held}})
        self.siblings.changed(f"uid-{run}")

    def rivals(self, me: Any, *read_from: Store) -> list[tuple[str, Claim]]:
        found = self.siblings.rivals(me, (STORE, *read_from), [KEY]).get(KEY, ())
        return [(rival.name, rival.claim) for rival in found]


@pytest.mark.parametrize(
    ("stage", "claim"),
    [
        ({"state": "Starting", "attempt": 1}, Claim.LIVE),
        ({"state": "Running", "attempt": 1}, Claim.LIVE),
        ({"state": "Waiting", "reason": "QuotaPending", "attempt": 1, "jobUID": "j"}, Claim.LIVE),
        ({"state": "Waiting", "reason": "BackOff", "attempt": 1}, Claim.LIVE),
        ({"state": "Waiting", "reason": "SameKeyRunning"}, Claim.WANTED),
        ({"state": "Waiting", "reason": "SameKeyRunning", "attempt": 3}, Claim.WANTED),
        ({"state": "Waiting", "reason": "NamespaceLimit"}, None),
        ({"state": "Waiting", "reason": "NamespaceLimit", "attempt": 3}, None),
        ({"state": "Waiting", "reason": "StoppedAfter", "attempt": 3}, None),
        ({"state": "Succeeded", "artifact": ARTIFACT}, Claim.DONE),
        ({"state": "Cached", "artifact": ARTIFACT}, Claim.DONE),
        ({"state": "Succeeded"}, None),
        ({"state": "Suspended", "attempt": 1}, None),
        ({"state": "Failed", "attempt": 1}, None),
        ({"state": "Pending"}, None),
        ({"state": "Unknown", "attempt": 1}, None),
    ],
)
def test_what_a_status_claims(stage: dict[str, Any], claim: Claim | None) -> None:
    namespace = Namespace()
    me = namespace.run("me")
    namespace.run("other", **stage)
    assert namespace.rivals(me) == ([("other", claim)] if claim else [])


@pytest.mark.parametrize(
    ("conditions", "claims"), [([], [("other", Claim.LIVE)]), (["Complete"], []), (["Failed"], [])]
)
@pytest.mark.parametrize("state", ["Failed", "Suspended"])
def test_a_job_that_has_not_ended_claims_whatever_the_status_says(
    state: str, conditions: list[str], claims: list[tuple[str, Claim]]
) -> None:
    namespace = Namespace()
    me = namespace.run("me")
    namespace.run("other", state=state, attempt=1)
    namespace.job("other", *conditions)
    assert namespace.rivals(me) == claims


def test_a_failing_job_claims_until_its_pods_have_ended() -> None:
    namespace = Namespace()
    me = namespace.run("me")
    namespace.run("other", state="Failed")
    namespace.job("other", "FailureTarget")
    assert namespace.rivals(me) == [("other", Claim.LIVE)]


def test_a_run_in_deletion_claims_by_its_jobs_alone() -> None:
    namespace = Namespace()
    me = namespace.run("me")
    namespace.run("other", gone=True, state="Running", attempt=1)
    assert namespace.rivals(me) == []
    namespace.job("other")
    assert namespace.rivals(me) == [("other", Claim.LIVE)]


def test_a_job_whose_run_is_gone_claims() -> None:
    namespace = Namespace()
    me = namespace.run("me")
    namespace.job("other")
    assert namespace.rivals(me) == [("other", Claim.LIVE)]


def test_the_job_of_a_run_that_is_gone_claims_until_it_has_ended() -> None:
    namespace = Namespace()
    me = namespace.run("me")
    namespace.job("other")
    assert namespace.rivals(me) == [("other", Claim.LIVE)]
    namespace.job("other", "Complete")
    assert namespace.rivals(me) == []


def test_a_job_that_names_a_run_of_another_namespace_shows_nothing_of_that_run() -> None:
    namespace = Namespace()
    namespace.run("other", state="Succeeded", artifact=ARTIFACT)
    stranger = dataclasses.replace(namespace.run("me"), namespace="elsewhere")
    namespace.job("other", namespace="elsewhere")
    assert namespace.rivals(stranger) == []


def test_the_oldest_is_first_and_oneself_is_none_of_them() -> None:
    namespace = Namespace()
    for name in ("b", "a", "c"):
        namespace.run(name, state="Running", attempt=1)
    me = namespace.run("me", state="Running", attempt=1)
    assert [name for name, _ in namespace.rivals(me)] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("storage", "same"),
    [
        ({"uri": "s3://store"}, True),
        ({"uri": "s3://elsewhere"}, False),
        ({"uri": "s3://store", "endpoint": "https://minio:9000"}, False),
    ],
)
def test_a_key_in_another_store_is_another_artifact(storage: dict[str, str], same: bool) -> None:
    namespace = Namespace()
    me = namespace.run("me")
    namespace.run("other", spec={"storage": storage}, state="Running", attempt=1)
    assert bool(namespace.rivals(me)) is same


def test_an_artifact_that_cannot_be_read_is_none() -> None:
    """Of a status that was edited by hand."""
    namespace = Namespace()
    me = namespace.run("me")
    namespace.run("other", state="Succeeded", artifact={"uri": ARTIFACT["uri"], "digest": "no digest"})
    (rival,) = namespace.siblings.rivals(me, [STORE], [KEY])[KEY]
    assert (rival.claim, rival.artifact) == (Claim.DONE, None)


def test_what_was_done_in_the_store_before_is_not_done_in_the_one_that_the_spec_names_now() -> None:
    namespace = Namespace()
    me = namespace.run("me")
    namespace.run("other", state="Succeeded", artifact={**ARTIFACT, "uri": f"s3://before/artifacts/{KEY}"})
    assert namespace.rivals(me) == []


SHARED: Store = ("s3://shared", "https://minio:9000")


@pytest.mark.parametrize(
    ("mine", "claims"),
    [((SHARED,), [("other", Claim.DONE)]), ((), []), ((("s3://shared", ""),), [])],
    ids=["read by both", "not read by me", "at another endpoint"],
)
def test_what_lies_in_a_store_that_both_read_from_is_done(mine: tuple[Store, ...], claims: list[Any]) -> None:
    namespace = Namespace()
    me = namespace.run("me")
    read_from = [{"uri": "s3://shared/", "endpoint": "https://minio:9000"}]
    spec = {"storage": {"uri": "s3://store", "readFrom": read_from}}
    made = {**ARTIFACT, "uri": f"s3://shared/artifacts/{KEY}"}
    namespace.run("other", spec=spec, state="Cached", artifact=made)
    assert namespace.rivals(me, *mine) == claims
    found = namespace.siblings.rivals(me, (STORE, *mine), [KEY]).get(KEY, ())
    assert [rival.artifact.uri for rival in found if rival.artifact] == [made["uri"]] * len(claims)


def test_the_namespaces_store_and_what_it_reads_from_are_those_of_a_run_that_names_none() -> None:
    storage = {"uri": "s3://team/", "readFrom": [{"uri": "s3://shared", "endpoint": "https://minio:9000"}]}
    settings = NamespaceSettings(storage=storage)
    assert stores_of({"spec": {}}, settings) == (("s3://team", ""), SHARED)
    assert stores_of({"spec": {"storage": {"uri": "s3://own"}}}, settings) == (("s3://own", ""),)
    assert stores_of({"spec": {}}, NamespaceSettings()) == (("", ""),)


def test_a_job_works_in_the_store_that_it_was_made_for_whatever_its_run_says_now() -> None:
    namespace = Namespace()
    me = namespace.run("me")
    namespace.run("moved", spec={"storage": {"uri": "s3://after"}}, state="Unknown")
    namespace.job("moved")
    assert namespace.rivals(me) == [("moved", Claim.LIVE)]
    namespace.job("moved", store=("s3://another", ""))
    assert namespace.rivals(me) == []


def test_usage_counts_what_is_live_and_what_is_about_to_be() -> None:
    namespace = Namespace(limits=Limits(max_devices=100))
    me = namespace.run("me", state="Running", attempt=1)
    namespace.run("with-job", state="Running", attempt=1)
    namespace.job("with-job", devices="16")
    namespace.run("unborn", state="Starting", attempt=1)
    namespace.run("done", state="Succeeded", artifact=ARTIFACT)
    namespace.job("done", "Complete")
    usage = namespace.siblings.usage(me, namespace.settings)
    assert (usage.runs, usage.devices) == (2, 16 + 7)


def test_nothing_is_counted_without_a_limit() -> None:
    namespace = Namespace()
    me = namespace.run("me")
    namespace.run("other", state="Starting", attempt=1)
    assert namespace.siblings.usage(me, namespace.settings).runs == 0


def test_those_at_a_limit_are_woken_when_less_is_used() -> None:
    namespace = Namespace(limits=Limits(max_devices=16))
    me = namespace.run("me", state="Waiting", reason="NamespaceLimit")
    namespace.run("other", state="Running", attempt=1)
    namespace.job("other", devices="16")
    assert namespace.siblings.usage(me, namespace.settings).devices == 16
    namespace.woken.clear()
    namespace.job("other", "Complete", devices="16")
    assert namespace.woken == ["uid-me"]


def test_what_still_ends_of_a_run_that_is_gone_counts_and_those_at_a_limit_are_woken_when_it_has() -> None:
    namespace = Namespace(limits=Limits(max_devices=16))
    me = namespace.run("me", state="Waiting", reason="NamespaceLimit")
    other = namespace.run("other", state="Running", attempt=1)
    namespace.job("other", devices="16")
    assert namespace.siblings.usage(me, namespace.settings) == Usage(1, 16)
    namespace.woken.clear()
    deleted = {"name": "other", "namespace": "team", "uid": other.uid, "resourceVersion": "99"}
    namespace.cache.observe(ALIGNMENT_RUNS, "DELETED", {"metadata": deleted})
    namespace.siblings.changed(other.uid)
    assert namespace.woken == []
    assert namespace.siblings.usage(me, namespace.settings) == Usage(1, 16)
    namespace.job("other", "Complete", devices="16")
    assert namespace.woken == ["uid-me"]
    assert namespace.siblings.usage(me, namespace.settings) == Usage()


def test_what_is_left_of_a_run_in_another_namespace_uses_nothing_here() -> None:
    namespace = Namespace(limits=Limits(max_devices=16))
    me = namespace.run("me", state="Running", attempt=1)
    namespace.job("stranger", devices="16", namespace="elsewhere")
    assert namespace.siblings.usage(me, namespace.settings) == Usage()
