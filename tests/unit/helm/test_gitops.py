"""What GitOps tools make of a run in every situation of docs/situations.md: kstatus and Flux by their own code, Argo CD
by its Lua interpreter. The statuses are those that the operator's policy writes.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from boresight_api.crd import UNSEEN
from boresight_operator.names import RETRY_ANNOTATION
from builders_operator import World, a_run
from kits.chart import CHART
from unit.operator.decide.test_situations import SITUATIONS, rows

FOLDER = CHART / "gitops"
KINDS = ("AlignmentRun", "FeedbackSynthesis", "EvalRun")
ROWS = rows()

Object = dict[str, Any]
Judge = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def judge(gitops: Path) -> Judge:
    """What a tool says about each of several objects."""

    def run(objects: Sequence[Object], *arguments: str | Path) -> list[Any]:
        command = [str(gitops), *map(str, arguments)]
        done = subprocess.run(command, input=json.dumps(objects), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: list[Any] = json.loads(done.stdout)
        return found

    return run


def document(world: World) -> Object:
    """The run as the API server holds it."""
    metadata: Object = {"name": "first", "namespace": "team", "generation": world.generation}
    if world.deleting:
        metadata["deletionTimestamp"] = "2026-11-22T00:00:00Z"
    status = world.status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"apiVersion": "boresight.dev/v1alpha1", "kind": "AlignmentRun", "metadata": metadata, "status": status}


@pytest.fixture(scope="module")
def runs() -> dict[str, Object]:
    """One in every situation."""
    return {name: document(build()) for name, build in SITUATIONS.items()}


def health_check_exprs() -> list[Object]:
    exprs: list[Object] = yaml.safe_load((FOLDER / "flux-kustomization.yaml").read_text())["spec"]["healthCheckExprs"]
    return exprs


@pytest.fixture(scope="module")
def expressions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flux' health check expressions for an AlignmentRun, as JSON."""
    path = tmp_path_factory.mktemp("flux") / "expressions.json"
    path.write_text(json.dumps(health_check_exprs()[0]))
    return path


# -- every situation -------------------------------------------------------------------------------------------------


def test_kstatus_says_what_the_page_says(judge: Judge, runs: dict[str, Object]) -> None:
    found = judge(list(runs.values()), "kstatus")
    assert dict(zip(runs, found, strict=True)) == {name: ROWS[name].kstatus for name in runs}


def test_argo_cd_says_what_the_page_says_and_why(judge: Judge, runs: dict[str, Object]) -> None:
    found = dict(zip(runs, judge(list(runs.values()), "lua", FOLDER / "health.lua"), strict=True))
    assert {name: said["status"] for name, said in found.items()} == {name: ROWS[name].argo for name in runs}
    assert [name for name, said in found.items() if not said["message"]] == []
    for name, said in found.items():
        if said["status"] == "Degraded":
            stalled = next(c for c in runs[name]["status"]["conditions"] if c["type"] == "Stalled")
            assert said["message"] == (stalled["message"] or stalled["reason"])


def test_flux_waits_for_the_end_when_it_is_told_to(judge: Judge, runs: dict[str, Object], expressions: Path) -> None:
    found = judge(list(runs.values()), "flux", expressions)
    ends = {"Healthy": "Current", "Degraded": "Failed"}
    assert dict(zip(runs, found, strict=True)) == {name: ends.get(ROWS[name].argo, "InProgress") for name in runs}


def test_flux_has_one_rule_for_all_three_kinds() -> None:
    exprs = health_check_exprs()
    assert [expression.pop("kind") for expression in exprs] == list(KINDS)
    assert exprs[0] == exprs[1] == exprs[2]


# -- between two looks of the operator ---------------------------------------------------------------------------------


def unseen() -> list[Object]:
    """A run that was just made, and ones that were edited after they had ended well, badly, or were suspended."""
    new = {**document(SITUATIONS["Running"]()), "status": dict(UNSEEN)}
    edited = [document(SITUATIONS[name]()) for name in ("Succeeded", "Diverged", "Suspended")]
    for item in edited:
        item["metadata"]["generation"] += 1
    return [new, *edited]


def test_what_the_operator_has_not_seen_is_in_progress(judge: Judge, expressions: Path) -> None:
    assert [said["status"] for said in judge(unseen(), "lua", FOLDER / "health.lua")] == ["Progressing"] * 4
    assert judge(unseen(), "flux", expressions) == ["InProgress"] * 4
    assert judge(unseen(), "kstatus") == ["InProgress"] * 4


def test_without_the_default_of_the_crd_a_new_run_would_look_ready(judge: Judge, expressions: Path) -> None:
    """kstatus takes an object without any status for one of a kind that has none. Flux cannot evaluate an expression
    on it, and looks again."""
    new = unseen()[:1]
    del new[0]["status"]
    assert judge(new, "kstatus") == ["Current"]
    assert judge(new, "flux", expressions) == ["Unknown"]


def test_a_run_s_whole_life_never_looks_failed_or_ready_too_early(judge: Judge, expressions: Path) -> None:
    world = a_run()
    life = [document(world.settle())]
    for stage in ("prepare", "feedback-model", "synthesis", "policy", "evaluation"):
        for step in (lambda stage=stage: world.runs(stage), lambda stage=stage: world.succeeds(stage)):
            step()
            life.append(document(world))
    assert judge(life, "flux", expressions) == ["InProgress"] * (len(life) - 1) + ["Current"]
    kstatus = judge(life, "kstatus")
    assert kstatus == ["InProgress"] * kstatus.count("InProgress") + ["Current"] * kstatus.count("Current")
    assert kstatus.count("InProgress") <= 2 < kstatus.count("Current")


# -- what Argo CD shows and does --------------------------------------------------------------------------------------


def test_progress_and_the_key_metric_are_in_the_message(judge: Judge) -> None:
    running, done = document(SITUATIONS["Running"]()), document(SITUATIONS["Succeeded"]())
    running["status"] |= {"percent": 62, "stage": "policy"}
    done["status"] |= {"keyMetric": "winRate 0.61"}
    said = judge([running, done], "lua", FOLDER / "health.lua")
    assert [item["message"] for item in said] == ["policy 62%", "winRate 0.61"]


def offered(judge: Judge, item: Object) -> set[str]:
    (actions,) = judge([item], "lua", FOLDER / "actions" / "discovery.lua")
    return {name for name, action in actions.items() if not action["disabled"]}


def test_a_run_offers_what_makes_sense_now(judge: Judge) -> None:
    def a(name: str, *, suspend: bool | None = None) -> Object:
        spec: Object = {} if suspend is None else {"suspend": suspend}
        return {**document(SITUATIONS[name]()), "spec": spec}

    assert offered(judge, a("Running")) == {"suspend"}
    assert offered(judge, a("Suspended", suspend=True)) == {"resume"}
    assert offered(judge, a("Diverged", suspend=False)) == {"suspend", "retry"}


def test_actions_change_what_the_operator_acts_on_and_nothing_else(judge: Judge) -> None:
    item: Object = {**document(SITUATIONS["Diverged"]()), "spec": {"task": "TextToText", "suspend": True}}
    after = {
        name: judge([item], "lua", FOLDER / "actions" / f"{name}.lua")[0] for name in ("suspend", "resume", "retry")
    }
    for name, suspended in (("suspend", True), ("resume", False)):
        assert after[name]["spec"] == {"task": "TextToText", "suspend": suspended}
        assert after[name]["metadata"] == item["metadata"]
    assert after["retry"]["spec"] == item["spec"]
    value = after["retry"]["metadata"]["annotations"].pop(RETRY_ANNOTATION)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value)
    assert after["retry"]["metadata"] == {**item["metadata"], "annotations": after["retry"]["metadata"]["annotations"]}


def test_the_operator_acts_on_the_retry_of_the_action(judge: Judge) -> None:
    world = SITUATIONS["Diverged"]()
    (after,) = judge([document(world)], "lua", FOLDER / "actions" / "retry.lua")
    world.annotations = after["metadata"]["annotations"]
    world.settle()
    stalled = next(c for c in world.status.conditions if c.type == "Stalled")
    assert stalled.status.value == "False"
    assert world.status.retry == after["metadata"]["annotations"][RETRY_ANNOTATION]


def test_argo_cd_gets_health_and_actions_of_every_kind() -> None:
    data = yaml.safe_load((FOLDER / "argocd-cm.yaml").read_text())["data"]
    for kind in KINDS:
        assert data.pop(f"resource.customizations.health.boresight.dev_{kind}") == (FOLDER / "health.lua").read_text()
        actions = yaml.safe_load(data.pop(f"resource.customizations.actions.boresight.dev_{kind}"))
        assert actions["discovery.lua"] == (FOLDER / "actions" / "discovery.lua").read_text()
        scripts = {item["name"]: item["action.lua"] for item in actions["definitions"]}
        assert scripts == {p.stem: p.read_text() for p in (FOLDER / "actions").glob("*.lua") if p.stem != "discovery"}
    assert not data
