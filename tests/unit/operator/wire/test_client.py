"""Each answer of the API server has its rule."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from boresight_operator.api import ALIGNMENT_RUNS, EVENTS, JOBS, NETWORK_POLICIES, NODES, Answer
from boresight_operator.client import LIST_RESTARTS, PAGE_ITEMS, REQUEST_SECONDS, TRIES, Client
from boresight_operator.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    LeaseOver,
    NotFound,
    Unavailable,
)
from scripted_api import NOON, Reply, ScriptedApi, failure, ok
from virtual_time import run

LOST = ConnectionResetError("reset")
Act = Callable[[Client], Awaitable[Any]]


def a_client(
    transport: Any, *, guard: Callable[[], None] = lambda: None, in_flight: int = 4, metric: Any = None
) -> Client:
    return Client(transport, Random(1), guard=guard, metric=metric or (lambda *_: None), in_flight=in_flight)


def asked(act: Act, *replies: Reply, guard: Callable[[], None] = lambda: None) -> tuple[Any, ScriptedApi]:
    """What ``act`` returned or raised, and what it sent. The whole script has to be used."""
    api = ScriptedApi(*replies)

    async def main() -> Any:
        try:
            return await act(a_client(api, guard=guard))
        except (ApiError, LeaseOver) as error:
            return error

    result = run(main())
    assert not api.replies, f"never asked for {api.replies}"
    return result, api


def a_job(controller: str = "run-1", spec_hash: str = "h1", name: str = "job", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "ownerReferences": [{"uid": "other"}, {"uid": controller, "controller": True}],
            "annotations": {"boresight.dev/spec-hash": spec_hash},
            **metadata,
        }
    }


def create(client: Client) -> Awaitable[Any]:
    return client.create(JOBS, "ns", a_job())


def get(client: Client) -> Awaitable[Any]:
    return client.get(JOBS, "ns", "job")


def delete(client: Client) -> Awaitable[Any]:
    return client.delete(JOBS, "ns", "job", "uid-1", propagation="Foreground")


STATUS = {"metadata": {"resourceVersion": "7"}, "status": {"stage": "policy"}}


def apply(client: Client) -> Awaitable[Any]:
    return client.apply(ALIGNMENT_RUNS, "ns", "run", STATUS, manager="boresight", subresource="status")


def stored_run(version: str, stage: str = "policy", manager: str = "boresight") -> dict[str, Any]:
    entry = {
        "manager": manager,
        "operation": "Apply",
        "subresource": "status",
        "fieldsV1": {"f:status": {"f:stage": {}}},
    }
    return {"metadata": {"resourceVersion": version, "managedFields": [entry]}, "status": {"stage": stage}}


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", ApiError),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Gone),
        (413, "RequestEntityTooLarge", Invalid),
        (422, "Invalid", Invalid),
        (302, "", ApiError),
    ],
)
def test_an_error_code_has_its_class_and_is_not_retried(code: int, reason: str, kind: type[ApiError]) -> None:
    error, api = asked(get, failure(code, reason, "because"))
    assert type(error) is kind
    assert (error.code, error.message) == (code, "because")
    assert api.methods == ["GET"]


def test_a_namespace_that_ends_is_told_from_other_refusals() -> None:
    error, _ = asked(create, failure(403, "Forbidden", causes=("NamespaceTerminating",)))
    assert (type(error), error.reason) == (Forbidden, "NamespaceTerminating")


def test_a_field_that_the_installed_crd_lacks_is_invalid_though_the_server_says_500() -> None:
    message = "failed to create typed patch object (ns/run; v1): .status.new: field not declared in schema"
    error, _ = asked(apply, failure(500, "", message))
    assert (type(error), error.reason) == (Invalid, "SchemaTooOld")


def test_an_error_without_a_status_document_shows_what_there_is() -> None:
    error, _ = asked(get, Answer(403, {}, b"<html>a proxy says no</html>"))
    assert type(error) is Forbidden
    assert "a proxy says no" in error.message


@pytest.mark.parametrize(
    "answer", [failure(500, "InternalError"), failure(503), failure(504, "Timeout"), LOST, TimeoutError()]
)
@pytest.mark.parametrize("act", [get, delete])
def test_what_may_be_done_twice_is_sent_again(act: Act, answer: Reply) -> None:
    result, api = asked(act, answer, answer, ok({"metadata": {}}))
    assert not isinstance(result, Exception)
    assert len(api.sent) == 3


@pytest.mark.parametrize("answer", [failure(500), LOST, failure(429)])
def test_retries_end(answer: Reply) -> None:
    error, api = asked(get, *[answer] * TRIES)
    assert isinstance(error, Unavailable)
    assert len(api.sent) == TRIES


def test_pauses_grow_and_differ() -> None:
    _, api = asked(get, *[LOST] * TRIES)
    pauses = [after.at - before.at for before, after in zip(api.sent, api.sent[1:], strict=False)]
    assert all(0.05 * 2**n <= pause <= 0.1 * 2**n for n, pause in enumerate(pauses))
    assert len(set(pauses)) == len(pauses)


@pytest.mark.parametrize("act", [get, create, apply, delete])
def test_too_many_requests_waits_as_long_as_the_server_says(act: Act) -> None:
    result, api = asked(act, failure(429, retry_after="3"), ok({"metadata": {}}))
    assert not isinstance(result, Exception)
    assert 3.0 <= api.sent[1].at - api.sent[0].at <= 3.6


def test_a_retry_after_of_an_hour_is_cut() -> None:
    _, api = asked(get, failure(429, retry_after="3600"), ok({}))
    assert api.sent[1].at - api.sent[0].at <= 12


def test_a_429_storm_ends_as_unavailable_with_the_servers_wish() -> None:
    error, api = asked(create, *[failure(429, retry_after="1")] * TRIES)
    assert (type(error), error.code, error.retry_after) == (Unavailable, 429, 1.0)
    assert set(api.methods) == {"POST"}, "429 was not done: nothing to look at"


def test_silence_is_a_lost_answer() -> None:
    async def main() -> float:
        client = a_client(ScriptedApi(*[ok({})] * TRIES, delay=1e9))
        begun = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable, match=r"no answer within 10 s"):
            await get(client)
        return asyncio.get_running_loop().time() - begun

    assert run(main()) < TRIES * (REQUEST_SECONDS + 2)


def test_an_answer_that_is_cut_off_is_a_lost_answer() -> None:
    whole = ok({"metadata": {"name": "x"}})
    cut = type(whole)(200, whole.headers, whole.body[:-3])
    result, api = asked(get, cut, whole)
    assert result == {"metadata": {"name": "x"}}
    assert len(api.sent) == 2


# A create


@pytest.mark.parametrize("unknown", [LOST, TimeoutError(), failure(500), failure(504)])
def test_a_create_with_unknown_result_succeeded_if_the_object_is_there_and_ours(unknown: Reply) -> None:
    result, api = asked(create, unknown, ok(a_job(uid="u")))
    assert result["metadata"]["uid"] == "u"
    assert api.methods == ["POST", "GET"]


def test_a_create_with_unknown_result_is_sent_once_more_if_the_object_is_absent() -> None:
    result, api = asked(create, LOST, failure(404), ok(a_job(uid="u"), 201))
    assert result["metadata"]["uid"] == "u"
    assert api.methods == ["POST", "GET", "POST"]


def test_a_create_that_arrives_late_is_found_by_its_repetition() -> None:
    result, api = asked(create, LOST, failure(404), failure(409, "AlreadyExists"), ok(a_job(uid="u")))
    assert result["metadata"]["uid"] == "u"
    assert api.methods == ["POST", "GET", "POST", "GET"]


def test_an_event_whose_post_was_lost_is_sent_again_and_never_read() -> None:
    event = {"metadata": {"name": "run.0123456789abcdef"}}
    taken = failure(409, "AlreadyExists")
    result, api = asked(lambda client: client.create(EVENTS, "ns", event), LOST, taken)
    assert (result, api.methods) == (event, ["POST", "POST"])


def test_a_create_that_is_lost_twice_is_unavailable() -> None:
    error, api = asked(create, LOST, failure(404), LOST, failure(404))
    assert isinstance(error, Unavailable)
    assert api.methods == ["POST", "GET"] * 2


def test_already_exists_is_success_if_it_is_ours() -> None:
    result, _ = asked(create, failure(409, "AlreadyExists"), ok(a_job(uid="u")))
    assert result["metadata"]["uid"] == "u"


@pytest.mark.parametrize(
    "foreign",
    [a_job(controller="run-2"), a_job(spec_hash="h2"), {"metadata": {"name": "job"}}],
    ids=["owner", "hash", "bare"],
)
@pytest.mark.parametrize("first", [failure(409, "AlreadyExists"), LOST])
def test_a_foreign_object_under_our_name_is_already_exists(first: Reply, foreign: dict[str, Any]) -> None:
    error, api = asked(create, first, ok(foreign))
    assert type(error) is AlreadyExists
    assert "Job job exists and is not ours" in error.message
    assert api.methods == ["POST", "GET"]


def test_a_name_that_comes_and_goes_is_a_conflict() -> None:
    error, _ = asked(create, *[failure(409, "AlreadyExists"), failure(404)] * 2)
    assert type(error) is Conflict


# An apply


def test_a_server_side_apply_is_one_patch() -> None:
    _, api = asked(apply, ok(stored_run("8")))
    sent = api.sent[0]
    assert (sent.method, sent.path) == ("PATCH", "/apis/boresight.dev/v1alpha1/namespaces/ns/alignmentruns/run/status")
    assert sent.headers["content-type"] == "application/apply-patch+yaml"
    assert sent.query == {"fieldManager": "boresight", "force": "true"}
    assert sent.body == STATUS


@pytest.mark.parametrize("unknown", [LOST, TimeoutError(), failure(500), failure(504)])
def test_an_apply_with_unknown_result_succeeded_if_the_object_holds_what_we_applied(unknown: Reply) -> None:
    result, api = asked(apply, unknown, ok(stored_run("9")))
    assert result["metadata"]["resourceVersion"] == "9"
    assert api.methods == ["PATCH", "GET"]


@pytest.mark.parametrize("stored", [stored_run("9", stage="synthesis"), stored_run("9", manager="other")])
def test_an_apply_with_unknown_result_is_a_conflict_if_the_object_changed_otherwise(stored: dict[str, Any]) -> None:
    error, _ = asked(apply, LOST, ok(stored))
    assert type(error) is Conflict


def test_an_apply_with_unknown_result_is_sent_again_if_the_object_is_as_before() -> None:
    result, api = asked(apply, LOST, ok(stored_run("7", "old")), ok(stored_run("8")))
    assert result["metadata"]["resourceVersion"] == "8"
    assert api.methods == ["PATCH", "GET", "PATCH"]


def test_a_late_apply_is_found_by_the_conflict_of_its_repetition() -> None:
    result, api = asked(apply, LOST, ok(stored_run("7", "old")), failure(409, "Conflict"), ok(stored_run("8")))
    assert result["metadata"]["resourceVersion"] == "8"
    assert api.methods == ["PATCH", "GET", "PATCH", "GET"]


def test_a_conflict_of_a_first_apply_is_for_the_caller() -> None:
    error, api = asked(apply, failure(409, "Conflict"))
    assert type(error) is Conflict
    assert api.methods == ["PATCH"]


def test_an_apply_to_what_is_gone_is_not_found() -> None:
    error, _ = asked(apply, LOST, failure(404))
    assert type(error) is NotFound


def test_an_apply_without_a_resource_version_may_be_done_twice() -> None:
    def act(client: Client) -> Awaitable[Any]:
        return client.apply(NETWORK_POLICIES, "ns", "n", {"metadata": {"name": "n"}}, manager="boresight")

    _, api = asked(act, LOST, failure(503), ok({}))
    assert api.methods == ["PATCH"] * 3


# A delete


def test_a_delete_names_the_uid_and_how_children_go() -> None:
    _, api = asked(delete, ok({}))
    assert api.sent[0].body["preconditions"] == {"uid": "uid-1"}
    assert api.sent[0].body["propagationPolicy"] == "Foreground"


@pytest.mark.parametrize(
    "answers",
    [
        [failure(404)],
        [failure(409, "Conflict"), ok({"metadata": {"uid": "another"}})],
        [failure(409, "Conflict"), failure(404)],
    ],
)
def test_deleting_what_is_gone_or_another_one_is_success(answers: list[Reply]) -> None:
    result, _ = asked(delete, *answers)
    assert result is None


def test_a_conflict_while_the_object_is_still_ours_is_for_the_caller() -> None:
    error, _ = asked(delete, failure(409, "Conflict"), ok({"metadata": {"uid": "uid-1"}}))
    assert type(error) is Conflict


# A list


def page(*names: str, token: str = "", version: str = "100") -> Any:
    return ok({"metadata": {"resourceVersion": version, "continue": token}, "items": [{"name": n} for n in names]})


def listing(client: Client) -> Awaitable[Any]:
    return client.list(JOBS, labels="a=b")


def test_a_list_is_read_page_by_page() -> None:
    listed, api = asked(listing, page("a", "b", token="t"), page("c"))
    assert [item["name"] for item in listed.items] == ["a", "b", "c"]
    assert listed.resource_version == "100"
    assert [dict(sent.query) for sent in api.sent] == [
        {"limit": str(PAGE_ITEMS), "labelSelector": "a=b"},
        {"limit": str(PAGE_ITEMS), "labelSelector": "a=b", "continue": "t"},
    ]


def test_an_expired_list_begins_again_and_forgets_its_first_pages() -> None:
    again = [page("b", token="u", version="200"), page("c", version="200")]
    listed, _ = asked(listing, page("a", "b", token="t"), failure(410, "Expired"), *again)
    assert [item["name"] for item in listed.items] == ["b", "c"]
    assert listed.resource_version == "200"


def test_a_list_that_always_expires_is_gone() -> None:
    error, _ = asked(listing, *[page("a", token="t"), failure(410, "Expired")] * LIST_RESTARTS)
    assert type(error) is Gone


def test_a_page_is_repeated_alone() -> None:
    listed, _ = asked(listing, page("a", token="t"), LOST, page("b"))
    assert [item["name"] for item in listed.items] == ["a", "b"]


def test_a_cluster_wide_resource_has_no_namespace_in_its_path() -> None:
    _, api = asked(lambda client: client.get(NODES, None, "n1"), ok({}))
    assert api.sent[0].path == "/api/v1/nodes/n1"


# The lease, the bound, the clock, the metrics


@pytest.mark.parametrize("act", [create, apply, delete])
def test_no_write_is_sent_without_the_lease(act: Act) -> None:
    def refuse() -> None:
        raise LeaseOver("over")

    error, api = asked(act, guard=refuse)
    assert isinstance(error, LeaseOver)
    assert api.sent == []


@pytest.mark.parametrize("act", [create, delete])
def test_the_lease_is_asked_again_before_each_repetition(act: Act) -> None:
    asked_for: list[None] = []

    def once() -> None:
        asked_for.append(None)
        if len(asked_for) > 1:
            raise LeaseOver("over")

    error, api = asked(act, failure(429, retry_after="9"), guard=once)
    assert isinstance(error, LeaseOver)
    assert len(api.sent) == 1


def test_the_lease_is_asked_after_waiting_for_a_place_not_before() -> None:
    order: list[str] = []

    class Slow(ScriptedApi):
        async def request(self, method: str, path: str, **rest: Any) -> Any:
            answer = await super().request(method, path, **rest)
            order.append(f"{method} answered")
            return answer

    async def main() -> None:
        client = a_client(Slow(ok({}), ok({}), delay=5), in_flight=1, guard=lambda: order.append("guard"))
        reading = asyncio.create_task(client.get(JOBS, "ns", "a"))
        await asyncio.sleep(0)
        await asyncio.gather(reading, client.create(JOBS, "ns", a_job()))

    run(main())
    assert order == ["GET answered", "guard", "POST answered"]


def test_reading_needs_no_lease() -> None:
    def refuse() -> None:
        raise LeaseOver("over")

    result, _ = asked(get, ok({"metadata": {}}), guard=refuse)
    assert result == {"metadata": {}}


def test_requests_in_flight_are_bounded_and_served_in_order() -> None:
    class Counting(ScriptedApi):
        now = most = 0

        async def request(self, method: str, path: str, **rest: Any) -> Any:
            self.now += 1
            self.most = max(self.most, self.now)
            answer = await super().request(method, path, **rest)
            self.now -= 1
            return answer

    async def main() -> Counting:
        api = Counting(*[ok({})] * 20, delay=1)
        client = a_client(api, in_flight=3)
        await asyncio.gather(*(client.get(JOBS, "ns", str(n)) for n in range(20)))
        return api

    api = run(main())
    assert api.most == 3
    assert [sent.path.rsplit("/", 1)[1] for sent in api.sent] == [str(n) for n in range(20)]


def test_a_request_that_pauses_holds_nobody_up() -> None:
    async def main() -> float:
        api = ScriptedApi(failure(429, retry_after="10"), ok({"metadata": {}}), ok({"metadata": {}}))
        client = a_client(api, in_flight=1)
        slow = asyncio.create_task(client.get(JOBS, "ns", "slow"))
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(0.001)
        await client.get(JOBS, "ns", "quick")
        took = asyncio.get_running_loop().time() - begun
        await slow
        return took

    assert run(main()) < 1


def test_the_servers_clock_is_known_after_the_first_answer() -> None:
    async def main() -> None:
        client = a_client(ScriptedApi(ok({})))
        with pytest.raises(RuntimeError, match="Date"):
            client.server_now()
        await get(client)
        assert client.server_now() == pytest.approx(NOON + 0.5, abs=0.51)
        await asyncio.sleep(100)
        assert client.server_now() == pytest.approx(NOON + 100.5, abs=0.51)

    run(main())


def test_each_request_is_measured_with_its_code() -> None:
    seen: list[tuple[str, str, int]] = []

    async def main() -> None:
        client = a_client(
            ScriptedApi(failure(429), LOST, failure(404), ok(a_job())),
            metric=lambda verb, plural, code, seconds: seen.append((verb, plural, code)),
        )
        await create(client)

    run(main())
    assert seen == [("create", "jobs", 429), ("create", "jobs", 0), ("get", "jobs", 404), ("create", "jobs", 200)]
