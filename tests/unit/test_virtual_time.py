"""The clock that jumps."""

from __future__ import annotations

import asyncio
import time

import pytest
from virtual_time import Deadlock, run


def test_a_day_of_sleep_costs_no_time() -> None:
    async def sleeps() -> float:
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(86_400 * 3)
        return asyncio.get_running_loop().time() - before

    real = time.monotonic()
    assert run(sleeps()) == pytest.approx(86_400 * 3)
    assert time.monotonic() - real < 1


def test_timers_fire_in_the_order_of_their_times() -> None:
    async def main() -> list[int]:
        seen: list[int] = []

        async def after(seconds: int) -> None:
            await asyncio.sleep(seconds)
            seen.append(seconds)

        await asyncio.gather(*(after(n) for n in (5, 1, 4, 2, 3)))
        return seen

    assert run(main()) == [1, 2, 3, 4, 5]


def test_a_time_out_ends_a_wait_for_ever() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 60)

    run(main())


def test_waiting_for_nothing_is_reported_with_the_tasks_that_wait() -> None:
    async def waits_for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="waits_for_ever"):
        run(waits_for_ever())


def test_an_error_of_the_coroutine_comes_out() -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run(fails())
