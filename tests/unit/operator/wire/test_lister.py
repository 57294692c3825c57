"""Everything is listed, again and again, whatever the API server says to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any

import pytest
from boresight_operator.api import ALIGNMENT_RUNS, JOBS, WATCHED, Answer
from boresight_operator.cache import Cache
from boresight_operator.client import Client
from boresight_operator.lister import Lister
from scripted_api import failure, ok
from virtual_time import run


class Lists:
    """An API server that only lists. ``bad`` answers by path; the rest are the objects in ``items``."""

    def __init__(self) -> None:
        self.items: dict[str, list[dict[str, Any]]] = {}
        self.bad: dict[str, Answer | Exception] = {}
        self.asked: list[tuple[float, str, Mapping[str, str]]] = []
        self.version = 100

    async def request(self, method: str, path: str, *, query: Mapping[str, str], **_: Any) -> Answer:
        self.asked.append((asyncio.get_running_loop().time(), path, query))
        self.version += 1
        version = self.version
        items = [*self.items.get(path, ())]
        await asyncio.sleep(0.2)
        bad = self.bad.get(path)
        if isinstance(bad, Exception):
            raise bad
        if bad is not None:
            return bad
        first = not query.get("continue") and len(items) > 1
        page = items[:1] if first else items[1:] if query.get("continue") else items
        return ok({"metadata": {"resourceVersion": str(version), "continue": "more" if first else ""}, "items": page})

    def count(self, since: float = 0.0) -> Counter[str]:
        return Counter(path for at, path, query in self.asked if at >= since and "continue" not in query)


def a_run(uid: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": uid, "namespace": "ns", "uid": uid, "resourceVersion": str(version)}}


RUNS_PATH = ALIGNMENT_RUNS.path()
Main = Callable[[Lists, Cache, Lister, list[str]], Awaitable[None]]


def with_a_lister(
    main: Main, namespaces: tuple[str, ...] = (), before: Callable[[Lists], None] = lambda _: None
) -> None:
    async def body() -> None:
        server, cache, woken = Lists(), Cache(namespaces), list[str]()
        before(server)
        client = Client(server, Random(1), guard=lambda: None, metric=lambda *_: None, in_flight=32)
        lister = Lister(
            client, cache, namespaces=namespaces, interval_seconds=300, random=Random(2), changed=woken.extend
        )
        task = asyncio.create_task(lister.run())
        await main(server, cache, lister, woken)
        assert not task.done(), task.exception()
        task.cancel()

    run(body())


def now() -> float:
    return asyncio.get_running_loop().time()


def test_everything_is_listed_at_once_and_in_parallel() -> None:
    async def main(server: Lists, cache: Cache, lister: Lister, woken: list[str]) -> None:
        assert set(lister.ages().values()) == {float("inf")}
        await asyncio.sleep(0.5)
        assert cache.synced
        assert server.count() == Counter(resource.path() for resource in WATCHED)
        assert set(lister.ages()) == {resource.plural for resource in WATCHED}
        assert max(lister.ages().values()) == pytest.approx(0.5)

    with_a_lister(main)


def test_jobs_and_pods_are_selected_by_the_server() -> None:
    async def main(server: Lists, cache: Cache, lister: Lister, woken: list[str]) -> None:
        await asyncio.sleep(0.5)
        selectors = {path: query.get("labelSelector") for _, path, query in server.asked}
        assert selectors == {
            resource.path(): None
            if resource.group == "boresight.dev"
            else "app.kubernetes.io/managed-by=boresight-operator"
            for resource in WATCHED
        }

    with_a_lister(main)


def test_a_list_of_namespaces_is_listed_one_by_one() -> None:
    async def main(server: Lists, cache: Cache, lister: Lister, woken: list[str]) -> None:
        await asyncio.sleep(0.5)
        assert cache.synced
        assert server.count() == Counter(resource.path(name) for resource in WATCHED for name in ("one", "two"))

    with_a_lister(main, ("one", "two"))


def test_everything_is_listed_again_every_few_minutes_not_all_at_the_same_time() -> None:
    async def main(server: Lists, cache: Cache, lister: Lister, woken: list[str]) -> None:
        await asyncio.sleep(3001)
        assert all(9 <= count <= 12 for count in server.count().values())
        last = {path: at for at, path, _ in server.asked}
        assert len(set(last.values())) == len(WATCHED)

    with_a_lister(main)


def test_what_a_watch_has_missed_is_found_and_wakes_its_run() -> None:
    def before(server: Lists) -> None:
        server.items[RUNS_PATH] = [a_run("a"), a_run("b")]

    async def main(server: Lists, cache: Cache, lister: Lister, woken: list[str]) -> None:
        await asyncio.sleep(1)
        assert woken == ["a", "b"]
        server.items[RUNS_PATH] = [a_run("b"), a_run("c", 150)]
        woken.clear()
        await asyncio.sleep(350)
        assert set(cache.runs()) == {"b", "c"}
        assert sorted(woken) == ["a", "c"]

    with_a_lister(main, before=before)


def test_a_request_lists_everything_within_a_second_and_many_requests_once() -> None:
    async def main(server: Lists, cache: Cache, lister: Lister, woken: list[str]) -> None:
        await asyncio.sleep(10)
        begun = now()
        for _ in range(20):
            lister.request_soon()
            await asyncio.sleep(0.001)
        await asyncio.sleep(1.5)
        assert all(1 <= count <= 2 for count in server.count(begun).values())
        assert max(lister.ages().values()) < 1.6
        settled = now()
        await asyncio.sleep(60)
        assert server.count(settled) == Counter()

    with_a_lister(main)


def test_a_request_during_a_list_causes_another_one() -> None:
    """The running list may have been answered before that what was missed."""

    async def main(server: Lists, cache: Cache, lister: Lister, woken: list[str]) -> None:
        await asyncio.sleep(0.1)
        lister.request_soon()
        await asyncio.sleep(2)
        assert set(server.count().values()) == {2}

    with_a_lister(main)


@pytest.mark.parametrize("bad", [failure(403, "Forbidden"), failure(500), failure(410), failure(404), OSError("cut")])
def test_an_error_is_logged_and_tried_again_and_holds_no_other_kind_up(
    bad: Answer | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def before(server: Lists) -> None:
        server.bad[RUNS_PATH] = bad

    async def main(server: Lists, cache: Cache, lister: Lister, woken: list[str]) -> None:
        await asyncio.sleep(100)
        assert not cache.synced
        assert lister.ages()["alignmentruns"] == float("inf")
        assert lister.ages()["jobs"] == pytest.approx(100)
        assert 6 <= server.count()[RUNS_PATH] <= 60
        server.bad.clear()
        await asyncio.sleep(16)
        assert cache.synced
        assert lister.ages()["alignmentruns"] <= 16

    with_a_lister(main, before=before)
    assert any("listing alignmentruns failed" in record.message for record in caplog.records)


def test_a_missing_crd_is_named_with_what_to_do_until_it_is_there(caplog: pytest.LogCaptureFixture) -> None:
    def before(server: Lists) -> None:
        server.bad[RUNS_PATH] = failure(404, "NotFound", "the server could not find the requested resource")
        server.bad[JOBS.path()] = failure(404, "NotFound", "the server could not find the requested resource")

    async def main(server: Lists, cache: Cache, lister: Lister, woken: list[str]) -> None:
        await asyncio.sleep(2)
        assert lister.missing() == {"alignmentruns"}, "Jobs have no CRD"
        assert set(lister.troubles()) == {"alignmentruns", "jobs"}
        said = lister.troubles()["alignmentruns"]
        for part in ("CustomResourceDefinition alignmentruns.boresight.dev is missing", "helm upgrade", "-f crds/"):
            assert part in said
            assert any(part in record.getMessage() for record in caplog.records)
        server.bad.clear()
        await asyncio.sleep(16)
        assert (lister.missing(), lister.troubles()) == (frozenset(), {})

    with_a_lister(main, before=before)


def test_an_age_is_that_of_the_namespace_that_was_listed_longest_ago() -> None:
    def before(server: Lists) -> None:
        server.bad[ALIGNMENT_RUNS.path("two")] = failure(403)

    async def main(server: Lists, cache: Cache, lister: Lister, woken: list[str]) -> None:
        await asyncio.sleep(5)
        assert lister.ages()["alignmentruns"] == float("inf")
        assert lister.ages()["jobs"] == pytest.approx(5)

    with_a_lister(main, ("one", "two"), before)
