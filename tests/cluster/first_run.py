"""One whole run in real pods, looked at while it goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from apiserver.client import Object
from boresight_operator.api import JOBS
from boresight_operator.names import RUN_UID_LABEL, STAGE_LABEL
from cluster.tenants import RealTenant, stage_times

STAGES = ("prepare", "feedback-model", "synthesis", "policy", "evaluation")


@dataclass(frozen=True)
class FirstRun:
    """What there was to see."""

    run: Object
    """At its end."""
    job_after_seconds: float
    """From the run's creation to that of its first Job, by the API server's clock, which counts whole seconds."""
    pod_after_seconds: float
    """From before the request that created the run until its first pod was seen running."""
    seconds: float
    """The whole run."""
    stages: dict[str, float]
    """How long each stage's container ran."""
    first_step: dict[str, float]
    """From the start of a stage's container to its first optimizer step: imports, model, data."""

    @classmethod
    def watch(cls, tenant: RealTenant) -> Self:
        """Make the run, and wait until it has succeeded. Raises AssertionError if it does not."""
        started = time.monotonic()
        run = tenant.start_run("first")
        tenant.await_pod(run, "prepare")
        pod_after = time.monotonic() - started
        first_step = {stage: tenant.seconds_to_first_step(run, stage) for stage in ("feedback-model", "policy")}
        run = tenant.await_success(run)
        seconds = time.monotonic() - started
        jobs = tenant.client.list(JOBS, tenant.namespace, labels=f"{RUN_UID_LABEL}={run['metadata']['uid']}")
        first_job = min(_time(job) for job in jobs if job["metadata"]["labels"][STAGE_LABEL] == "prepare")
        stages = {stage: stage_times(tenant.pods(run, stage)[-1]) for stage in STAGES}
        return cls(run, (first_job - _time(run)).total_seconds(), pod_after, seconds, stages, first_step)

    def times(self) -> str:
        """For who reads the tests' output."""
        stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in self.stages.items())
        steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.first_step.items())
        return (
            f"first pod running after {self.pod_after_seconds:.1f} s; containers in seconds: {stages}; "
            f"from a container's start to its first step: {steps}; the whole run: {self.seconds:.0f} s"
        )


def _time(item: Object) -> datetime:
    return datetime.fromisoformat(item["metadata"]["creationTimestamp"])
