"""Where the probes and metrics are served, and what port 0 means."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest
from aiohttp import ClientSession
from boresight_operator.telemetry import serve
from prometheus_client import CollectorRegistry


class Well:
    """Ready and healthy."""

    def not_ready(self) -> Sequence[str]:
        return ()

    def unhealthy(self) -> Sequence[str]:
        return ()


async def listen(port: int) -> tuple[object, list[tuple[str, int]]]:
    """The server, and every address that it listens at."""
    runner, told = await serve(CollectorRegistry(), Well(), port)
    found = [(address[0], address[1]) for address in runner.addresses]
    assert {told} == {number for _, number in found}, "one port, and it is the one that is told"
    return runner, found


async def answers(host: str, port: int) -> bool:
    async with ClientSession() as session, session.get(f"http://{host}:{port}/readyz") as answer:
        return answer.status == 200


def test_port_0_is_one_free_port_of_the_loopback() -> None:
    async def life() -> None:
        first, here = await listen(0)
        second, there = await listen(0)
        assert [host for host, _ in (*here, *there)] == ["127.0.0.1", "127.0.0.1"]
        assert here != there
        assert all([await answers(*address) for address in (*here, *there)])
        for runner in (first, second):
            await runner.cleanup()  # type: ignore[attr-defined]

    asyncio.run(life())


def test_another_port_is_that_port_of_all_addresses() -> None:
    async def life() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        runner, found = await listen(port)
        assert {number for _, number in found} == {port}
        assert "0.0.0.0" in {host for host, _ in found}
        assert await answers("127.0.0.1", port)
        await runner.cleanup()  # type: ignore[attr-defined]

    asyncio.run(life())


def test_a_port_that_is_taken_is_an_error() -> None:
    async def life() -> None:
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))
            taken.listen()
            with pytest.raises(OSError, match=str(taken.getsockname()[1])):
                await serve(CollectorRegistry(), Well(), taken.getsockname()[1])

    asyncio.run(life())
