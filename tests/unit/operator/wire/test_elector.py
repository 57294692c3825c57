"""One process writes; after a crash, a stop or a loss of the network another one does, and never two."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any

import pytest
from boresight_operator.api import Answer
from boresight_operator.elector import Elector
from boresight_operator.errors import LeaseOver
from boresight_operator.settings import Settings
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_api import failure, ok
from virtual_time import VirtualTimeLoop, run

PATH = "/apis/coordination.k8s.io/v1/namespaces/system/leases"


class Leases:
    """An API server that knows one Lease. ``faults`` says what happens to a request, by the path of its sender."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.log: list[tuple[float, str, str]] = []
        """(time, who, method)."""

    def store(self, lease: Mapping[str, Any]) -> Answer:
        self.version += 1
        self.lease = {**lease, "metadata": {**lease["metadata"], "resourceVersion": str(self.version)}}
        return ok(self.lease)

    def answer(self, method: str, path: str, body: Any) -> Answer:
        if method == "POST":
            assert path == PATH
            return failure(409, "AlreadyExists") if self.lease else self.store(body)
        assert path == f"{PATH}/boresight-operator"
        if self.lease is None:
            return failure(404, "NotFound")
        if method == "GET":
            return ok(self.lease)
        if body["metadata"]["resourceVersion"] != str(self.version):
            return failure(409, "Conflict")
        return self.store(body)

    @property
    def holder(self) -> str:
        return self.lease["spec"]["holderIdentity"] if self.lease else ""


class Line:
    """One process's way to the server. ``fate``: "" (works), "cut", "lost answer", "slow"."""

    def __init__(self, server: Leases, who: str, fate: Callable[[], str] = lambda: "") -> None:
        self.server, self.who, self.fate = server, who, fate

    async def request(self, method: str, path: str, *, body: bytes | None, **_: Any) -> Answer:
        fate = self.fate()
        await asyncio.sleep(1e6 if fate == "slow" else 0.01)
        if fate == "cut":
            raise ConnectionRefusedError("refused")
        answer = self.server.answer(method, path, json.loads(body) if body else None)
        self.server.log.append((asyncio.get_running_loop().time(), self.who, method))
        await asyncio.sleep(0.01)
        if fate == "lost answer":
            raise ConnectionResetError("reset")
        return answer


def a_candidate(server: Leases, who: str, fate: Callable[[], str] = lambda: "", **rest: Any) -> Elector:
    configured = Settings(identity=who, pod_name=who, lease_namespace="system", **rest)
    return Elector(
        Line(server, who, fate),
        configured,
        wall=lambda: 1.8e9 + now() - 1_000,
        random=Random(who),
        metric=lambda *_: None,
    )


def now() -> float:
    return asyncio.get_running_loop().time()


async def leads_within(elector: Elector, seconds: float) -> float:
    begun = now()
    await asyncio.wait_for(elector.wait_until_leading(), seconds)
    elector.check()
    return now() - begun


def of_two(main: Callable[[Leases, Elector, Elector, asyncio.Task[None]], Awaitable[None]]) -> None:
    """``main`` with a leader (and its task) and a standby that has looked for a while."""

    async def body() -> None:
        server = Leases()
        first, second = a_candidate(server, "first"), a_candidate(server, "second")
        task = asyncio.create_task(first.run())
        await leads_within(first, 1)
        other = asyncio.create_task(second.run())
        await asyncio.sleep(30.1)
        assert (first.leading, second.leading) == (True, False)
        await main(server, first, second, task)
        task.cancel()
        other.cancel()

    run(body())


def test_a_standby_refuses_every_write() -> None:
    async def main(server: Leases, first: Elector, second: Elector, task: asyncio.Task[None]) -> None:
        first.check()
        with pytest.raises(LeaseOver, match="second"):
            second.check()

    of_two(main)


def test_after_a_crash_the_standby_leads_within_15_seconds_and_not_before_10() -> None:
    async def main(server: Leases, first: Elector, second: Elector, task: asyncio.Task[None]) -> None:
        renewed = max(at for at, who, method in server.log if (who, method) == ("first", "PUT"))
        task.cancel()
        await leads_within(second, 15)
        assert now() - renewed >= 10
        assert server.lease is not None
        assert server.lease["spec"]["leaseTransitions"] == 1

    of_two(main)


def test_after_a_release_the_standby_leads_within_a_second() -> None:
    async def main(server: Leases, first: Elector, second: Elector, task: asyncio.Task[None]) -> None:
        await first.release()
        with pytest.raises(LeaseOver):
            first.check()
        assert await leads_within(second, 1) < 0.4
        assert await asyncio.wait_for(task, 0.1) is None, "run() returns after a release"

    of_two(main)


def test_a_process_that_was_stopped_for_a_minute_writes_nothing_more() -> None:
    async def main(server: Leases, first: Elector, second: Elector, task: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        first.check()
        loop.jump(60)  # no task has run since the check, as after SIGCONT
        with pytest.raises(LeaseOver):
            first.check()
        with pytest.raises(LeaseOver):
            await asyncio.wait_for(task, 3)

    of_two(main)


def test_a_renewal_that_was_under_way_when_the_process_was_stopped_extends_nothing() -> None:
    async def main(server: Leases, first: Elector, second: Elector, task: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        puts = len(server.log)
        while len(server.log) == puts or server.log[-1][1:] != ("first", "PUT"):
            await asyncio.sleep(0.001)
        loop.jump(60)  # the server has renewed, its answer comes now
        await asyncio.sleep(0.02)
        with pytest.raises(LeaseOver):
            first.check()

    of_two(main)


def test_cut_off_the_leader_stops_itself_before_anybody_may_take_over() -> None:
    async def main() -> None:
        server, fates = Leases(), {"first": ""}
        first = a_candidate(server, "first", lambda: fates["first"])
        second = a_candidate(server, "second")
        task = asyncio.create_task(first.run())
        await leads_within(first, 1)
        standby = asyncio.create_task(second.run())
        await asyncio.sleep(20)
        fates["first"] = "cut"
        cut = now()
        with pytest.raises(LeaseOver, match="could not be renewed"):
            await asyncio.wait_for(task, 10)
        stopped = now()
        assert stopped - cut <= 6.1
        await leads_within(second, 15)
        assert now() - stopped > 2
        standby.cancel()

    run(main())


@pytest.mark.parametrize("fate", ["cut", "lost answer", "slow"])
def test_two_renewals_that_fail_do_no_harm(fate: str) -> None:
    async def main() -> None:
        server = Leases()
        bad = {"until": 0.0}
        first = a_candidate(server, "first", lambda: fate if now() < bad["until"] else "")
        task = asyncio.create_task(first.run())
        await leads_within(first, 1)
        for _ in range(5):
            await asyncio.sleep(10)
            bad["until"] = now() + 3
            for _ in range(40):
                await asyncio.sleep(0.1)
                first.check()
        task.cancel()

    run(main())


def test_an_api_server_that_answers_too_late_each_time_costs_no_lease() -> None:
    """The next renewal finds out by its conflict that the one before has arrived."""

    async def main() -> None:
        server, late = Leases(), {"from": 0.0}
        first = a_candidate(server, "first", lambda: "lost answer" if late["from"] and now() % 1 < 0.6 else "")
        task = asyncio.create_task(first.run())
        await leads_within(first, 1)
        late["from"] = now()
        for _ in range(600):
            await asyncio.sleep(0.1)
            first.check()
        task.cancel()

    run(main())


def test_a_taking_over_whose_answer_is_lost_is_noticed_at_the_next_look() -> None:
    async def main() -> None:
        server, fates = Leases(), iter(["", "lost answer"])
        first = a_candidate(server, "first", lambda: next(fates, ""))
        task = asyncio.create_task(first.run())
        assert await leads_within(first, 5) < 2
        task.cancel()

    run(main())


def test_a_lease_that_was_taken_or_deleted_ends_the_leader() -> None:
    async def main(server: Leases, first: Elector, second: Elector, task: asyncio.Task[None]) -> None:
        server.lease = None
        with pytest.raises(LeaseOver, match=r"gone|second"):
            await asyncio.wait_for(task, 3)
        with pytest.raises(LeaseOver):
            first.check()

    of_two(main)


def test_an_editor_of_the_lease_costs_one_conflict_and_keeps_its_labels() -> None:
    async def main(server: Leases, first: Elector, second: Elector, task: asyncio.Task[None]) -> None:
        assert server.lease is not None
        server.store({**server.lease, "metadata": {**server.lease["metadata"], "labels": {"a": "b"}}})
        for _ in range(100):
            await asyncio.sleep(0.1)
            first.check()
        assert server.lease["metadata"]["labels"] == {"a": "b"}

    of_two(main)


def test_a_holder_with_a_longer_lease_is_waited_for() -> None:
    async def main() -> None:
        server = Leases()
        old = a_candidate(server, "old", lease_seconds=40)
        task = asyncio.create_task(old.run())
        await leads_within(old, 1)
        task.cancel()
        new = asyncio.create_task((candidate := a_candidate(server, "new")).run())
        with pytest.raises(TimeoutError):
            await leads_within(candidate, 39)
        await leads_within(candidate, 3)
        new.cancel()

    run(main())


def test_a_lease_that_our_own_name_holds_at_the_start_is_somebody_elses() -> None:
    async def main() -> None:
        server = Leases()
        before = a_candidate(server, "same")
        task = asyncio.create_task(before.run())
        await leads_within(before, 1)
        task.cancel()
        after = a_candidate(server, "same")
        again = asyncio.create_task(after.run())
        with pytest.raises(TimeoutError):
            await leads_within(after, 9)
        again.cancel()

    run(main())


def refused(code: int, reason: str, message: str) -> Callable[[Leases], None]:
    """The server refuses every writing of the Lease."""

    def refuse(server: Leases) -> None:
        answer = server.answer
        no = failure(code, reason, message)
        server.answer = lambda method, path, body: answer(method, path, body) if method == "GET" else no  # type: ignore[method-assign]

    return refuse


FORBIDDEN = refused(403, "Forbidden", 'User "system:serviceaccount:x:y" cannot update resource "leases"')
BROKEN = refused(503, "ServiceUnavailable", "etcdserver: no leader")


@pytest.mark.parametrize(
    ("refuse", "level", "said"),
    [
        (
            FORBIDDEN,
            "ERROR",
            "Lease system/boresight-operator: this process can never lead; its Role must allow get, cr",
        ),
        (BROKEN, "WARNING", "etcdserver: no leader"),
    ],
    ids=["forbidden", "broken"],
)
def test_a_standby_whose_writes_are_refused_says_so_once_and_remembers_only_the_last_seconds(
    refuse: Callable[[Leases], None], level: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        server = Leases()
        refuse(server)
        candidate = a_candidate(server, "first")
        task = asyncio.create_task(candidate.run())
        await asyncio.sleep(600)
        assert not candidate.leading
        assert len(server.log) > 1000
        assert len(candidate._unanswered) <= 6 / 0.25
        (record,) = caplog.records
        assert record.levelname == level
        assert said in record.getMessage()
        del server.answer  # the right is granted, the server is well again
        await leads_within(candidate, 1)
        task.cancel()

    run(main())


def test_trouble_that_comes_back_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = Leases()
        leader, standby = a_candidate(server, "leader"), a_candidate(server, "standby", lambda: fates["standby"])
        fates = {"standby": "cut"}
        tasks = [asyncio.create_task(candidate.run()) for candidate in (leader, standby)]
        for fate in ("cut", "", "cut", ""):
            fates["standby"] = fate
            await asyncio.sleep(20)
        assert [record.getMessage() for record in caplog.records if "refused" in record.getMessage()] == [
            "Lease system/boresight-operator: 0 NoAnswer: GET "
            "/apis/coordination.k8s.io/v1/namespaces/system/leases/boresight-operator: refused"
        ] * 2
        for task in tasks:
            task.cancel()

    run(main())


def test_without_election_it_leads_at_once_and_asks_nobody() -> None:
    async def main() -> None:
        server = Leases()
        alone = a_candidate(server, "alone", leader_election=False)
        task = asyncio.create_task(alone.run())
        await leads_within(alone, 0.1)
        await asyncio.sleep(100)
        alone.check()
        await alone.release()
        with pytest.raises(LeaseOver):
            alone.check()
        await asyncio.wait_for(task, 1)
        assert server.log == []

    run(main())


def test_the_lease_says_what_other_tools_expect() -> None:
    async def main(server: Leases, first: Elector, second: Elector, task: asyncio.Task[None]) -> None:
        assert server.lease is not None
        assert server.lease["spec"] == {
            "holderIdentity": "first",
            "leaseDurationSeconds": 10,
            "acquireTime": "2027-01-15T08:00:00.020000Z",
            "renewTime": "2027-01-15T08:00:30.020000Z",
            "leaseTransitions": 0,
        }

    of_two(main)


def test_a_leader_costs_one_request_each_two_seconds_and_a_standby_at_most_four_a_second() -> None:
    async def main(server: Leases, first: Elector, second: Elector, task: asyncio.Task[None]) -> None:
        begun = now()
        await asyncio.sleep(100)
        sent = [who for at, who, _ in server.log if at > begun]
        assert sent.count("first") <= 51
        assert sent.count("second") <= 400

    of_two(main)


@settings(max_examples=50, deadline=None)
@given(
    fates=st.lists(
        st.tuples(
            st.sampled_from(["first", "second", "third"]),
            st.sampled_from(["", "cut", "lost answer", "slow"]),
            st.floats(0, 15),
        ),
        max_size=20,
    ),
    seed=st.integers(0, 100),
)
def test_never_two_and_always_one_again(fates: list[tuple[str, str, float]], seed: int) -> None:
    """Three processes that start again when they lose, and every kind of fault: at no moment two of them may write."""

    async def main() -> None:
        server = Leases()
        fate = {"first": "", "second": "", "third": ""}
        present: dict[str, Elector] = {}
        generation = itertools.count()

        async def process(who: str) -> None:
            while True:
                present[who] = a_candidate(server, f"{who}-{next(generation)}", lambda: fate[who])
                try:
                    await present[who].run()
                except LeaseOver:
                    await asyncio.sleep(1)

        async def watch() -> None:
            while True:
                assert sum(elector.leading for elector in present.values()) <= 1
                await asyncio.sleep(0.1)

        tasks = [asyncio.create_task(process(who)) for who in fate]
        watcher = asyncio.create_task(watch())
        for who, what, seconds in fates:
            fate[who] = what
            await asyncio.sleep(seconds)
        fate.update(dict.fromkeys(fate, ""))
        await asyncio.sleep(16)
        assert sum(elector.leading for elector in present.values()) == 1
        assert not watcher.done(), watcher.exception()
        for task in (*tasks, watcher):
            task.cancel()

    run(main())
