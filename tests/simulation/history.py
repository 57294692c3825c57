"""How a history is told and how it ends: faults stop, all comes to rest, nothing moves any more, all can be deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from boresight_operator import api
from boresight_operator.api import Object

from .invariants import Invariants, stuck
from .process import SimulationLoop
from .registry import name_of
from .user import User
from .world import Crash, World, simulate

REST_SECONDS = 6 * 3600.0
"""Within so much virtual time everything has come to rest once faults have stopped."""
QUIET_SECONDS = 150.0
"""Rest: so long nothing has changed. Longer than any back-off."""
IDLE_SECONDS = 1200.0
"""Then nobody writes for so long: several full lists."""
QUICK_IDLE_SECONDS = 330.0
POLL_SECONDS = 5.0


@dataclass
class Told:
    """What a scenario has in hand."""

    world: World
    user: User
    invariants: Invariants
    quick: bool = False
    """Whether the end is told in short: of one story, many are told."""
    told: list[str] = field(default_factory=list)
    """Targets of the requests until the story was told; what follows is the same in every story."""

    async def until(self, happened: Callable[[], bool], what: str, seconds: float = 3600.0) -> None:
        """Wait for something, and check invariants on the way. Raises AssertionError if it does not come."""
        end = self.world.now + seconds
        while not happened():
            self.invariants.check()
            if self.world.now >= end:
                raise AssertionError(f"{what}: not within {seconds:g} s; {shown(self.world)}")
            await asyncio.sleep(0.25)

    async def state(self, name: str, stage: str, *states: str, seconds: float = 3600.0) -> None:
        """Wait until a stage is in one of ``states``."""
        await self.until(lambda: self.stage(name, stage).get("state") in states, f"{name}/{stage} {states}", seconds)

    async def end_of(self, name: str, status: str, seconds: float = 3600.0) -> None:
        """Wait until the run is over, with this status of Succeeded."""
        await self.until(lambda: self.succeeded(name) in {"True", "False"}, f"{name} ends", seconds)
        found = condition_of(self.user.find(name), "Succeeded")
        assert found["status"] == status, f"{name}: {found}\n{shown(self.world)}"

    async def works(self, name: str, stage: str) -> None:
        """Wait until a container of the stage runs."""
        await self.until(lambda: bool(self.running(name, stage)), f"{name}/{stage} runs")

    def stage(self, name: str, stage: str) -> dict[str, Any]:
        """The stage's status; empty if there is none."""
        run = self.user.find(name)
        stages = run.get("status", {}).get("stages", ()) if run is not None else ()
        return next((dict(item) for item in stages if item["name"] == stage), {})

    def running(self, name: str, stage: str) -> list[Object]:
        """Pods of the stage that run."""
        return [pod for pod in self.user.pods(name, stage) if pod["status"]["phase"] == "Running"]

    def succeeded(self, name: str) -> str:
        """Status of the run's condition Succeeded, or nothing."""
        return condition_of(self.user.find(name), "Succeeded").get("status", "")

    async def rest(self) -> None:
        """Faults are over; wait until nothing changes any more, and see that it is right so."""
        self.world.calm()
        world, end = self.world, self.world.now + REST_SECONDS
        quiet_since, version = world.now, self._version()
        while world.now - quiet_since < QUIET_SECONDS or any(stuck(run) for run in world.runs()):
            self.invariants.check()
            if world.now >= end:
                break
            await asyncio.sleep(POLL_SECONDS)
            if (latest := self._version()) != version:
                quiet_since, version = world.now, latest
        self.invariants.at_rest()

    def _version(self) -> int:
        """Of the last write that matters."""
        return max(
            (int(obj["metadata"]["resourceVersion"]) for kind in KINDS for obj in self.world.registry.all(kind)),
            default=0,
        )

    async def idle(self) -> None:
        """At rest nobody writes, however often everything is listed."""
        before = len(self.world.writes)
        await asyncio.sleep(QUICK_IDLE_SECONDS if self.quick else IDLE_SECONDS)
        wrote = [(change.type, change.resource.kind, name_of(change.new)) for change in self.world.writes[before:]]
        assert not wrote, f"nothing happened, and yet: {wrote[:10]}"
        self.invariants.check()

    async def delete_all(self) -> None:
        """Every run goes, and with it everything but the artifacts."""
        before = dict(self.world.store.artifacts)
        for run in self.world.runs():
            self.user.delete(name_of(run))
        await asyncio.sleep(60.0 if self.quick else 300.0)
        self.invariants.nothing_left()
        assert before.items() <= self.world.store.artifacts.items()

    async def end(self) -> None:
        """Rest, idle, delete."""
        self.told = [target for _, _, target in self.world.requests]
        await self.rest()
        await self.idle()
        await self.delete_all()


KINDS = (*api.RUNS, api.JOBS, api.PODS, api.CONFIG_MAPS, api.SERVICES, api.NETWORK_POLICIES)
Story = Callable[[Told], Awaitable[None]]


def condition_of(run: Object | None, kind: str) -> dict[str, Any]:
    """A condition of a run, whatever its status; empty if it has none."""
    found = run.get("status", {}).get("conditions", ()) if run is not None else ()
    return next((dict(item) for item in found if item["type"] == kind), {})


def shown(world: World) -> str:
    """All runs in a line each."""
    lines = []
    for run in world.runs():
        stages = run.get("status", {}).get("stages", ())
        told = [f"{s['name']}={s['state']}({s.get('reason')})#{s.get('attempt')}" for s in stages]
        lines.append(f"{run['kind']} {name_of(run)}: {condition_of(run, 'Succeeded').get('reason')} {' '.join(told)}")
    return "\n".join(lines)


def tell(
    story: Story,
    *,
    seed: int = 0,
    crash: Crash | None = None,
    standby: bool = False,
    quick: bool = False,
    **options: Any,
) -> Told:
    """Play ``story`` in a new world with one operator process, or with a second one. Raises what it finds."""

    async def play(loop: SimulationLoop) -> Told:
        world = World(loop, seed, crash=crash, **options)
        invariants = Invariants(world)
        told = Told(world, User(world, invariants), invariants, quick)
        try:
            world.start_operator("operator-a")
            if standby:
                world.start_operator("operator-b")
            await story(told)
            invariants.check()
        finally:
            invariants.close()
            await world.close()
        return told

    told = simulate(play)
    assert isinstance(told, Told)
    return told
