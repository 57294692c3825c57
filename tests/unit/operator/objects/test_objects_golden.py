"""Rendered objects, frozen. To accept a change: ``python tests/unit/operator/objects/golden_objects.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders_objects import cases
from kubernetes_rules import faults

FOLDER = Path(__file__).with_name("golden")
CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_objects_are_as_they_were(name: str) -> None:
    assert CASES[name].text() == (FOLDER / f"{name}.yaml").read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_objects_obey_kubernetes(name: str) -> None:
    assert [fault for _, body in CASES[name].objects() for fault in faults(dict(body))] == []
