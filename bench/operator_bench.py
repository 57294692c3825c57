"""The operator under load: etcd, kube-apiserver and kube-controller-manager beside it, on two cores, with its own Role.

    make bench-operator                        the full benchmark, about 20 minutes; writes bench/results/operator.json
    python -P bench/operator_bench.py --quick  a twentieth of the load, to see that it runs; writes nothing
    python -P bench/operator_bench.py --only idle --only peer   single parts, each written when it is done

Load is a process of its own (``operator_load.py``), and so is every server. Each part has fresh servers. The peer is
kubeflow trainer with JobSet's controllers under the same load on the same servers (``operator_peer.py``).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import operator_peer as peer  # noqa: E402
from apiserver import identity  # noqa: E402
from apiserver.assets import APIKIT  # noqa: E402
from apiserver.audit import AuditLog  # noqa: E402
from apiserver.client import Client, Object, until  # noqa: E402
from apiserver.control_plane import ControlPlane, Process, cpu_seconds, resident_mib  # noqa: E402
from apiserver.kubelet import Kubelet, Store, prepare_report  # noqa: E402
from apiserver.operator_process import LATER_RELEASE, OperatorProcess  # noqa: E402
from apiserver.world import World  # noqa: E402
from boresight_api.outcome import Outcome, OutcomeStatus  # noqa: E402
from boresight_operator.api import ALIGNMENT_RUNS, JOBS, Resource  # noqa: E402
from builders_manifests import an_alignment_run  # noqa: E402
from machine import processor  # noqa: E402
from operator_floor import floor  # noqa: E402
from operator_setup import FAILING, LEASE, TEAM, load, loading, operator, say, servers, target  # noqa: E402

RESULTS = HERE / "results" / "operator.json"
POLICIES = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False
)
BINDINGS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicybindings",
    "ValidatingAdmissionPolicyBinding",
    namespaced=False,
)


@dataclass(frozen=True)
class Sizes:
    """How much load."""

    burst: int = 1000
    single: int = 200
    failing: int = 50
    idle: int = 1000
    idle_seconds: float = 60
    start: int = 5000
    failovers: int = 3


QUICK = Sizes(burst=50, single=20, failing=10, idle=30, idle_seconds=5, start=60, failovers=1)


# -- parts -----------------------------------------------------------------------------------------------------------


def burst(sizes: Sizes) -> Object:
    """Many runs applied at once: all first-stage Jobs exist."""
    with servers() as plane, operator(plane) as process:
        found = load(plane, "burst", target=target(), count=sizes.burst)
        used = round(process.cpu_seconds(), 1)
    return {"burst": {**found, "cpu_seconds": used, "same_writes_by_a_script": floor(sizes.burst)}}


def single(sizes: Sizes) -> Object:
    """One run at a time on an idle operator; then beside runs that always fail and one with a huge status."""
    with servers() as plane, operator(plane):
        load(plane, "single", target=target(), count=5, pause=0.2, first=10_000)  # connections and caches are warm
        alone = load(plane, "single", target=target(), count=sizes.single, pause=0.1)
        paths = make_trouble(plane, sizes.failing)
        with loading(plane, "poke", paths=paths, each_seconds=2.0):
            time.sleep(5)
            beside = load(plane, "single", target=target(), count=sizes.single, pause=0.1, first=sizes.single)
        trouble = {"failing_runs": sizes.failing, "huge_status_bytes": huge_status_bytes(plane), **beside}
        return {"single": alone, "single_beside_failing_runs": trouble}


def make_trouble(plane: ControlPlane, count: int) -> list[str]:
    """Runs whose status nobody may write, and one whose status is as large as the API server takes it."""
    client = plane.client()
    rule = {"apiGroups": ["boresight.dev"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["*/status"]}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "false", "message": "refused for the benchmark"}],
    }
    name = {"metadata": {"name": "no-status"}}
    client.apply(POLICIES, None, {"apiVersion": POLICIES.api_version, "kind": POLICIES.kind, **name, "spec": spec})
    only = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": FAILING}}}
    bound = {"policyName": "no-status", "validationActions": ["Deny"], "matchResources": only}
    client.apply(BINDINGS, None, {"apiVersion": BINDINGS.api_version, "kind": BINDINGS.kind, **name, "spec": bound})
    time.sleep(2)  # the API server looks at policies every second
    for number in range(count):
        document = an_alignment_run()
        document["metadata"]["name"] = f"failing-{number}"
        client.create(ALIGNMENT_RUNS, FAILING, document)
    document = an_alignment_run(storage={"uri": "s3://alignment/huge"}, suspend=True)
    document["metadata"]["name"] = "huge"
    client.create(ALIGNMENT_RUNS, TEAM, document)
    until(lambda: client.get(ALIGNMENT_RUNS, TEAM, "huge").get("status", {}).get("stages"), "the huge run has stages")
    grow_status(client)
    return [
        *(ALIGNMENT_RUNS.path(FAILING, f"failing-{number}") for number in range(count)),
        ALIGNMENT_RUNS.path(TEAM, "huge"),
    ]


def grow_status(client: Client) -> None:
    """Ten attempts in the history of every stage, each with the longest message of three-byte characters."""
    stored = client.get(ALIGNMENT_RUNS, TEAM, "huge")
    for stage in stored["status"]["stages"]:
        stage["history"] = [
            {"attempt": attempt, "failureClass": "Error", "message": "\u2026" * 4096} for attempt in range(10)
        ]
    client.call("PUT", ALIGNMENT_RUNS.path(TEAM, "huge", "status"), stored)


def huge_status_bytes(plane: ControlPlane) -> int:
    """Of the run with the huge status, as it is stored now."""
    status = plane.client().get(ALIGNMENT_RUNS, TEAM, "huge")["status"]
    return len(json.dumps(status, ensure_ascii=False).encode())


def writes(_: Sizes) -> Object:
    """Mutating requests in the audit log, but for progress and Lease."""
    with servers() as plane, operator(plane) as process, Kubelet(plane.client()) as kubelet:
        world = World(plane.client(), TEAM, kubelet, process)
        log = AuditLog(plane.audit)
        two = counted(log, lambda: lived(world, world.evaluation("two"), "evaluation"))
        stages = ("feedback-model", "synthesis", "policy", "evaluation")
        five = counted(log, lambda: lived(world, world.alignment("five"), *stages))
        a_stage = (five - two) / 3
        run = world.evaluation("still", seed=9)
        world.play(run, "prepare")
        world.start(run, "evaluation")
        noop = counted(log, lambda: [world.annotate(run, note=str(n)) and time.sleep(0.1) for n in range(20)])
        deletes = counted(log, lambda: cleaned(world), verb="delete") / 2
        return {
            "writes_per_stage": a_stage,
            "writes_per_run": two - 2 * a_stage,
            "writes_per_stage_with_two_nodes": multi_node(plane, world, two - a_stage),
            "deletes_per_stage": deletes,
            "noop_writes": noop,
        }


def lived(world: World, run: Object, *stages: str) -> None:
    """A whole life."""
    for stage in ("prepare", *stages):
        world.kubelet.play(run, stage)
    world.await_condition(run, "Succeeded", "True", seconds=30)


def cleaned(world: World) -> None:
    """A life whose Jobs go at once."""
    run = world.evaluation("clean", seed=10, retainPodsSeconds=0)
    lived(world, run, "evaluation")
    until(lambda: not world.jobs(run), "its Jobs are gone", seconds=30)


def multi_node(plane: ControlPlane, world: World, without: float) -> float:
    """Of a stage with two ranks, by an operator that takes them (this release's plan refuses them)."""
    import boresight_api.plan

    world.operator.terminate()
    boresight_api.plan.unrunnable = lambda _: iter(())
    command = (sys.executable, LATER_RELEASE)
    token = identity.token(plane.client())
    with OperatorProcess(plane, token, name="later", settings=LEASE, command=command) as later:
        world = World(world.client, TEAM, world.kubelet, later)

        def live() -> None:
            spec = {"feedbackModel": {"compute": {"nodes": 2}}, "seed": 11, "stopAfter": "FeedbackModel"}
            run = world.alignment("ranks", **spec)
            world.kubelet.play(run, "prepare")
            world.kubelet.play(run, "feedback-model", count=2)
            world.await_stage(run, "synthesis", "Waiting", reason="StoppedAfter", seconds=30)

        return counted(AuditLog(plane.audit), live) - without


def counted(log: AuditLog, act: Callable[[], object], verb: str = "") -> int:
    """Budgeted writes of the operator while ``act`` happens and a second later."""
    log.mark()
    act()
    time.sleep(1.5)
    found = [write for write in log.writes(user=identity.NAME, namespace=TEAM) if write.budgeted]
    return sum(write.verb == verb if verb else write.verb != "delete" for write in found)


def idle(sizes: Sizes) -> Object:
    """Runs with a stage done and the next one's pod running; then many more of them, and a start of the operator."""
    ends = {"prepare": prepare_outcome()}
    runs = target(storage={"uri": "s3://alignment/{n}"})
    with servers() as plane:
        with operator(plane) as process:
            say(f"bringing {sizes.idle} runs to life")
            say(str(load(plane, "live", target=runs, count=sizes.idle, ends=ends)))
            settle(process.process)
            found = at_rest(process.process, seconds=sizes.idle_seconds)
            requests = process.metric("boresight_api_requests_total")
        with operator(plane) as process:  # a fresh process, which has lived through nothing
            settle(process.process)
            fresh = at_rest(process.process, seconds=sizes.idle_seconds)
            say(f"bringing {sizes.start - sizes.idle} more to life")
            more = sizes.start - sizes.idle
            say(str(load(plane, "live", target=runs, count=more, ends=ends, first=sizes.idle)))
            process.terminate()
        begun = time.monotonic()
        with OperatorProcess(plane, identity.token(plane.client()), settings=LEASE) as process:
            synced = time.monotonic() - begun
            until(lambda: process.metric("boresight_leader") == 1, "leads", seconds=60)
            settle(process.process)
            memory = resident_mib(process.process.pid)
    return {
        "idle": {"runs": sizes.idle, **found, "rss_mib_after_a_restart": fresh["rss_mib"], "requests_so_far": requests},
        "start": {"runs": sizes.start, "seconds": round(synced, 2), "rss_mib": round(memory, 1)},
    }


def prepare_outcome() -> str:
    """The termination message of ``prepare`` for the runs of the load: nothing is in the store yet."""
    return (
        Outcome(
            status=OutcomeStatus.SUCCEEDED,
            stage="prepare",
            prepare=prepare_report(an_alignment_run(), "s3://alignment/0", Store()),
        )
        .to_bytes()
        .decode()
    )


def settle(*processes: Process, seconds: float = 300) -> None:
    """Wait until they use less than a twentieth of a core together."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = cpu_of(processes)
        time.sleep(3)
        if cpu_of(processes) - before < 0.15:
            return
    raise TimeoutError(f"{', '.join(process.name for process in processes)}: no rest within {seconds:g} s")


def at_rest(*processes: Process, seconds: float) -> Object:
    """CPU as a fraction of one core, and memory, of all together."""
    before = cpu_of(processes)
    time.sleep(seconds)
    memory = sum(resident_mib(process.pid) for process in processes)
    return {"cpu_fraction": round((cpu_of(processes) - before) / seconds, 4), "rss_mib": round(memory, 1)}


def cpu_of(processes: Sequence[Process]) -> float:
    """Seconds so far."""
    return sum(cpu_seconds(process.pid) for process in processes)


def failover(sizes: Sizes) -> Object:
    """Two replicas; the leader is killed, or told to end, right before a run is applied."""
    kills = [one_failover(kill=True) for _ in range(sizes.failovers)]
    terms = [one_failover(kill=False) for _ in range(sizes.failovers)]
    return {"failover": {"kill_seconds": max(kills), "term_seconds": max(terms)}}


def one_failover(*, kill: bool) -> float:
    """Seconds from the signal to the first write of the standby: the new run's Job."""
    with servers() as plane, operator(plane) as leader:
        token = identity.token(plane.client())
        with OperatorProcess(plane, token, name="standby", settings=LEASE):
            time.sleep(3)
            client = plane.client()
            begun = time.monotonic()
            leader.kill() if kill else leader.terminate()
            client.create(ALIGNMENT_RUNS, TEAM, an_alignment_run())
            until(lambda: client.list(JOBS, TEAM), "the standby makes the Job", seconds=60, every=0.02)
            return round(time.monotonic() - begun, 2)


def the_peer(sizes: Sizes) -> Object:
    """Kubeflow trainer and JobSet under the same load, with their own rate limits and with raised ones."""
    peer.PROGRAM.find_or_build(say)
    found = {
        "name": f"kubeflow trainer {peer.PROGRAM.version} (TrainJob to JobSet) and JobSet (JobSet to Job)",
        "default_qps": peer_at(sizes, 0, sizes.burst // 4),
        "raised_qps": {"qps": 1000, **peer_at(sizes, 1000, sizes.burst)},
    }
    return {"peer": found}


def peer_at(sizes: Sizes, qps: float, count: int) -> Object:
    """Burst, single latency, and rest. At its default rate a quarter of the runs tells enough."""
    what = peer.target(TEAM)
    with servers(peer.install_crds) as plane, peer.running(plane, qps=qps) as processes:
        load(plane, "single", target=what, count=5, pause=0.2, first=10_000)
        alone = load(plane, "single", target=what, count=sizes.single, pause=0.1, first=20_000)
        together = load(plane, "burst", target=what, count=count)
        settle(*processes)
        return {"burst": together, "single": alone, "idle": at_rest(*processes, seconds=sizes.idle_seconds)}


PARTS: dict[str, Callable[[Sizes], Object]] = {
    "burst": burst,
    "single": single,
    "writes": writes,
    "idle": idle,
    "failover": failover,
    "peer": the_peer,
}


def two_cores() -> int:
    """Keep to two cores, all processes together."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)
    return len(cores)


def facts(cores: int, command: str) -> Object:
    """What the figures of a part belong to."""
    packages = {name: version(name) for name in ("boresight", "kopf", "aiohttp")}
    return {
        "versions": {**packages, "kubernetes": APIKIT.version, "python": platform.python_version()},
        "machine": f"{processor()}, {cores} cores for the operator, its servers and the load together",
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little load, nothing is written")
    parser.add_argument("--only", action="append", choices=PARTS, help="these alone; other figures stay")
    options = parser.parse_args()
    cores = two_cores()
    sizes = QUICK if options.quick else Sizes()
    found: Object = {} if options.quick or not RESULTS.exists() else json.loads(RESULTS.read_text())
    for name in options.only or PARTS:
        say(name)
        result = PARTS[name](sizes)
        say(json.dumps(result))
        found |= result
        found.setdefault("measured", {})[name] = facts(cores, f"python -P bench/operator_bench.py --only {name}")
        if not options.quick:
            RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
