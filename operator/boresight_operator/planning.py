"""The plan of a run: from its spec and sticky pins, or as it was saved before its status (or this release) changed.

The saved plan (:mod:`.objects.snapshot`) is read only where it can matter, and then once:

- The status names another plan than the one that spec and pins make now. If the wish is the same, this release plans it
  differently, and the run keeps the plan that it began with; if not, it was edited. Pins that the status has lost are
  filled in.
- There is no plan in the status of a run that has begun: the status was lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from boresight_api.pins import Pin
from boresight_api.plan import Plan, plan
from boresight_api.problems import Problem, ProblemsError
from boresight_api.status import RunStatus

from . import names
from .api import CONFIG_MAPS, Api, Object
from .errors import NotFound
from .memory import Recent
from .objects.snapshot import Snapshot, read_snapshot
from .parsed import parsed
from .plain import controller, epoch, text
from .settings import NamespaceSettings
from .views import JobView, RunView

KEPT_PLANS = 256
"""Plans in memory (35 KiB each): those of the runs that something happens to."""
KEPT_SNAPSHOTS = 64
OLD_SECONDS = 600.0
"""A run of this age without status may have lost it, even if it has no Job any more."""
ALL = ""
"""Asked for: every plan that was ever saved for the run."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan, or why there is none."""

    plan: Plan | None
    pins: Mapping[str, Pin]
    problems: tuple[Problem, ...] = ()
    pins_lost: bool = False


class Planner:
    """Plans runs; remembers plans, and what was read of saved ones."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._plans: Recent[tuple[str, int, int], tuple[str | None, Planned]] = Recent(KEPT_PLANS)
        """By run UID, generation and pins: the recipe that was asked for, and the plan."""
        self._read: Recent[tuple[str, str], tuple[Snapshot, ...]] = Recent(KEPT_SNAPSHOTS)
        """By run UID and what was asked for, newest first."""

    def plan(self, run: RunView, jobs: Sequence[JobView], now: float) -> Planned:
        """The run's plan, with what :meth:`recall` has read."""
        pins = pins_of(run.status)
        fresh = self._fresh(run, pins, run.status.recipe)
        asked = self._asked(run, jobs, fresh, now)
        if run.status.plan is not None:
            self._read.drop((run.uid, ALL))  # the next loss of the status finds what is saved by then
        if asked is None:
            return fresh
        saved = self._read.get((run.uid, asked))
        if not saved:
            return Planned(fresh.plan, pins, fresh.problems, pins_lost=asked == ALL and any(job.key for job in jobs))
        return _as_it_was(run, saved[0], pins) or self._with_pins(run, saved, pins)

    async def recall(self, run: RunView, jobs: Sequence[JobView], now: float) -> bool:
        """Read the saved plan if it can matter and was not read yet; says whether it was read now. Raises ApiError."""
        fresh = self._fresh(run, pins_of(run.status), run.status.recipe)
        asked = self._asked(run, jobs, fresh, now)
        if asked is None or self._read.get((run.uid, asked)) is not None:
            return False
        found = await (self._list(run) if asked == ALL else self._get(run, asked))
        saved = filter(None, (_snapshot(run, item) for item in sorted(found, key=_created, reverse=True)))
        self._read.put((run.uid, asked), tuple(item for item in saved if asked in (ALL, item.plan_digest)))
        return True

    def devices(
        self, run: RunView, jobs: Sequence[JobView], stages: Iterable[str], settings: NamespaceSettings, now: float
    ) -> int:
        """Devices that attempts of these stages will ask for."""
        planned, names_, per_node = self.plan(run, jobs, now).plan, set(stages), settings.devices_per_node
        computes = [stage.compute for stage in planned.stages if stage.name in names_] if planned else []
        devices = [per_node if compute.devices_per_node is None else compute.devices_per_node for compute in computes]
        return sum((compute.nodes or 1) * each for compute, each in zip(computes, devices, strict=True))

    def _asked(self, run: RunView, jobs: Sequence[JobView], fresh: Planned, now: float) -> str | None:
        """Digest of the saved plan that matters, ALL, or None.

        A lost status is noticed before anything is written in its place. From then on until ``prepare`` has reported
        there is still no plan in it; Jobs with keys, or that we have looked already, then tell it from a new run's.
        """
        status = run.status
        if run.status_problem is not None:
            return None
        if status.plan is not None:
            return None if fresh.plan is not None and fresh.plan.digest == status.plan else status.plan
        lost = not status.stages and (bool(jobs) or now - run.created > OLD_SECONDS)
        if lost or any(job.key for job in jobs) or self._read.get((run.uid, ALL)) is not None:
            return ALL
        return None

    def _fresh(self, run: RunView, pins: Mapping[str, Pin], recipe: str | None) -> Planned:
        """As this release plans it now."""
        known = hash(tuple(sorted((identity, pin.digest or "", pin.key or "") for identity, pin in pins.items())))
        place = (run.uid, run.generation, known)
        if (found := self._plans.get(place)) is not None:
            asked, planned = found
            # A plan that no recipe was asked for chose one, which the status names from then on.
            if recipe == asked or (asked is None and planned.plan is not None and recipe == planned.plan.recipe):
                return planned
        return self._plans.put(place, (recipe, _planned(run, pins, recipe)))[1]

    def _with_pins(self, run: RunView, saved: Sequence[Snapshot], pins: Mapping[str, Pin]) -> Planned:
        """Planned anew, with saved pins where the status has none."""
        found = {identity: pin for snapshot in reversed(saved) for identity, pin in snapshot.pins_by_id.items()}
        return self._fresh(run, {**found, **pins}, run.status.recipe or saved[0].recipe)

    async def _get(self, run: RunView, digest: str) -> tuple[Object, ...]:
        try:
            return (await self._api.get(CONFIG_MAPS, run.namespace, names.plan_name(run.name, run.uid, digest)),)
        except NotFound:
            return ()

    async def _list(self, run: RunView) -> tuple[Object, ...]:
        selector = f"{names.SELECTOR},{names.RUN_UID_LABEL}={run.uid},!{names.STAGE_LABEL}"
        return (await self._api.list(CONFIG_MAPS, run.namespace, labels=selector)).items


def pins_of(status: RunStatus) -> dict[str, Pin]:
    """The sticky pins, by source id."""
    return {
        source.id: Pin(
            id=source.id,
            digest=source.digest,
            key=source.key,
            revision=source.revision,
            rows=source.rows,
            licence=source.licence,
        )
        for source in status.sources
        if (source.digest is None) != (source.key is None)
    }


def _planned(run: RunView, pins: Mapping[str, Pin], recipe: str | None) -> Planned:
    try:
        return Planned(plan(parsed(run), pins, recipe=recipe), pins)
    except ProblemsError as error:
        return Planned(None, pins, error.problems)


def _as_it_was(run: RunView, saved: Snapshot, pins: Mapping[str, Pin]) -> Planned | None:
    """The saved plan, if the run still asks for it."""
    try:
        wish = parsed(run)
        return Planned(saved.plan(wish), {**pins, **saved.pins_by_id}) if saved.fits(wish) else None
    except ProblemsError as error:
        return Planned(None, pins, error.problems)


def _created(found: Object) -> float:
    return epoch(text(found, "metadata", "creationTimestamp")) or 0.0


def _snapshot(run: RunView, config_map: Object) -> Snapshot | None:
    """None for what is not this run's, or cannot be read."""
    if controller(config_map) != run.uid:
        return None
    try:
        return read_snapshot(config_map)
    except ValueError:
        return None
