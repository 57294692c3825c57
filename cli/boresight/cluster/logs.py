"""The log of an attempt: of its pod while there is one, else as the trainer kept it in the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..errors import UserError
from ..kept_logs import kept_log
from ..records import RunRecord
from ..source import LogWanted, chosen_attempt, chosen_stage, rank_at_fault
from .api import PODS, ApiError, Object
from .kinds import ATTEMPT_LABEL, PART_LABEL, RANK_ANNOTATION, RUN_UID_LABEL, STAGE_LABEL

if TYPE_CHECKING:
    from .source import ClusterRuns

MERGE = "merge"
_WITHOUT_A_LOG = {400, 404, 500, 502, 503, 504}
"""Answers for a pod whose container is gone, or lies on a node that does not answer."""


def log(runs: ClusterRuns, run: RunRecord, wanted: LogWanted) -> Iterator[bytes]:
    """In parts, as they come."""
    stage = chosen_stage(run, wanted.stage)
    attempt = chosen_attempt(run, stage, wanted)
    rank = wanted.rank or rank_at_fault(stage, attempt)
    labels = f"{RUN_UID_LABEL}={run.uid},{STAGE_LABEL}={stage.name},{ATTEMPT_LABEL}={attempt}"
    pod = pod_of_rank(runs.api.list(PODS, run.namespace, labels=labels), rank)
    if pod is not None:
        name = pod["metadata"]["name"]
        if pod.get("status", {}).get("phase", "Pending") == "Pending":  # its log would be empty, and no error
            why = f": {stage.reason}: {stage.message}" if stage.message else ""
            raise UserError(f"pod {name} has not started, so there is no log yet{why}")
        try:
            yield from pod_log(runs, pod, follow=wanted.follow)
            return
        except ApiError as error:
            if error.code not in _WITHOUT_A_LOG:
                raise
            click.echo(f"pod {name}: {error.message}; looking for the log that its process kept", err=True)
    if not runs.in_cluster:
        yield from kept_log(runs.store(run), run, stage.name, attempt, rank)
        return
    from .in_cluster import InCluster, as_object

    command = ["logs", "--stage", stage.name, "--attempt", str(attempt), "--rank", rank]
    pod_command = InCluster(runs, run, command, as_object(runs, run))
    yield from pod_command.output()
    if pod_command.exit_code:
        raise UserError(f"the pod could not read it: exit code {pod_command.exit_code}")


def pod_of_rank(pods: list[Object], rank: str) -> Object | None:
    """The newest pod of a rank, or of the merge."""
    found = [pod for pod in pods if _rank(pod) == rank]
    return max(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)


def pod_log(runs: ClusterRuns, pod: Object, *, follow: bool) -> Iterator[bytes]:
    """As its kubelet has it."""
    meta = pod["metadata"]
    query = {"container": pod["spec"]["containers"][0]["name"], **({"follow": "true"} if follow else {})}
    path = PODS.path(meta["namespace"], meta["name"], "log")
    yield from runs.api.stream(path, query=query, seconds=None if follow else 60.0)


def _rank(pod: Object) -> str:
    meta = pod["metadata"]
    if meta.get("labels", {}).get(PART_LABEL) == MERGE:
        return MERGE
    return str(meta.get("annotations", {}).get(RANK_ANNOTATION, "0"))
