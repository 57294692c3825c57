"""A real cluster with MinIO, Prometheus and Boresight in it, for the tests of this folder (``make e2e``).

One that ``make cluster`` left running is used, and left running; else one is brought up, and ended after the last test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from cluster.cluster import Cluster, down, find, up
from cluster.first_run import FirstRun
from cluster.host import Say
from cluster.plan import default_folder
from cluster.stack import Stack, install
from cluster.tenants import RealTenant


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """What takes a while says so on the terminal."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(line, flush=True)

    return say


@pytest.fixture(scope="session")
def cluster(say: Say) -> Iterator[Cluster]:
    """Two nodes."""
    folder = default_folder()
    was_up = find(folder) is not None
    yield up(folder, say)
    if not was_up:
        down(folder)


@pytest.fixture(scope="session")
def stack(cluster: Cluster, say: Say) -> Stack:
    """Everything installed in it."""
    return install(cluster, say)


@pytest.fixture(scope="session")
def tenants(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Callable[[str], RealTenant]]:
    """Makes namespaces that no other test has, with a name that says what for. They stay if a test has failed."""
    made: list[RealTenant] = []

    def make(what: str) -> RealTenant:
        made.append(RealTenant.make(stack, what))
        return made[-1]

    yield make
    if not request.session.testsfailed:
        for tenant in made:
            tenant.remove()


@pytest.fixture(scope="session")
def team(tenants: Callable[[str], RealTenant]) -> RealTenant:
    """Who has the run of :func:`first`; others of it find feedback model and synthesis in the store."""
    return tenants("team")


@pytest.fixture(scope="session")
def first(team: RealTenant, say: Say) -> FirstRun:
    """A whole run, from its creation to its end, with the times at which it got somewhere."""
    found = FirstRun.watch(team)
    say(found.times())
    return found
