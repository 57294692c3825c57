"""docs/scheduling.md: the fields on it are fields of a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from boresight_api.manifest import parse_manifest
from builders_manifests import an_alignment_run

PAGE = (Path(__file__).parents[2] / "docs" / "scheduling.md").read_text()
BLOCKS = [list(yaml.safe_load_all(text)) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def runs() -> list[dict[str, Any]]:
    return [item for block in BLOCKS for item in block if item.get("kind") in {None, "AlignmentRun"}]


def test_the_runs_on_the_page_are_runs() -> None:
    assert len(runs()) == 2
    for run in runs():
        spec = run["spec"]
        parsed = parse_manifest(an_alignment_run(**spec)).spec
        for field, value in spec["compute"].items():
            shown = parsed.compute.model_dump(mode="json", by_alias=True, exclude_unset=True)  # type: ignore[union-attr]
            assert shown[field] == value


def test_kueues_objects_name_each_other() -> None:
    objects = {item["kind"]: item for block in BLOCKS for item in block if "kind" in item}
    queue, run = objects["LocalQueue"], objects["AlignmentRun"]
    flavors = objects["ClusterQueue"]["spec"]["resourceGroups"][0]["flavors"]
    assert [flavor["name"] for flavor in flavors] == [objects["ResourceFlavor"]["metadata"]["name"]]
    assert queue["spec"]["clusterQueue"] == objects["ClusterQueue"]["metadata"]["name"]
    assert run["metadata"]["namespace"] == queue["metadata"]["namespace"]
    assert run["spec"]["compute"]["queueName"] == queue["metadata"]["name"]
