"""Running one of our commands in a pod beside the run's own, and giving back what it printed."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ..errors import UserError
from ..framed import FRAMED, CutError, Unframed
from ..records import RunRecord
from ..text import clean
from .api import CONFIG_MAPS, JOBS, PODS, ApiError, Object
from .helper_pod import DOCUMENT_FILE, GRACE_SECONDS, helper_pod, newest_job
from .kinds import BY_KIND, RUN_UID_LABEL, STAGE_LABEL
from .logs import pod_log
from .pod_start import POLL_SECONDS, started
from .record import manifest_of

if TYPE_CHECKING:
    from .source import ClusterRuns

END_SECONDS = 10.0
"""For a pod to have ended whose log has."""
LARGEST_DOCUMENT = 250_000
"""In bytes: an object's annotations have 256 KiB in all."""


@dataclass(frozen=True)
class Given:
    """What a command reads in its pod."""

    option: str
    """Which names the file."""
    document: Mapping[str, Any]


class InCluster:
    """A command of ours in a pod. What it writes to stderr comes to ours; ``exit_code`` is known afterwards."""

    def __init__(self, runs: ClusterRuns, run: RunRecord, command: Sequence[str], given: Given | None = None) -> None:
        """``command``: words of ``boresight``; ``--store`` is added, and the option of what is ``given``."""
        self._runs, self._run, self._command, self._given = runs, run, command, given
        self.exit_code: int | None = None

    def output(self) -> Iterator[bytes]:
        """Start the pod, stream what it prints, remove it, however this ends. Raises :class:`UserError` if that does
        not come whole."""
        runs, run = self._runs, self._run
        whole = runs.get(BY_KIND[run.kind], run.namespace, run.name)
        job = job_of(runs, run)
        option = (self._given.option, DOCUMENT_FILE) if self._given is not None else ()
        unique = uuid.uuid4().hex
        name, mark = f"{run.name[:40].rstrip('-')}-cli-{unique[:8]}", f"boresight-{unique[8:]}"
        command = ["boresight", FRAMED, mark, *self._command, *option, "--store", run.store or store_of(runs, job)]
        pod = helper_pod(job, whole, name=name, command=command, document=self._document())
        printed = Unframed(mark, lambda line: click.echo(clean(line), err=True))
        with _terminated_as_interrupted(), self._there(pod):
            try:
                yield from printed.read(pod_log(runs, started(runs, run.namespace, name), follow=True))
                self.exit_code = printed.exit_code
            except CutError as error:
                raise UserError(
                    f"pod {name}: what it printed did not arrive whole: {error}; the pod {self._end(name)}. A node "
                    "keeps the newest part of a long log alone, and none of a pod that it lost: try again"
                ) from error

    @contextmanager
    def _there(self, pod: Object) -> Iterator[None]:
        """The pod, removed however this ends; if its making was refused, there is none to remove."""
        api, namespace, refused = self._runs.api, self._run.namespace, False
        try:
            try:
                api.create(PODS, namespace, pod)
            except ApiError as error:
                refused = error.code < 500
                raise
            yield
        finally:
            if not refused:
                api.delete(PODS, namespace, pod["metadata"]["name"], gracePeriodSeconds=GRACE_SECONDS)

    def _document(self) -> str | None:
        if self._given is None:
            return None
        text = json.dumps(self._given.document, separators=(",", ":"))
        if len(text.encode()) > LARGEST_DOCUMENT:
            raise UserError(
                f"{self._given.option} for the pod: found {len(text.encode())} bytes, expected at most "
                f"{LARGEST_DOCUMENT}, which is what a pod can be given; run it where the store can be reached, without "
                "--in-cluster"
            )
        return text

    def _end(self, name: str) -> str:
        """How it ended, in words. A log's end comes a little before its pod's."""
        over = self._runs.clock() + END_SECONDS
        while True:
            try:
                status = self._runs.api.get(PODS, self._run.namespace, name).get("status", {})
            except ApiError as error:
                if error.code != 404:
                    raise
                return "is gone"
            for container in status.get("containerStatuses") or ():
                if (ended := container.get("state", {}).get("terminated")) is not None:
                    return f"ended with exit code {ended['exitCode']} ({ended.get('reason', 'no reason given')})"
            if status.get("reason"):
                return f"ended: {status['reason']}: {status.get('message', '')}"
            if self._runs.clock() > over:
                return "has not ended"
            self._runs.sleep(POLL_SECONDS)


def job_of(runs: ClusterRuns, run: RunRecord) -> Object:
    """The Job of the run that tells how its pods read the store. Raises :class:`UserError` if there is none."""
    job = find_job(runs, run)
    if job is None:
        raise UserError(
            f"run {run.namespace}/{run.name} has no Job any more (or not yet), which says where its store is and with "
            "which image and Secret it is read; `kubectl boresight retry` makes one, or name a run that has one"
        )
    return job


def find_job(runs: ClusterRuns, run: RunRecord) -> Object | None:
    """The same, if there is one."""
    job = newest_job(runs.api.list(JOBS, run.namespace, labels=f"{RUN_UID_LABEL}={run.uid}"), STAGE_LABEL)
    return None if job is None else dict(job)


def store_of(runs: ClusterRuns, job: Object) -> str:
    """The store of a run that names none: the operator's settings name it in what it gave the Job."""
    meta, spec = job["metadata"], job["spec"]["template"]["spec"]
    config = next((v["configMap"]["name"] for v in spec.get("volumes", ()) if v["name"] == "boresight-stage"), None)
    if config is None:
        raise UserError(f"job {meta['name']}: found no document of a stage in it, expected the volume boresight-stage")
    data = runs.api.get(CONFIG_MAPS, meta["namespace"], config).get("data", {})
    document = json.loads(next(iter(data.values()), "{}"))
    return str(document["execution"]["storage"])


def as_object(runs: ClusterRuns, run: RunRecord) -> Given:
    """The run as it is now, for ``--object``."""
    return Given("--object", trimmed(runs.get(BY_KIND[run.kind], run.namespace, run.name)))


def trimmed(run: Object) -> dict[str, Any]:
    """The run without what only the API server needs: an object's annotations have 256 KiB in all."""
    kept = ("namespace", "uid", "creationTimestamp")
    manifest = manifest_of(run)
    manifest["metadata"] |= {name: run["metadata"][name] for name in kept}
    return {**manifest, "status": run.get("status") or {}}


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP end us as Ctrl-C does, so that the pod is removed."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
