"""Which plan a run has: its spec's, or the one that was saved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from boresight_api.base import canonical_json, sha256_hex
from boresight_operator.api import Listed, Object, Resource
from boresight_operator.errors import NotFound
from boresight_operator.objects import plan_config_map
from boresight_operator.observe import run_view
from boresight_operator.planning import OLD_SECONDS, Planned, Planner
from boresight_operator.settings import NamespaceSettings
from boresight_operator.views import JobView, Observation, Part, RunView
from builders_loop import DIGEST
from builders_manifests import an_alignment_run

NOW = 1_800_000_000.0
CREATED = "2027-01-15T08:00:00Z"


class Saved:
    """An API server that has some ConfigMaps; it counts how often it is asked."""

    def __init__(self, *config_maps: Object) -> None:
        self.config_maps = config_maps
        self.asked = 0

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        self.asked += 1
        for found in self.config_maps:
            if found["metadata"]["name"] == name:
                return found
        raise NotFound(404, "NotFound", name)

    async def list(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> Listed:
        self.asked += 1
        return Listed(self.config_maps, "1")


def a_view(status: Mapping[str, Any] | None = None, **spec: Any) -> RunView:
    document = an_alignment_run(**spec)
    metadata = {"name": "first", "namespace": "team", "uid": "uid-1", "generation": 1, "creationTimestamp": CREATED}
    return run_view({**document, "metadata": metadata, "status": status or {}})


def pinned(**spec: Any) -> dict[str, Any]:
    """A status with all sources pinned and the plan that follows."""
    fresh = Planner(Saved()).plan(a_view(**spec), (), NOW).plan  # type: ignore[arg-type]
    assert fresh is not None
    sources = [{"id": s.id, "name": s.name, "uri": s.uri, "digest": DIGEST} for s in fresh.sources]
    known = Planner(Saved()).plan(a_view({"sources": sources}, **spec), (), NOW).plan  # type: ignore[arg-type]
    assert known is not None
    return {
        "sources": sources,
        "recipe": fresh.recipe,
        "plan": known.digest,
        "stages": [{"name": "prepare", "state": "Succeeded"}],
    }


def saved_plan(status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    run = a_view(status, **spec)
    planned = Planner(Saved()).plan(run, (), NOW)  # type: ignore[arg-type]
    assert planned.plan is not None
    observation = Observation(run, NOW, NamespaceSettings(), planned.plan, planned.pins)
    return json.loads(json.dumps(plan_config_map(observation, planned.plan)[1]))  # type: ignore[no-any-return]


def by_another_release(config_map: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The same plan with another key of its last stage, and its digest."""
    plan = json.loads(config_map["data"]["plan.json"])
    plan["stages"][-1]["key"] = "cd" * 32
    digest = sha256_hex(canonical_json([[stage["name"], stage["key"]] for stage in plan["stages"]]))
    plan["planDigest"] = digest
    name = _plan_name(digest)
    return {
        **config_map,
        "metadata": {**config_map["metadata"], "name": name},
        "data": {"plan.json": json.dumps(plan)},
    }, digest


def _plan_name(digest: str) -> str:
    from boresight_operator.names import plan_name

    return plan_name("first", "uid-1", digest)


def planned(run: RunView, saved: Saved, *jobs: JobView, now: float = NOW) -> Planned:
    planner = Planner(saved)  # type: ignore[arg-type]

    async def both() -> Planned:
        await planner.recall(run, jobs, now)
        await planner.recall(run, jobs, now)
        return planner.plan(run, jobs, now)

    return asyncio.run(both())


def a_job(key: str | None) -> JobView:
    return JobView("j", "j", "policy", key, 1, Part.WORK, None, NOW)


def test_nothing_is_read_as_long_as_status_and_spec_agree() -> None:
    status, saved = pinned(), Saved()
    found = planned(a_view(status), saved)
    assert found.plan is not None
    assert (found.plan.digest, saved.asked) == (status["plan"], 0)


def test_a_run_keeps_the_plan_that_another_release_made() -> None:
    status = pinned()
    config_map, digest = by_another_release(saved_plan(status))
    saved = Saved(config_map)
    found = planned(a_view({**status, "plan": digest}), saved)
    assert found.plan is not None
    assert (found.plan.digest, found.plan.stages[-1].key, saved.asked) == (digest, "cd" * 32, 1)


def test_an_edited_run_is_planned_anew_with_the_pins_it_has() -> None:
    status = pinned()
    config_map, digest = by_another_release(saved_plan(status))
    found = planned(a_view({**status, "plan": digest}, policy={"dpo": {"beta": "0.5"}}), Saved(config_map))
    assert found.plan is not None
    assert found.plan.digest not in (None, digest, status["plan"])


def test_a_plan_that_was_never_saved_is_no_plan() -> None:
    """A status edited by hand: the name of the saved plan follows from the lie."""
    status = pinned()
    found = planned(a_view({**status, "plan": "ab" * 32}), Saved(saved_plan(status)))
    assert found.plan is not None
    assert found.plan.digest == status["plan"]


@pytest.mark.parametrize("owner", [[], [{"uid": "uid-2", "controller": True}], [{"uid": "uid-1"}]])
def test_a_plan_that_another_run_saved_is_not_ours(owner: list[dict[str, Any]]) -> None:
    status = pinned()
    config_map, digest = by_another_release(saved_plan(status))
    config_map["metadata"]["ownerReferences"] = owner
    found = planned(a_view({**status, "plan": digest}), Saved(config_map))
    assert found.plan is not None
    assert found.plan.digest == status["plan"]


def test_pins_that_a_hand_took_out_of_the_status_come_back() -> None:
    status = pinned()
    found = planned(a_view({**status, "sources": []}), Saved(saved_plan(status)))
    assert found.plan is not None
    assert found.plan.digest == status["plan"]
    assert {pin.digest for pin in found.pins.values()} == {DIGEST}


def test_a_lost_status_has_its_pins_from_the_saved_plan() -> None:
    status = pinned()
    found = planned(a_view(), Saved(saved_plan(status)), a_job("ab" * 32))
    assert found.plan is not None
    assert (found.plan.digest, found.pins_lost) == (status["plan"], False)


def test_without_a_saved_plan_the_pins_of_a_lost_status_are_lost() -> None:
    assert planned(a_view(), Saved(), a_job("ab" * 32)).pins_lost
    assert not planned(a_view(), Saved(), a_job(None)).pins_lost, "prepare had not pinned anything yet"


@pytest.mark.parametrize(("age", "asked"), [(1.0, 0), (OLD_SECONDS + 1, 1)])
def test_only_an_old_run_without_status_is_looked_up(age: float, asked: int) -> None:
    saved, run = Saved(), a_view()
    planned(run, saved, now=run.created + age)
    assert saved.asked == asked


def test_what_cannot_be_planned_says_why() -> None:
    found = planned(a_view(task="TextToTexts"), Saved())
    assert found.plan is None
    assert [problem.path for problem in found.problems] == ["spec.task"]
