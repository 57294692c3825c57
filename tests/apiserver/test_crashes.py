"""The operator dies, is stopped, is cut off, or is two: what it comes back to is brought to the same end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from apiserver.audit import AuditLog
from apiserver.client import Client, until
from apiserver.control_plane import ADMIN, ControlPlane
from apiserver.cut import Cut
from apiserver.identity import NAME, OWN_NAMESPACE
from apiserver.operator_process import OperatorProcess
from apiserver.runs import stage_of, states, summary
from apiserver.world import World
from boresight_operator.api import CONFIG_MAPS, EVAL_RUNS, JOBS, LEASES


def test_killed_at_every_stage_it_goes_on_where_it_was(world: World) -> None:
    run = world.alignment()
    for stage in ("prepare", "feedback-model", "synthesis", "policy", "evaluation"):
        pod = world.start(run, stage)
        world.operator.kill()
        world.kubelet.succeed(pod)  # while nobody looks
        world.operator.start()
        world.await_stage(run, stage, "Succeeded", seconds=20)
    world.await_condition(run, "Succeeded", "True")
    attempts = {job["metadata"]["labels"]["boresight.dev/attempt"] for job in world.jobs(run)}
    assert attempts == {"1"}, "nothing ran twice"
    assert len(world.jobs(run)) == 5


def test_killed_between_the_status_and_the_job_it_makes_the_job(world: World) -> None:
    """A status that says Starting, and no Job: as after a crash right between the two."""
    run = world.evaluation()
    world.start(run, "prepare")
    world.operator.kill()
    (job,) = world.jobs(run)
    world.client.delete(JOBS, world.namespace, job["metadata"]["name"], propagationPolicy="Background")
    until(lambda: not world.jobs(run), "the Job is gone")
    status = world.now(run)["status"]
    begun = {name: stage_of({"status": status}, "prepare")[name] for name in ("name", "attempt", "since")}
    world.write_status(run, {**status, "stages": [{**begun, "state": "Starting"}, *status["stages"][1:]]})
    world.operator.start()
    world.play(run, "prepare")
    assert stage_of(world.now(run), "prepare")["attempt"] == 1


def test_ended_politely_it_gives_the_lease_away(world: World) -> None:
    assert world.operator.terminate() == 0
    lease = world.client.get(LEASES, OWN_NAMESPACE, "boresight-operator")
    assert not lease["spec"].get("holderIdentity")
    started = time.monotonic()
    world.operator.start()
    run = world.evaluation()
    world.kubelet.await_pods(run, "prepare")
    assert time.monotonic() - started < 10


# -- two replicas ----------------------------------------------------------------------------------------------------


@pytest.fixture
def standby(plane: ControlPlane, token: str, world: World) -> Iterator[OperatorProcess]:
    """A second replica with a warm cache, which does not lead."""
    with OperatorProcess(plane, token, name="standby") as standby:
        yield standby


def test_a_standby_writes_nothing_until_it_leads(plane: ControlPlane, world: World, standby: OperatorProcess) -> None:
    run = world.evaluation()
    world.play(run, "prepare")
    world.start(run, "evaluation")
    world.operator.kill()
    killed = time.monotonic()
    world.annotate(run, retry="x")
    until(lambda: holder(world.client) == "standby", "the standby holds the Lease", seconds=10)
    world.play(run, "evaluation")
    assert time.monotonic() - killed < 15


def holder(client: Client) -> str:
    found: str = client.get(LEASES, OWN_NAMESPACE, "boresight-operator")["spec"].get("holderIdentity") or ""
    return found


@pytest.mark.parametrize("seconds", [8, pytest.param(60, marks=pytest.mark.long)])
def test_an_ex_leader_that_wakes_up_changes_nothing(
    plane: ControlPlane, world: World, standby: OperatorProcess, seconds: float
) -> None:
    run = world.evaluation()
    world.play(run, "prepare")
    pod = world.start(run, "evaluation")
    until(lambda: holder(world.client) == "operator", "the first replica leads")
    world.operator.stop()
    stopped = time.monotonic()
    until(lambda: holder(world.client) == "standby", "the standby leads", seconds=15)
    world.kubelet.succeed(pod)
    world.await_condition(run, "Succeeded", "True")
    other = world.evaluation("other", seed=2)
    world.kubelet.await_pods(other, "prepare")
    time.sleep(max(0.0, seconds - (time.monotonic() - stopped)))
    before = snapshot(world)
    log = AuditLog(plane.audit)
    world.operator.go_on()
    assert world.operator.process.wait(10) != 0, "it has lost the Lease: it ends"
    time.sleep(1)
    assert snapshot(world) == before
    names = [str(write) for write in log.writes(user=NAME) if write.budgeted]
    assert names == [], "nothing was written by either"
    assert holder(world.client) == "standby"


def snapshot(world: World) -> list[tuple[str, str]]:
    kinds = (EVAL_RUNS, JOBS, CONFIG_MAPS)
    return [
        (each["metadata"]["name"], each["metadata"]["resourceVersion"])
        for kind in kinds
        for each in world.client.list(kind, world.namespace)
    ]


# -- cut off ---------------------------------------------------------------------------------------------------------

NOTICED_SECONDS = 5


@pytest.fixture
def cut(plane: ControlPlane) -> Iterator[Cut]:
    """A proxy before the API server."""
    with Cut(plane.port) as cut:
        yield cut


@pytest.fixture
def behind(plane: ControlPlane, token: str, world: World, cut: Cut) -> Iterator[OperatorProcess]:
    """The operator, and the only one, reaching its API server through the proxy."""
    world.operator.terminate()
    world.client.delete(LEASES, OWN_NAMESPACE, "boresight-operator")
    # A Lease long enough that the cut does not end it: what is asked is what it notices, not who leads.
    lease = {"leaseSeconds": 60, "renewSeconds": 50, "retrySeconds": 1}
    with OperatorProcess(plane, token, name="behind", url=cut.url, settings=lease) as operator:
        world.operator = operator
        yield operator
        operator.terminate()


def during_the_cut(world: World) -> Callable[[], None]:
    """Prepare four runs; return what happens to them while nobody hears of it."""
    names = ("deleted", "remade", "edited", "ended")
    runs = {name: world.evaluation(name, storage={"uri": f"s3://alignment/{name}"}) for name in names}
    pods = {}
    for name, run in runs.items():
        world.play(run, "prepare")
        pods[name] = world.start(run, "evaluation")

    def happen() -> None:
        world.delete(runs["deleted"])
        world.delete(runs["remade"])
        world.evaluation("remade", storage={"uri": "s3://alignment/remade"})
        world.edit(runs["edited"], suspend=True)
        world.kubelet.succeed(pods["ended"])
        until(lambda: not world.jobs(runs["remade"]), "the dead run's Jobs are gone", seconds=20)

    return happen


def unnoticed(world: World) -> list[str]:
    """What the operator has not caught up with."""
    found = {run["metadata"]["name"]: run for run in world.client.list(EVAL_RUNS, world.namespace)}
    missing = [] if world.jobs(found["remade"]) else ["the new run's Job"]
    for name, state in (("edited", "Suspended"), ("ended", "Succeeded")):
        if states(found[name]).get("evaluation") != state:
            missing.append(summary(found[name]))
    return missing


def await_everything(world: World) -> None:
    """Everything is noticed in time."""
    started = time.monotonic()
    while missing := unnoticed(world):
        assert time.monotonic() - started < NOTICED_SECONDS, "\n".join(missing)
        time.sleep(0.05)


@pytest.mark.parametrize("silently", [False, True], ids=["refused", "silent"])
def test_what_happened_while_it_was_cut_off_is_noticed_at_once(
    world: World, behind: OperatorProcess, cut: Cut, silently: bool
) -> None:
    happen = during_the_cut(world)
    cut.cut(silently=silently)
    happen()
    time.sleep(2)
    cut.mend()
    await_everything(world)


def test_an_api_server_that_restarts_meanwhile_changes_nothing_of_that(
    plane: ControlPlane, world: World, behind: OperatorProcess, cut: Cut
) -> None:
    happen = during_the_cut(world)
    cut.cut()
    happen()
    plane.kill_api_server()
    plane.start_api_server()
    plane.client(ADMIN).call("GET", "/readyz")
    cut.mend()
    await_everything(world)
    assert behind.running
