"""Named histories: as they are, and with the operator struck at every request that can change anything.

What a process does between two such requests leaves no trace, so to die before a request is to die anywhere since the
one before it, and what that leaves is what a death leaves while that one's answer is on its way. So the short run
strikes after each request; the long one before each as well.
"""

from __future__ import annotations

import pytest
from simulation.history import tell
from simulation.scenarios import SCENARIOS
from simulation.world import Crash, How

TWELVE = (
    "one_run",
    "shared_keys",
    "oldest_is_deleted",
    "edited",
    "suspended_and_resumed",
    "preempted",
    "infrastructure_fails",
    "budgets_end",
    "deleted_and_made_again",
    "input_removed",
    "status_emptied",
    "several_pods",
)
OTHERS = tuple(name for name in SCENARIOS if name not in TWELVE)
LONG = [pytest.param(name, marks=pytest.mark.long) for name in OTHERS]


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    tell(SCENARIOS[name])


@pytest.mark.parametrize("how", [pytest.param(How.BEFORE, marks=pytest.mark.long), How.AFTER], ids=lambda how: how.name)
@pytest.mark.parametrize("name", [*TWELVE, *LONG])
def test_a_crash_anywhere_changes_nothing(name: str, how: How) -> None:
    strike(name, how, standby=False)


@pytest.mark.long
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_leader_that_was_stopped_anywhere_changes_nothing(name: str) -> None:
    strike(name, How.STOPPED, standby=True)


def strike(name: str, how: How, *, standby: bool) -> None:
    """Tell the scenario once for each request."""
    targets = tell(SCENARIOS[name], standby=standby, quick=True).told
    for number in [number for number, target in enumerate(targets) if not target.startswith("GET")]:
        try:
            tell(SCENARIOS[name], crash=Crash(number, how), standby=standby, quick=True)
        except AssertionError as error:
            raise AssertionError(f"{how} at request {number}, {targets[number]}: {error}") from error
