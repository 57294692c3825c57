"""A saved plan comes back as it was, for a run that still wants it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from boresight_api.manifest import parse_manifest
from boresight_api.pins import Pin
from boresight_operator import names
from boresight_operator.objects import plan_config_map
from boresight_operator.objects.snapshot import PLAN_FILE, Snapshot, read_snapshot
from builders_manifests import GOLDEN, an_alignment_run
from builders_objects import UID, observed, stored


def saved(document: dict[str, Any]) -> Snapshot:
    seen = observed(document)
    assert seen.plan is not None
    return read_snapshot(plan_config_map(seen, seen.plan)[1])


@pytest.mark.parametrize("name", GOLDEN)
def test_a_plan_comes_back_whole(name: str) -> None:
    document = stored(GOLDEN[name])
    seen, snapshot = observed(document), saved(document)
    run = parse_manifest(seen.run.document)
    assert snapshot.fits(run)
    assert snapshot.plan(run) == seen.plan
    assert snapshot.pins_by_id == seen.pins


def test_the_saved_configuration_counts_not_what_this_release_would_plan() -> None:
    """As after an upgrade that plans the same wish differently."""
    seen = observed(stored(an_alignment_run()))
    assert seen.plan is not None
    *others, last = seen.plan.stages
    older = replace(last, key="f" * 64, config=last.config.model_copy(update={"batch_size": 7}))
    plan = replace(seen.plan, stages=(*others, older))
    snapshot = read_snapshot(plan_config_map(seen, plan)[1])
    run = parse_manifest(seen.run.document)
    assert snapshot.fits(run)
    assert snapshot.plan(run) == plan != seen.plan
    assert snapshot.plan(run).digest == snapshot.plan_digest == plan.digest


def test_placement_is_that_of_today() -> None:
    document = stored(an_alignment_run())
    snapshot = saved(document)
    moved = parse_manifest(stored(an_alignment_run(compute={"devicesPerNode": 0}, stopAfter="Synthesis")))
    assert snapshot.fits(moved)
    plan = snapshot.plan(moved)
    assert {stage.compute.devices_per_node for stage in plan.stages} == {0}
    assert plan.stop_after == "synthesis"


@pytest.mark.parametrize(
    ("edit", "still_fits"),
    [
        ({"suspend": True}, True),
        ({"storage": {"uri": "s3://elsewhere"}}, True),
        ({"retry": {"error": 3}}, True),
        ({"compute": {"podTemplate": {"nodeSelector": {"pool": "b"}}}}, True),
        ({"policy": {"checkpoint": {"everySeconds": 5}}}, True),
        ({"seed": 7}, False),
        ({"recipe": "1"}, False),
        ({"policy": {"dpo": {"beta": "0.5"}}}, False),
        ({"model": {"uri": "hf://Qwen/Qwen2.5-1.5B-Instruct"}}, False),
        ({"model": {"revision": "main"}}, False),
        ({"data": {"feedback": [{"uri": "file:///data/other.jsonl", "format": "Jsonl"}]}}, False),
        ({"data": {"feedback": [{"uri": "file:///data/feedback.jsonl", "format": "Jsonl", "files": ["a"]}]}}, False),
        ({"evaluation": {"suites": [{"name": "Holdout"}]}}, False),
    ],
)
def test_an_edit_of_what_is_computed_ends_a_plan_and_no_other_does(edit: dict[str, Any], still_fits: bool) -> None:
    edited = parse_manifest(stored(an_alignment_run(**copy.deepcopy(edit))))
    assert saved(stored(an_alignment_run())).fits(edited) is still_fits


def test_one_plan_has_one_name_and_another_plan_another() -> None:
    first, again, other = (
        plan_config_map(seen, seen.plan)[1]["metadata"]
        for seen in (observed(stored(an_alignment_run(**spec))) for spec in ({}, {"suspend": True}, {"seed": 7}))
        if seen.plan is not None
    )
    assert first["name"] == again["name"] != other["name"]
    assert first["annotations"][names.PLAN_ANNOTATION] in {again["annotations"][names.PLAN_ANNOTATION]}
    assert names.STAGE_LABEL not in first["labels"]
    assert first["labels"][names.RUN_UID_LABEL] == UID


def test_a_plan_without_keys_is_not_saved() -> None:
    seen = observed(stored(an_alignment_run()), pinned=False)
    assert seen.plan is not None
    with pytest.raises(ValueError, match="without key"):
        plan_config_map(seen, seen.plan)


def _broken(change: str) -> dict[str, Any]:
    seen = observed(stored(an_alignment_run()))
    assert seen.plan is not None
    body = copy.deepcopy(dict(plan_config_map(seen, seen.plan)[1]))
    document = json.loads(body["data"][PLAN_FILE])
    match change:
        case "gone":
            del body["data"]
        case "no text":
            body["data"][PLAN_FILE] = 3
        case "no JSON":
            body["data"][PLAN_FILE] = "{"
        case "no object":
            body["data"][PLAN_FILE] = "[]"
        case "another key":
            document["stages"][0]["key"] = "0" * 64
            body["data"][PLAN_FILE] = json.dumps(document)
        case "a field of tomorrow":
            document["stages"][0]["config"]["tomorrow"] = True
            body["data"][PLAN_FILE] = json.dumps(document)
        case "another kind":
            document["kind"] = "Stage"
            body["data"][PLAN_FILE] = json.dumps(document)
    return body


@pytest.mark.parametrize(
    "change", ["gone", "no text", "no JSON", "no object", "another key", "a field of tomorrow", "another kind"]
)
def test_what_is_no_plan_is_refused(change: str) -> None:
    with pytest.raises(ValueError):
        read_snapshot(_broken(change))


def test_pins_survive_with_all_they_say() -> None:
    seen = observed(stored(an_alignment_run()))
    pins = {
        identity: Pin(id=identity, digest=pin.digest, revision="c" * 40, rows=12, licence="Apache-2.0")
        for identity, pin in seen.pins.items()
    }
    seen = replace(seen, pins=pins)
    assert seen.plan is not None
    assert read_snapshot(plan_config_map(seen, seen.plan)[1]).pins_by_id == pins
