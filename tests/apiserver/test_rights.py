"""The operator's rights: enough for everything in this folder, and of each one it lacks it complains by name."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from apiserver import identity
from apiserver.client import Object, until
from apiserver.control_plane import ControlPlane
from apiserver.identity import Verb
from apiserver.kubelet import Kubelet
from apiserver.operator_process import LATER_RELEASE, OperatorProcess
from apiserver.world import World
from boresight_operator.api import JOBS
from boresight_operator.names import attempt_name
from boresight_operator.views import Part
from builders_manifests import a_synthesis, an_alignment_run, an_eval_run

SMALLEST = {"alignmentruns": an_alignment_run, "evalruns": an_eval_run, "feedbacksyntheses": a_synthesis}
AT_ONCE = 9
SECONDS = 50


REFUSED = re.compile(r"cannot (\w+ resource|set blockOwnerDeletion)")
"""What the API server says to who lacks a right."""


def complaint(verb: Verb) -> str:
    """In the API server's words, which the log must repeat."""
    if verb.resource.endswith("/finalizers"):
        return "cannot set blockOwnerDeletion"
    return f'cannot {verb.verb} resource \\"{verb.resource}\\"'


def provoke(world: World, verb: Verb) -> None:
    """Let the operator need the verb. What needs it may fail in any way; the complaint is what is looked for."""
    resource = verb.resource.partition("/")[0]
    if resource in SMALLEST:
        run = world.create(SMALLEST[resource](suspend=verb.verb == "get"))
        if verb.verb == "get":
            _outrun(world, run)
        return
    act = ACTS.get((resource, verb.verb)) or ACTS.get((resource, ""))
    if act is not None:
        act(world)
    elif resource != "leases":
        world.evaluation()


def _outrun(world: World, run: Object) -> None:
    """Change the run faster than watches tell of it, so that status writes conflict."""
    until(lambda: world.operator.said('"leading'), "it leads", seconds=40)
    end = time.monotonic() + 3

    def change() -> None:
        while time.monotonic() < end:
            world.annotate(run, note=str(time.monotonic()))

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(change)
        for number in range(10):
            world.edit(run, suspend=bool(number % 2))  # each is a status to write
            time.sleep(0.2)


def _foreign_job(world: World) -> None:
    run = world.evaluation(suspend=True)
    name = attempt_name("first", run["metadata"]["uid"], "prepare", None, 1, Part.WORK)
    container = {"name": "theirs", "image": "busybox", "command": ["true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template}}
    world.client.create(JOBS, world.namespace, body)
    world.edit(run, suspend=False)


def _suspend(world: World) -> None:
    run = world.evaluation()
    world.start(run, "prepare")
    world.edit(run, suspend=True)


def _prepare(world: World) -> None:
    world.kubelet.play(world.evaluation(), "prepare")


def _clean_up(world: World) -> None:
    run = world.evaluation(retainPodsSeconds=0)
    world.kubelet.play(run, "prepare")
    world.kubelet.play(run, "evaluation")


def _ranks(world: World) -> None:
    world.kubelet.play(world.alignment(feedbackModel={"compute": {"nodes": 2}}), "prepare")


def _lose_the_node(world: World) -> None:
    run = world.evaluation()
    pod = world.start(run, "prepare")
    world.kubelet.stuck.add(pod["metadata"]["uid"])
    world.edit(run, suspend=True)
    until(lambda: world.kubelet.pods(run)[0]["metadata"].get("deletionTimestamp"), "the pod is being deleted")
    world.edit(run, suspend=False)


ACTS: dict[tuple[str, str], Callable[[World], None]] = {
    ("jobs", "get"): _foreign_job,
    ("jobs", "delete"): _suspend,
    ("configmaps", "get"): _prepare,
    ("configmaps", "list"): _clean_up,
    ("configmaps", "delete"): _clean_up,
    ("services", ""): _ranks,
    ("nodes", "get"): _lose_the_node,
}
PATIENT = {"leaseSeconds": 10, "renewSeconds": 6, "retrySeconds": 2}
FAST = {"gracePeriodSeconds": 1, "nodeLostSeconds": 1}


SAMPLE = {"list evalruns.boresight.dev", "patch evalruns/status.boresight.dev", "create jobs.batch", "watch pods"}
SAMPLE |= {"update evalruns/finalizers.boresight.dev", "create configmaps", "get leases.coordination.k8s.io"}


@pytest.mark.parametrize("which", ["sample", pytest.param("all", marks=pytest.mark.long)])
def test_each_right_that_is_missing_is_complained_of(
    plane: ControlPlane,
    kubelet: Kubelet,
    operator: OperatorProcess,
    namespaces: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    which: str,
) -> None:
    monkeypatch.setattr("boresight_api.plan.unrunnable", lambda run: iter(()))  # services are for ranks
    operator.terminate()
    # The one that takes longest first: the events of a Job are looked at after 30 seconds.
    verbs = sorted(identity.verbs(), key=lambda verb: (verb.resource, verb.verb) != ("events", "list"))
    assert len(verbs) > 30
    assert {str(verb) for verb in verbs} >= SAMPLE
    chosen = [verb for verb in verbs if which == "all" or str(verb) in SAMPLE]
    silent: dict[str, str] = {}
    for first in range(0, len(chosen), AT_ONCE):
        silent |= _without_each(plane, kubelet, chosen[first : first + AT_ONCE], namespaces, f"{which}-{first}")
    assert not silent, "\n".join(f"{verb}: {log}" for verb, log in silent.items())


def _without_each(
    plane: ControlPlane, kubelet: Kubelet, verbs: list[Verb], namespaces: Callable[[], str], batch: str
) -> dict[str, str]:
    """Operators side by side, each in a namespace of its own, with a Lease of its own, and without one verb."""
    with ExitStack() as stack:
        worlds = []
        for number, verb in enumerate(verbs):
            namespace = namespaces()
            token = identity.make(plane.client(), name=f"less-{batch}-{number}", missing=verb)
            settings = {
                "watchNamespaces": [namespace],
                "leaseName": f"less-{batch}-{number}",
                **PATIENT,
                "defaults": {"storage": {"uri": "s3://alignment/test"}, **FAST},
            }
            name, command = f"less-{batch}-{number}", (sys.executable, LATER_RELEASE)
            operator = OperatorProcess(plane, token, name=name, settings=settings, command=command)
            stack.callback(operator.kill)
            operator.start(wait=False)
            worlds.append(World(plane.client(), namespace, kubelet, operator))
        with ThreadPoolExecutor(len(verbs)) as pool:
            found = pool.map(_complains, worlds, verbs)
        return {
            str(verb): world.operator.process.tail(3)
            for verb, world, said in zip(verbs, worlds, found, strict=True)
            if not said
        }


def _complains(world: World, verb: Verb) -> bool:
    with suppress(AssertionError):  # the operator cannot go on: that is the point
        provoke(world, verb)
    try:
        until(lambda: world.operator.said(complaint(verb)), "", seconds=SECONDS, every=0.2)
    except AssertionError:
        return False
    return True


def test_with_all_its_rights_it_is_refused_nothing(world: World) -> None:
    run = world.synthesis("parts", compute={"nodes": 2}, retainPodsSeconds=0)
    world.kubelet.play(run, "prepare")
    world.kubelet.play(run, "synthesis", count=2)
    refused = [record["message"] for record in world.operator.records() if REFUSED.search(record["message"])]
    assert not refused, "in this test, and in all before it"
