"""Random histories: what hypothesis draws (and shrinks) is a list of acts; all other chance comes from a seed in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from boresight_api.outcome import FailureClass
from boresight_operator import api
from boresight_operator.api import Object
from builders_manifests import KEY, a_synthesis, an_alignment_run, an_eval_run
from hypothesis import strategies as st

from .history import Told, condition_of, shown
from .job_controller import is_over
from .registry import Failure, name_of, uid_of
from .workload import Behaviour, digest_of
from .world import NODES, STORAGE, Faults

NAMES = ("ada", "bob", "cleo")
OTHER_STORAGE = "s3://store/other"


def alignment(beta: str, **more: Any) -> dict[str, Any]:
    """A short AlignmentRun."""
    return an_alignment_run(policy={"dpo": {"beta": beta}}, **more)


VARIANTS: tuple[Mapping[str, Any], ...] = (
    alignment("0.1"),
    alignment("0.2"),
    alignment("0.1", retry={"infrastructure": 1, "error": 0}),
    alignment("0.1", compute={"queueName": "research"}),
    alignment("0.3", synthesis={"compute": {"nodes": 3}}),
    an_alignment_run(method={"feedback": "Binary"}, evaluation={"suites": [{"name": "Verifiable"}]}),
    a_synthesis(),
    an_eval_run(),
    alignment("0.1", retainPodsSeconds=60),
)
EDITS: tuple[Mapping[str, Any], ...] = (
    {"seed": 7},
    {"seed": None},
    {"stopAfter": "Synthesis"},
    {"stopAfter": None},
    {"compute": {"resources": {"requests": {"cpu": "2"}}}},
    {"task": "TextToImage"},
    {"task": "TextToText"},
    {"policy": {"dpo": {"beta": "0.7"}}},
    {"data": {"feedback": [{"uri": "file:///data/other.jsonl", "format": "Jsonl"}]}},
    {"timeouts": {"stageSeconds": 40}},
    {"timeouts": None},
)
FAULTS: tuple[Faults, ...] = (
    Faults(),
    Faults(lost=0.1, refused=0.05, failed=0.05, failed_done=0.05),
    Faults(throttled=0.3, latency=0.5),
    Faults(watch_lag={api.JOBS: 20.0, api.PODS: 5.0}),
    Faults(watch_lag=dict.fromkeys(api.RUNS, 10.0), controller_lag=5.0),
    Faults(lost=0.3, watch_lag={api.PODS: 30.0}),
)
FATES: tuple[tuple[int, Behaviour], ...] = (
    (30, Behaviour(seconds=20)),
    (3, Behaviour(seconds=200)),
    (3, Behaviour(seconds=20, fails=FailureClass.INFRASTRUCTURE)),
    (2, Behaviour(seconds=20, fails=FailureClass.ERROR)),
    (1, Behaviour(seconds=20, fails=FailureClass.OUT_OF_MEMORY)),
    (1, Behaviour(seconds=20, fails=FailureClass.HUNG)),
    (1, Behaviour(seconds=20, fails=FailureClass.PREEMPTED)),
    (1, Behaviour(seconds=20, fails=FailureClass.INVALID_DATA)),
    (1, Behaviour(seconds=20, oom_killed=True)),
    (1, Behaviour(seconds=20, exit_code=139)),
    (1, Behaviour(seconds=20, rubbish="\x00{}" * 1000)),
    (1, Behaviour(seconds=20, exit_code=70, rubbish="Traceback")),
    (1, Behaviour(seconds=20, claims_key="f" * 64)),
    (1, Behaviour(seconds=20, lost_message=True)),
    (1, Behaviour(seconds=400, ignores_sigterm=True)),
    (1, Behaviour(seconds=20, start_seconds=100)),
)


@dataclass(frozen=True)
class Act:
    """Something that happens ``after`` seconds. ``run`` and ``pick`` choose among what there is."""

    kind: str
    after: float
    run: int = 0
    pick: int = 0


@dataclass(frozen=True)
class Plot:
    """All of a history."""

    seed: int
    troubles: int
    """How many of ten pods meet a fate of :data:`FATES`; the others succeed."""
    faults: int
    standby: bool
    skew: float
    """Seconds by which the operators' clocks are wrong."""
    acts: tuple[Act, ...]


class Player:
    """Does what a plot says."""

    def __init__(self, told: Told, plot: Plot) -> None:
        self.told = told
        self.world = told.world
        self.user = told.user
        self.plot = plot
        self.edited: set[str] = set()
        self.acts: Mapping[str, Callable[[Act], None]] = {
            name.removeprefix("act_"): getattr(self, name) for name in dir(self) if name.startswith("act_")
        }

    async def play(self) -> None:
        """Everything, to the end."""
        self.world.store.artifacts[STORAGE, KEY] = digest_of("made elsewhere")
        self.world.store.artifacts[OTHER_STORAGE, KEY] = digest_of("made elsewhere")
        self.world.behave = self._fate
        self._set_faults(self.plot.faults)
        if self.plot.standby:
            self.world.start_operator("operator-b")
        for act in self.plot.acts:
            await asyncio.sleep(act.after)
            self.acts[act.kind](act)
            self.told.invariants.check()
        await self.told.rest()
        self._let_go()
        await self.told.rest()
        for run in self.world.runs():
            self._must_be_over(run)
        self.told.invariants.budgets()
        await self.told.idle()
        await self.told.delete_all()

    def _fate(self, pod: Object) -> Behaviour:
        labels = pod["metadata"]["labels"]
        place = [labels.get(f"boresight.dev/{name}") for name in ("run", "stage", "attempt")]
        random = Random(f"{self.plot.seed} {place} {name_of(pod)[-5:-4]}")
        if random.randrange(10) >= self.plot.troubles:
            return Behaviour(seconds=20)
        return random.choices([fate for _, fate in FATES], [weight for weight, _ in FATES])[0]

    def _set_faults(self, number: int) -> None:
        self.world.faults = FAULTS[number % len(FAULTS)]
        self.world.blind |= api.PODS in self.world.faults.watch_lag

    def _let_go(self) -> None:
        """Nobody holds anything up any more."""
        for run in self.world.runs():
            self.user.resume(name_of(run))
            if run["kind"] == "AlignmentRun":
                self.user.edit(name_of(run), {"stopAfter": None, "task": "TextToText"})

    def _must_be_over(self, run: Object) -> None:
        ended = condition_of(run, "Succeeded").get("status")
        stalled = condition_of(run, "Stalled").get("status")
        assert ended in {"True", "False"} or stalled == "True", f"{name_of(run)} is not over:\n{shown(self.world)}"

    # -- choosing ----------------------------------------------------------------------------------------------------

    def _name(self, act: Act) -> str:
        return NAMES[act.run % len(NAMES)]

    def _run(self, act: Act) -> Object | None:
        return self.user.find(self._name(act))

    def _one(self, items: list[Object], act: Act) -> Object | None:
        return items[act.pick % len(items)] if items else None

    # -- users -------------------------------------------------------------------------------------------------------

    def act_apply(self, act: Act) -> None:
        """A new run, if the name is free."""
        if self._run(act) is None:
            self.user.apply(VARIANTS[act.pick % len(VARIANTS)], self._name(act))

    def act_edit(self, act: Act) -> None:
        """Of the spec; what the schema refuses is refused."""
        run = self._run(act)
        if run is not None and run["kind"] == "AlignmentRun":
            self.edited.add(uid_of(run))
            self.user.edit(name_of(run), EDITS[act.pick % len(EDITS)])

    def act_suspend(self, act: Act) -> None:
        self.user.suspend(self._name(act))

    def act_resume(self, act: Act) -> None:
        self.user.resume(self._name(act))

    def act_retry(self, act: Act) -> None:
        self.user.retry(self._name(act), f"{self.world.now:.0f}")

    def act_label(self, act: Act) -> None:
        self.user.label(self._name(act), str(act.pick))

    def act_delete(self, act: Act) -> None:
        self.user.delete(self._name(act), ("Background", "Foreground")[act.pick % 2])

    def act_recreate(self, act: Act) -> None:
        """As a GitOps tool that replaces."""
        run = self._run(act)
        if run is not None:
            self.user.delete(name_of(run))
            if self.user.find(name_of(run)) is None:
                self.user.apply(
                    {"apiVersion": run["apiVersion"], "kind": run["kind"], "spec": run["spec"]}, name_of(run)
                )

    def act_move(self, act: Act) -> None:
        if self._run(act) is not None:
            self.user.move(self._name(act), (OTHER_STORAGE, None)[act.pick % 2])

    def act_lose_status(self, act: Act) -> None:
        self.user.lose_status(self._name(act))

    def act_lie(self, act: Act) -> None:
        """Plausible lies in the status: another state for a stage."""
        run = self._run(act)
        stages = [dict(stage) for stage in run.get("status", {}).get("stages", ())] if run is not None else []
        if run is not None and stages:
            stage = stages[act.pick % len(stages)]
            stage["state"] = ("Running", "Failed", "Pending", "Suspended", "Starting")[act.pick % 5]
            self.user.lose_status(name_of(run), {**run["status"], "stages": stages})

    def act_delete_job(self, act: Act) -> None:
        job = self._one(self.user.jobs(self._name(act)), act)
        if job is not None:
            self.user.delete_job(job, ("Background", "Foreground")[act.pick % 2])

    def act_delete_pod(self, act: Act) -> None:
        pod = self._one(self.user.pods(self._name(act)), act)
        if pod is not None:
            self.user.delete_pod(pod)

    def act_remove_artifact(self, act: Act) -> None:
        places = sorted(self.world.store.artifacts)
        storage, key = places[act.pick % len(places)]
        if key != KEY:
            self.user.remove_artifact(storage, key)

    # -- the cluster -------------------------------------------------------------------------------------------------

    def act_evict_pod(self, act: Act) -> None:
        pod = self._one([pod for pod in self.user.pods(self._name(act)) if not is_over(pod)], act)
        if pod is not None:
            self.world.kubelet.evict(uid_of(pod))

    def act_evict_job(self, act: Act) -> None:
        job = self._one(self.user.jobs(self._name(act)), act)
        if job is not None:
            self.world.kueue.evict(uid_of(job))

    def act_lose_node(self, act: Act) -> None:
        self.world.kubelet.lose_node(NODES[act.pick % 2])

    def act_return_node(self, act: Act) -> None:
        self.world.kubelet.return_node(NODES[act.pick % 2])

    def act_remove_node(self, act: Act) -> None:
        self.world.kubelet.remove_node(NODES[act.pick % 2])

    def act_unschedulable(self, act: Act) -> None:
        self.world.kubelet.unschedulable = ("0/3 nodes are available", None)[act.pick % 2]

    def act_store_down(self, act: Act) -> None:
        self.world.store.reachable = bool(act.pick % 2)

    def act_server_down(self, act: Act) -> None:
        self.world.blind = True
        self.world.down_until = self.world.now + (1.0, 5.0, 20.0, 60.0)[act.pick % 4]

    def act_faults(self, act: Act) -> None:
        self._set_faults(act.pick)

    def act_expire_pages(self, act: Act) -> None:
        self.world.api.expire_pages()

    # -- operators ---------------------------------------------------------------------------------------------------

    def act_kill(self, act: Act) -> None:
        self.world.blind = True
        alive = self.world.alive()
        if alive:
            self.world.kill(alive[act.pick % len(alive)], (0.5, 2.0, 20.0)[act.pick % 3])

    def act_stop(self, act: Act) -> None:
        """SIGSTOP for a while."""
        self.world.blind = True
        alive = self.world.alive()
        if alive:
            process = alive[act.pick % len(alive)]
            self.world.stop(process)
            self.world.loop.call_later((3.0, 45.0, 100.0)[act.pick % 3], self.world.go_on, process)

    def act_cut_watch(self, act: Act) -> None:
        self.world.blind = True
        for process in self.world.alive():
            process.streams[api.WATCHED[act.pick % len(api.WATCHED)]].cut()

    def act_resume_watch(self, act: Act) -> None:
        for process in self.world.alive():
            for stream in process.streams.values():
                if not stream.connected:
                    stream.resume() if act.pick % 2 else stream.relist()

    def act_replay_watch(self, act: Act) -> None:
        for process in self.world.alive():
            process.streams[api.WATCHED[act.pick % len(api.WATCHED)]].replay(1 + act.pick % 7)


KINDS = sorted(name.removeprefix("act_") for name in dir(Player) if name.startswith("act_"))
USUAL = (
    "apply",
    "apply",
    "apply",
    "edit",
    "suspend",
    "resume",
    "delete",
    "recreate",
    "kill",
    "evict_pod",
    "delete_pod",
    "delete_job",
)
AFTER = (0.0, 0.05, 0.3, 2.0, 10.0, 30.0, 90.0, 400.0)

acts = st.builds(
    Act,
    kind=st.sampled_from((*USUAL, *KINDS)),
    after=st.sampled_from(AFTER),
    run=st.integers(0, len(NAMES) - 1),
    pick=st.integers(0, 11),
)
plots = st.builds(
    Plot,
    seed=st.integers(0, 2**32 - 1),
    troubles=st.sampled_from((0, 0, 3, 10)),
    faults=st.integers(0, len(FAULTS) - 1),
    standby=st.booleans(),
    skew=st.sampled_from((0.0, -400.0, 90.0)),
    acts=st.lists(acts, min_size=1, max_size=14).map(
        lambda drawn: (Act("apply", 0.0, 0, drawn[0].pick), Act("apply", 0.0, 1, drawn[-1].pick), *drawn)
    ),
)


async def play(told: Told, plot: Plot) -> None:
    """The story of a plot."""
    try:
        await Player(told, plot).play()
    except Failure as failure:
        raise AssertionError(f"the history itself is wrong: {failure}") from failure
