"""An operator whose host's clock is an hour off, by libfaketime: durations and times are the API server's."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import pytest
import yaml
from apiserver.client import until
from apiserver.control_plane import ControlPlane
from apiserver.identity import OWN_NAMESPACE
from apiserver.kubelet import End
from apiserver.operator_process import PROGRAM, OperatorProcess
from apiserver.runs import stage_of
from apiserver.world import World
from boresight_operator.api import LEASES

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not shutil.which("faketime"), reason="faketime is not installed (Debian's package of that name)"
    ),
]
CLOSE_SECONDS = 30.0
"""Nearer than this is not an hour off."""


@pytest.fixture(params=["+3600", "-3600"], ids=["ahead", "behind"])
def skewed(request: pytest.FixtureRequest, plane: ControlPlane, token: str, world: World) -> Iterator[World]:
    """The world with such an operator. It does not verify the server's certificate, which is younger than an hour."""
    world.operator.terminate()
    library = subprocess.check_output(("faketime", "-f", "+1h", "printenv", "LD_PRELOAD"), text=True).strip()
    fakes = (f"LD_PRELOAD={library}", f"FAKETIME={request.param}", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1")
    operator = OperatorProcess(plane, token, name=f"skewed{request.param}", command=("env", *fakes, PROGRAM))
    kubeconfig = plane.kubeconfig(operator.name, token)
    content = yaml.safe_load(kubeconfig.read_text())
    (cluster,) = content["clusters"]
    cluster["cluster"] = {"server": cluster["cluster"]["server"], "insecure-skip-tls-verify": True}
    kubeconfig.write_text(yaml.safe_dump(content))
    with operator:
        yield replace(world, operator=operator)


def off(stamp: str) -> float:
    """How far a time is from now, in seconds."""
    return abs(datetime.fromisoformat(stamp).timestamp() - time.time())


def test_a_run_lives_by_the_api_servers_clock(skewed: World) -> None:
    run = skewed.evaluation()
    skewed.play(run, "prepare")
    begun = time.monotonic()
    skewed.kubelet.end(skewed.start(run, "evaluation"), End(75, ""))  # Infrastructure: the next attempt backs off
    skewed.await_stage(run, "evaluation", "Waiting", reason="BackOff")
    skewed.kubelet.succeed(skewed.start(run, "evaluation", attempt=2))
    skewed.await_stage(run, "evaluation", "Succeeded", seconds=40)
    assert 7 <= time.monotonic() - begun <= CLOSE_SECONDS, "the back-off of 10 s was neither skipped nor an hour long"
    status = skewed.now(run)["status"]
    evaluation = stage_of({"status": status}, "evaluation")
    first = evaluation["history"][0]
    times = [first["startTime"], first["endTime"], evaluation["since"], evaluation["completionTime"]]
    times += [condition["lastTransitionTime"] for condition in status["conditions"]]
    assert [stamp for stamp in times if off(stamp) > 2 * CLOSE_SECONDS] == []
    assert status.get("deviceSeconds", 0) < CLOSE_SECONDS
    logged = next(record["time"] for record in skewed.operator.records() if "time" in record)
    assert off(logged) > 2500, "the clock of this operator is off"


def test_the_lease_passes_between_two_whose_clocks_differ(skewed: World, world: World) -> None:
    """The one that is right stands by while the other renews, and leads soon after it was killed."""

    def holder() -> str:
        return str(skewed.client.get(LEASES, OWN_NAMESPACE, "boresight-operator")["spec"]["holderIdentity"])

    until(lambda: holder() == skewed.operator.name, "the skewed one leads", seconds=20)
    world.operator.start()
    end = time.monotonic() + 12  # twice the time of a Lease
    while time.monotonic() < end:
        assert holder() == skewed.operator.name
        time.sleep(0.2)
    skewed.operator.kill()
    until(lambda: holder() == world.operator.name, "the other one takes over", seconds=15)
    run = world.evaluation()
    world.kubelet.await_pods(run, "prepare")
