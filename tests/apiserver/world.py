"""What a test of the operator has at hand: a namespace, a played kubelet, words for what runs say of themselves."""

from __future__ import annotations

import time
from dataclasses import dataclass

from boresight_operator.api import ALIGNMENT_RUNS, CONFIG_MAPS, EVAL_RUNS, SYNTHESES
from boresight_operator.names import RUN_UID_LABEL

from .client import Object
from .kubelet import Kubelet, jobs
from .operator_process import OperatorProcess
from .runs import stage_of
from .tenant import Tenant


@dataclass
class World(Tenant):
    """One test's view of the cluster."""

    kubelet: Kubelet
    operator: OperatorProcess

    def explanation(self) -> str:
        """The end of the operator's log."""
        return "operator:\n" + (self.operator.process.tail(12) if self.operator.running else "(no operator runs)")

    def play(self, run: Object, *stages: str, count: int = 1) -> None:
        """Let these stages succeed, one after the other."""
        for stage in stages:
            self.kubelet.play(run, stage, count=count)
            self.await_stage(run, stage, "Succeeded")

    def start(self, run: Object, stage: str, *, attempt: int | None = None) -> Object:
        """Wait for the stage's pod, run it, and wait until the status says so."""
        pod = self.kubelet.run(self.kubelet.await_pods(run, stage, attempt=attempt)[0])
        self.await_run(run, lambda run: "runningSince" in stage_of(run, stage), f"{stage} runs")
        return pod

    # -- what there is -------------------------------------------------------------------------------------------

    def jobs(self, run: Object, stage: str | None = None) -> list[Object]:
        """Jobs of a run, oldest first."""
        found = jobs(self.client, run)
        return [job for job in found if stage in (None, job["metadata"]["labels"]["boresight.dev/stage"])]

    def config_maps(self, run: Object) -> list[Object]:
        """ConfigMaps of a run."""
        return self.client.list(CONFIG_MAPS, self.namespace, labels=f"{RUN_UID_LABEL}={run['metadata']['uid']}")

    def nothing_changes(self, run: Object, *, seconds: float = 2) -> None:
        """The run's status and Jobs stay as they are."""
        before = (self.now(run)["metadata"]["resourceVersion"], [job["metadata"]["uid"] for job in self.jobs(run)])
        time.sleep(seconds)
        assert (
            self.now(run)["metadata"]["resourceVersion"],
            [job["metadata"]["uid"] for job in self.jobs(run)],
        ) == before


KIND_STAGES = {
    ALIGNMENT_RUNS.kind: ("feedback-model", "synthesis", "policy", "evaluation"),
    SYNTHESES.kind: ("synthesis",),
    EVAL_RUNS.kind: ("evaluation",),
}
"""Keyed stages of the smallest manifest of each kind."""
