"""The loop ends when the work does."""

from __future__ import annotations

import asyncio
import time

import pytest
from boresight_operator.lifetime import run_to_end


async def never_ends() -> None:
    """What a library may have left running."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


def test_the_result_and_the_failure_of_the_work_come_through() -> None:
    async def answer() -> int:
        return 42

    async def fail() -> None:
        raise ValueError("no")

    assert run_to_end(answer()) == 42
    with pytest.raises(ValueError, match="no"):
        run_to_end(fail())


def test_a_task_that_does_not_end_is_named_and_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    kept: list[asyncio.Task[None]] = []

    async def work() -> str:
        kept.append(asyncio.create_task(never_ends(), name="stubborn"))
        await asyncio.sleep(0)
        return "done"

    started = time.monotonic()
    assert run_to_end(work(), seconds=0.05) == "done"
    assert time.monotonic() - started < 30
    assert "ends without stubborn, which do not end" in caplog.text


def test_tasks_and_generators_that_end_are_ended(caplog: pytest.LogCaptureFixture) -> None:
    ended = []

    async def tidy() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("task")

    async def work() -> None:
        asyncio.create_task(tidy())  # noqa: RUF006 nobody waits for it
        await asyncio.sleep(0)

    run_to_end(work())
    assert ended == ["task"]
    assert not caplog.records
