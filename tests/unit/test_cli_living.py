"""Who lives, by the objects of a cluster, and how a pod is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from boresight.errors import UserError
from boresight.living import living_document, living_of, read_living
from boresight_trainer.store.garbage import Living
from builders_manifests import an_alignment_run

PLANNED, MADE, NAMED, SOURCE, DIGEST = (letter * 64 for letter in "abcde")


def a_run() -> dict[str, object]:
    run = an_alignment_run(model={"uri": f"artifact://{NAMED}"})
    run["metadata"] |= {"namespace": "team", "uid": "u-1"}
    run["status"] = {
        "plan": f"sha256:{DIGEST}",
        "stages": [
            {"name": "synthesis", "key": PLANNED},
            {"name": "policy", "artifact": {"uri": f"s3://b/p/artifacts/{MADE}", "digest": f"sha256:{DIGEST}"}},
        ],
        "sources": [{"id": "judge", "uri": "artifact://tags/judge", "key": SOURCE}],
    }
    return run


def test_a_run_needs_what_its_plan_its_sources_and_its_spec_name() -> None:
    assert living_of([a_run()], None) == Living(frozenset({"u-1"}), frozenset({PLANNED, MADE, NAMED, SOURCE}))


@pytest.mark.parametrize("namespaces", [None, frozenset({"team"}), frozenset()])
def test_a_pod_is_told_the_same(tmp_path: Path, namespaces: frozenset[str] | None) -> None:
    living = living_of([a_run()], namespaces)
    file = tmp_path / "document.json"
    file.write_text(json.dumps(living_document(living)))
    assert read_living(str(file)) == living


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"runs": [], "keys": []}', '{"runs": 1, "keys": [], "namespaces": []}']
)
def test_half_a_list_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "document.json"
    file.write_text(text)
    with pytest.raises(UserError, match="found no list of living runs"):
        read_living(str(file))
