"""Twelve and more named histories, each with a crash of the operator at every request."""

from __future__ import annotations

import pytest
from simulation.history import tell
from simulation.scenarios import SCENARIOS
from simulation.world import Crash


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    tell(SCENARIOS[name])
