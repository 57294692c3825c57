"""The queue: each key once, one worker a key, delays kept, nobody starved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from time import perf_counter

import pytest
from boresight_operator.work_queue import CALM_SECONDS, LONGEST_BACK_OFF_SECONDS, WorkQueue
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import run


def now() -> float:
    return asyncio.get_running_loop().time()


def on_a_queue(main: Callable[[WorkQueue], Awaitable[None]]) -> None:
    async def body() -> None:
        await main(WorkQueue(Random(1)))

    run(body())


async def wait_for_key(queue: WorkQueue) -> tuple[str, float]:
    """The next key and the seconds until it came."""
    begun = now()
    return await queue.get(), now() - begun


def test_keys_come_in_order_and_once() -> None:
    async def main(queue: WorkQueue) -> None:
        for key in "abcab":
            queue.add(key)
        assert queue.depth == 3
        assert [await queue.get() for _ in range(3)] == ["a", "b", "c"]
        assert queue.depth == 0

    on_a_queue(main)


def test_new_keys_go_before_those_that_come_again_but_for_one_turn_in_sixteen() -> None:
    async def main(queue: WorkQueue) -> None:
        for key in "abc":
            queue.add(key)
        new = [f"new-{number}" for number in range(32)]
        for key in new:
            queue.add(key, new=True)
        assert queue.depth == 35
        assert [await queue.get() for _ in range(35)] == [*new[:15], "a", *new[15:30], "b", *new[30:], "c"]

    on_a_queue(main)


def test_what_failed_comes_back_at_once_when_the_cause_is_over() -> None:
    async def main(queue: WorkQueue) -> None:
        for _ in range(8):
            queue.add("a")
            await queue.get()
            queue.retry("a")
            queue.done("a")
        queue.hurry()
        key, waited = await wait_for_key(queue)
        assert key == "a"
        assert waited <= CALM_SECONDS

    on_a_queue(main)


def test_a_key_at_work_waits_for_its_worker_and_comes_again_once() -> None:
    async def main(queue: WorkQueue) -> None:
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        queue.add("a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 5)
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert (queue.depth, queue.delayed) == (0, 0)

    on_a_queue(main)


@pytest.mark.parametrize("delays", [(30, 5), (5, 30)])
def test_the_earliest_of_several_delays_counts(delays: tuple[float, float]) -> None:
    async def main(queue: WorkQueue) -> None:
        for delay in delays:
            queue.add("a", delay)
        assert queue.delayed == 1
        assert await wait_for_key(queue) == ("a", pytest.approx(5))
        queue.done("a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 60)

    on_a_queue(main)


def test_an_event_overtakes_a_delay() -> None:
    async def main(queue: WorkQueue) -> None:
        queue.add("a", 3600)
        queue.add("a")
        assert await wait_for_key(queue) == ("a", 0)

    on_a_queue(main)


def test_a_delay_that_is_asked_for_at_work_counts_from_then() -> None:
    async def main(queue: WorkQueue) -> None:
        queue.add("a")
        await queue.get()
        queue.add("a", 10)
        await asyncio.sleep(4)
        queue.done("a")
        assert await wait_for_key(queue) == ("a", pytest.approx(6))

    on_a_queue(main)


def test_pauses_after_failures_double_up_to_a_minute_and_begin_anew_after_success() -> None:
    async def main(queue: WorkQueue) -> None:
        async def fail() -> float:
            queue.retry("a")
            queue.done("a")
            return (await wait_for_key(queue))[1]

        queue.add("a")
        await queue.get()
        pauses = [await fail() for _ in range(14)]
        assert all(min(60, 0.1 * 2**n) / 2 <= p <= min(60, 0.1 * 2**n) + 1e-6 for n, p in enumerate(pauses)), pauses
        assert pauses[-1] >= LONGEST_BACK_OFF_SECONDS / 2
        queue.forget("a")
        assert await fail() <= 0.1 + 1e-6

    on_a_queue(main)


@pytest.mark.parametrize("when", ["before", "after"])
def test_events_cannot_bring_a_failing_key_back_at_once(when: str) -> None:
    """A run that writes, wakes itself by that, and then fails would otherwise ask the API server without end."""

    async def main(queue: WorkQueue) -> None:
        tries = 0
        queue.add("a")
        begun = now()
        while now() - begun < 60:
            await queue.get()
            tries += 1
            if when == "before":
                queue.add("a")
            queue.retry("a")
            queue.done("a")
            if when == "after":
                queue.add("a")
        assert tries <= 60 / CALM_SECONDS + 10

    on_a_queue(main)


def test_an_event_brings_a_failing_key_back_before_its_long_pause_is_over() -> None:
    async def main(queue: WorkQueue) -> None:
        queue.add("a")
        for _ in range(12):
            await queue.get()
            queue.retry("a")
            queue.done("a")
        queue.add("a")
        _, waited = await wait_for_key(queue)
        assert waited <= CALM_SECONDS + 1e-6

    on_a_queue(main)


def test_a_worker_that_is_cancelled_takes_no_key_with_it() -> None:
    async def main(queue: WorkQueue) -> None:
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        assert await asyncio.wait_for(second, 1) == "a"

    on_a_queue(main)


def test_the_age_is_that_of_the_key_that_has_been_ready_longest() -> None:
    async def main(queue: WorkQueue) -> None:
        assert queue.oldest_age == 0
        queue.add("late", 7)
        queue.add("a")
        await asyncio.sleep(10)
        assert queue.oldest_age == pytest.approx(10)
        await queue.get()
        assert queue.oldest_age == pytest.approx(3)

    on_a_queue(main)


def test_twenty_thousand_keys_take_no_longer_each_than_a_thousand() -> None:
    def seconds_a_key(count: int) -> float:
        async def main() -> float:
            queue = WorkQueue(Random(1))
            begun = perf_counter()
            for n in range(count):
                queue.add(str(n), n % 977)
                queue.add(str(n), n % 13)
            for _ in range(count):
                queue.done(await queue.get())
            return (perf_counter() - begun) / count

        return run(main())

    assert seconds_a_key(20_000) < 20 * seconds_a_key(1_000)


def test_keys_that_are_delayed_and_overtaken_again_and_again_leave_nothing_behind() -> None:
    async def main(queue: WorkQueue) -> None:
        for _ in range(10_000):
            queue.add("a", 3600)
            queue.add("a")
            await queue.get()
            queue.done("a")
        assert len(queue._later) < 200

    on_a_queue(main)


KEYS = st.sampled_from("abcde")
ACTION = st.one_of(
    st.tuples(st.just("add"), KEYS, st.floats(0, 50)),
    st.tuples(st.just("sleep"), st.just(""), st.floats(0, 20)),
)


@settings(max_examples=200, deadline=None)
@given(
    actions=st.lists(ACTION, min_size=1, max_size=40),
    workers=st.integers(1, 4),
    failing=st.sets(KEYS, max_size=2),
    seed=st.integers(0, 1000),
)
def test_any_history_is_worked_off_by_one_worker_a_key_and_in_time(
    actions: list[tuple[str, str, float]], workers: int, failing: set[str], seed: int
) -> None:
    """Work on a key begins after each add of it, no later than the delay and the other keys' work take."""
    work_seconds = 0.5
    random = Random(seed)
    begun: dict[str, list[float]] = {key: [] for key in "abcde"}

    async def main() -> list[tuple[str, float, float]]:
        queue = WorkQueue(random)
        at_work: set[str] = set()

        async def worker() -> None:
            while True:
                key = await queue.get()
                assert key not in at_work
                at_work.add(key)
                begun[key].append(now())
                await asyncio.sleep(random.uniform(0, work_seconds))
                queue.retry(key) if key in failing else queue.forget(key)
                at_work.remove(key)
                queue.done(key)

        tasks = [asyncio.create_task(worker()) for _ in range(workers)]
        wanted = []
        for what, key, number in actions:
            if what == "sleep":
                await asyncio.sleep(number)
            else:
                queue.add(key, number)
                wanted.append((key, now(), now() + number))
        await asyncio.sleep(100)
        for task in tasks:
            assert not task.done() or task.exception() is None
            task.cancel()
        return wanted

    slack = 6 * work_seconds
    for key, added, due in run(main()):
        calm = CALM_SECONDS if key in failing else 0
        assert any(added <= at <= due + slack + calm for at in begun[key]), (key, added, due, begun[key])
    for key in "abcde":
        if key not in failing:
            assert len(begun[key]) <= sum(1 for what, added, _ in actions if what == "add" and added == key)
