"""The runs of a cluster: their objects, their pods, and the store that they name."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import INVALID_CONFIG, UNREACHABLE, UserError
from ..records import RunRecord
from ..source import Known, Listing, LogWanted
from .api import NAMESPACES, Api, ApiError, Object, Resource
from .kinds import BY_KIND, RETRY_ANNOTATION, RUNS, WORDS
from .kubeconfig import find_access
from .record import record_of

if TYPE_CHECKING:
    from boresight_trainer.store.base import Store
    from boresight_trainer.store.garbage import Living

    from ..manifests import Manifest
    from ..report.write import Report

FOLLOW_SECONDS = 2.0
PATIENCE_SECONDS = 300.0
"""For an API server that does not answer while a run is followed: an upgrade of the control plane takes less."""
STORE_SECONDS = 15.0
"""For a store that does not answer: from here it may never."""


@dataclass(frozen=True)
class ClusterRuns:
    """:class:`boresight.source.Runs` of one namespace (or of all, for a list)."""

    api: Api
    everywhere: bool = False
    force_conflicts: bool = False
    """Whether what is applied takes fields from other managers."""
    in_cluster: bool = False
    """Whether a pod reads the store for reports and logs."""
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @property
    def namespace(self) -> str:
        """Of the flags, else of the context."""
        return self.api.access.namespace

    # -- looking -----------------------------------------------------------------------------------------------------

    def all(self) -> Listing:
        """See :class:`boresight.source.Runs`."""
        found = self.objects()
        if not found:
            self._check_namespace()
        records = [record_of(run, self.now()) for run in found]
        return Listing(sorted(records, key=lambda record: record.started_at, reverse=True))

    def find(self, name: str | None) -> RunRecord:
        """See :class:`boresight.source.Runs`; ``kind/name`` (``eval/first``) says which of several."""
        return record_of(self.object(name), self.now())

    def follow(self, run: RunRecord) -> Iterator[RunRecord | None]:
        """See :class:`boresight.source.Runs`; a new object of the same name is another run. While the API server
        is away the run is as it was last."""
        lost, last = None, run
        while True:
            try:
                now = self.get(BY_KIND[run.kind], run.namespace, run.name)
                lost, last = None, record_of(now, self.now())
                yield last if last.uid == run.uid else None
            except UserError as error:
                if isinstance(error, ApiError) and error.code == 404:
                    yield None
                    return
                if error.exit_code != UNREACHABLE:
                    raise
                if lost is None:
                    lost = self.clock()
                    click.echo(f"{error.message} Trying on.", err=True)
                if self.clock() - lost > PATIENCE_SECONDS:
                    raise
                yield last
            self.sleep(FOLLOW_SECONDS)

    def names(self) -> list[str]:
        """Names of the runs of the namespace."""
        found = [run for kind in RUNS for run in self.api.list(kind, self.namespace)]
        return sorted({str(run["metadata"]["name"]) for run in found})

    def objects(self) -> list[Object]:
        """All runs, of the three kinds."""
        namespace = None if self.everywhere else self.namespace
        return [{**run, "kind": kind.kind} for kind in RUNS for run in self._listed(kind, namespace)]

    def object(self, name: str | None) -> Object:
        """One run's object."""
        if name is None:
            runs = sorted(self.objects(), key=lambda run: str(run["metadata"]["creationTimestamp"]))
            if not runs:
                self._check_namespace()
                raise UserError(f"no runs in namespace {self.namespace}; start one with `kubectl boresight run FILE`")
            return runs[-1]
        kinds, namespace, name = self._meant(name)
        found = []
        for kind in kinds:
            try:
                found.append(self.get(kind, namespace, name))
            except ApiError as error:
                if error.code != 404:
                    raise
        if len(found) > 1:
            meant = " or ".join(f"{run['kind'].lower()}/{name}" for run in found)
            raise UserError(f"{name}: found {len(found)} runs of that name in namespace {namespace}; say {meant}")
        if not found:
            raise self._no_such_run(kinds, namespace, name)
        return found[0]

    def get(self, kind: Resource, namespace: str, name: str) -> Object:
        """A run's object. Raises :class:`ApiError` (404) if there is none."""
        return {**self.api.get(kind, namespace, name), "kind": kind.kind}

    def _meant(self, name: str) -> tuple[tuple[Resource, ...], str, str]:
        """Kinds, namespace and name in ``name``, ``kind/name`` or ``namespace/name``."""
        before, slash, rest = name.rpartition("/")
        if not slash:
            return RUNS, self.namespace, name
        if before.lower() in WORDS:
            return (WORDS[before.lower()],), self.namespace, rest
        return RUNS, before, rest

    def _listed(self, kind: Resource, namespace: str | None) -> list[Object]:
        try:
            return self.api.list(kind, namespace)
        except ApiError as error:
            if error.code == 404:
                raise self._no_kinds() from error
            raise

    def _no_such_run(self, kinds: Iterable[Resource], namespace: str, name: str) -> UserError:
        """What might have been meant, or what is missing on the whole."""
        here = replace(self, api=self.api.in_namespace(namespace))
        names = sorted({str(r["metadata"]["name"]) for kind in kinds for r in here._listed(kind, namespace)})
        if not names:
            here._check_namespace()
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        what = f"found no run {name} in namespace {namespace} (context {self.api.access.context})"
        if close:
            return UserError(f"{what}; did you mean {' or '.join(close)}?")
        return UserError(f"{what}; runs there: {', '.join(names[:12]) + (', ...' if names[12:] else '') or 'none'}")

    def _check_namespace(self) -> None:
        """An empty list may mean that there is no such namespace. Who may not look is not told."""
        if self.everywhere:
            return
        try:
            self.api.get(NAMESPACES, None, self.namespace)
        except ApiError as error:
            if error.code == 404:
                raise UserError(
                    f"found no namespace {self.namespace} in context {self.api.access.context}; name another with -n"
                ) from error
            if error.code != 403:
                raise

    def _no_kinds(self) -> UserError:
        return UserError(
            f"the cluster of context {self.api.access.context} does not know Boresight's kinds: install the chart "
            "(docs/install.md), or name another --context"
        )

    # -- the store ---------------------------------------------------------------------------------------------------

    def store(self, run: RunRecord) -> Store:
        """See :class:`boresight.source.Runs`; with the ``AWS_*`` variables of this machine,
        and the authorities of ``BORESIGHT_CA_BUNDLE``."""
        from boresight_api.outcome import StageFailure
        from boresight_trainer.store.open import open_store
        from boresight_trainer.store.trust import trust_own_authorities

        uri, endpoint = self._place_of(run)
        if uri.startswith("file:"):
            raise UserError(
                f"run {run.namespace}/{run.name}: its store is {uri}, a folder in its pods; --in-cluster (of "
                "artifacts, report and logs) looks into it there"
            )
        try:
            trust_own_authorities()
            return open_store(uri, environment=with_endpoint(os.environ, endpoint), patience=STORE_SECONDS)
        except StageFailure as failure:
            raise UserError(
                f"{uri} cannot be read from here: {failure.message}; --in-cluster (of artifacts, report and "
                "logs) reads it with the run's own Secret"
            ) from failure

    def _place_of(self, run: RunRecord) -> tuple[str, str | None]:
        """URI and endpoint of its store: the run's own word, or what the operator's settings have put into its Jobs.

        Where its artifacts lie is in its status, too; without a Job nobody says by which endpoint.
        """
        from boresight_trainer.store.buckets import ENDPOINT_VARIABLES

        from .helper_pod import environment_of
        from .in_cluster import find_job, job_of, store_of

        storage = run.manifest["spec"].get("storage")
        if storage:
            return storage["uri"], storage.get("endpoint")
        job = find_job(self, run) if run.store else job_of(self, run)
        if job is None:
            if run.store.startswith("s3:") and not any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
                click.echo(
                    f"run {run.namespace}/{run.name} has no Job any more, which says by which endpoint {run.store} is "
                    f"reached; taken for AWS: set {ENDPOINT_VARIABLES[0]} if it is not",
                    err=True,
                )
            return run.store, None
        return run.store or store_of(self, job), environment_of(job).get(ENDPOINT_VARIABLES[0])

    def living(self, run: RunRecord) -> Living:
        """What runs there are, whose artifacts are no garbage: in the cluster, or for who may not list them in all
        namespaces, in the run's. Raises :class:`ApiError` for who may not list them there either."""
        from ..living import living_of

        try:
            return living_of(replace(self, everywhere=True).objects(), None)
        except ApiError as error:
            if error.code != 403:
                raise
        here = replace(self, api=self.api.in_namespace(run.namespace), everywhere=False)
        return living_of(here.objects(), frozenset({run.namespace}))

    def report(self, run: RunRecord) -> Report:
        """See :class:`boresight.source.Runs`; the page alone, if a pod makes it."""
        from ..report.write import Report, make_report
        from .reports import fetch_page

        return Report(fetch_page(self, run)) if self.in_cluster else make_report(run, self.store(run))

    def report_path(self, run: RunRecord) -> Path:
        """See :class:`boresight.source.Runs`; a folder here."""
        return Path(f"{run.name}-report") / "report.html"

    def log(self, run: RunRecord, wanted: LogWanted) -> Iterator[bytes]:
        """See :class:`boresight.source.Runs`; of the pod if it is there, else as the trainer kept it in the store."""
        from .logs import log

        return log(self, run, wanted)

    # -- acting ------------------------------------------------------------------------------------------------------

    def start(self, file: Path) -> int:
        """See :class:`boresight.source.Runs`: apply and watch. Ctrl-C ends the watching, not the run."""
        from ..watching import watch

        manifest = self.read(file)
        resource, namespace = BY_KIND[manifest.run.kind], self._namespace_of(manifest)
        try:
            applied = self.api.apply(
                resource, namespace, manifest.name, _as_applied(manifest, namespace), force=self.force_conflicts
            )
        except ApiError as error:
            raise self._not_applied(error, manifest, namespace) from error
        click.echo(f"{resource.kind.lower()}/{manifest.name} applied in namespace {namespace}", err=True)
        return watch(self, record_of({**applied, "kind": resource.kind}, self.now()))

    def suspend(self, run: RunRecord) -> None:
        """See :class:`boresight.source.Runs`."""
        self._set_suspend(run, True, "suspended: the attempt at work takes a checkpoint and ends")

    def resume(self, run: RunRecord) -> int:
        """See :class:`boresight.source.Runs`."""
        self._set_suspend(run, False, "resumed")
        return 0

    def retry(self, run: RunRecord) -> int:
        """See :class:`boresight.source.Runs`."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now()))
        self.api.merge(
            BY_KIND[run.kind], run.namespace, run.name, {"metadata": {"annotations": {RETRY_ANNOTATION: stamp}}}
        )
        click.echo(f"{_named(run)} tried again: budgets are fresh, prepare looks into the store")
        return 0

    def _set_suspend(self, run: RunRecord, value: bool, done: str) -> None:
        if bool(run.manifest["spec"].get("suspend")) is value:
            click.echo(f"{_named(run)} is {'suspended' if value else 'not suspended'} already")
            return
        self.api.merge(BY_KIND[run.kind], run.namespace, run.name, {"spec": {"suspend": value}})
        click.echo(f"{_named(run)} {done}")

    def _not_applied(self, error: ApiError, manifest: Manifest, namespace: str) -> UserError:
        if error.code == 404:
            self._listed(BY_KIND[manifest.run.kind], namespace)  # says that the kinds are missing, if they are
            return UserError(f"{manifest.path}: namespace {namespace}: {error.message}")
        if error.code == 409:
            return UserError(
                f"{manifest.path}: somebody else sets the same fields ({error.message}); change them there, in Git or "
                "with the tool that applied them, or take them over with --force-conflicts"
            )
        invalid = error.code in {400, 422}
        return UserError(f"{manifest.path}: {error.message}", INVALID_CONFIG if invalid else 1)

    # -- planning ----------------------------------------------------------------------------------------------------

    def read(self, file: Path, text: str | None = None) -> Manifest:
        """See :class:`boresight.source.Runs`; as it stands: paths are those of pods."""
        from ..manifests import read_manifest

        return read_manifest(file, text, rebased=False)

    def known(self, manifest: Manifest) -> Known:
        """See :class:`boresight.source.Runs`: of the run of that name, and what any run of the namespace has made."""
        from boresight_api.pins import Pin

        namespace = self._namespace_of(manifest)
        here = replace(self, api=self.api.in_namespace(namespace), everywhere=False)
        runs = here.objects()
        wanted = (manifest.run.kind, manifest.name)
        present = next((run for run in runs if (run["kind"], run["metadata"]["name"]) == wanted), None)
        record = record_of(present, self.now()) if present is not None else None
        made = _made(runs, manifest.document.get("spec", {}).get("storage"))
        return Known(
            pins={str(pin["id"]): Pin.model_validate(pin) for pin in (record.pins if record is not None else ())},
            recipe=record.recipe if record is not None else None,
            finished=lambda keys: frozenset(made.intersection(keys)),
            present=record,
            place=f"runs of namespace {namespace}",
        )

    def _namespace_of(self, manifest: Manifest) -> str:
        """As kubectl has it: the manifest's own, which a flag must not contradict; else the flag's or the context's."""
        own, asked = manifest.run.metadata.namespace, self.api.asked_namespace
        if own and asked and own != asked:
            raise UserError(
                f"{manifest.path}: metadata.namespace: found {own}, and --namespace {asked}; leave one of them out"
            )
        return own or self.namespace


def open_cluster(
    *,
    kubeconfig: str | None = None,
    context: str | None = None,
    namespace: str | None = None,
    everywhere: bool = False,
    force_conflicts: bool = False,
    in_cluster: bool = False,
) -> ClusterRuns:
    """The runs that these flags of kubectl mean; the others are fields of :class:`ClusterRuns`."""
    api = Api(find_access(kubeconfig, context, namespace), asked_namespace=namespace)
    return ClusterRuns(api, everywhere, force_conflicts, in_cluster)


def with_endpoint(environment: Mapping[str, str], endpoint: str | None) -> Mapping[str, str]:
    """Of this machine, with the run's endpoint unless it names one itself, by either variable."""
    from boresight_trainer.store.buckets import ENDPOINT_VARIABLES

    if not endpoint or any(environment.get(name) for name in ENDPOINT_VARIABLES):
        return environment
    return {**environment, ENDPOINT_VARIABLES[0]: endpoint}


def _made(runs: Iterable[Mapping[str, Any]], storage: Mapping[str, Any] | None) -> frozenset[str]:
    """Keys of artifacts that runs with this storage have, by their own word."""
    return frozenset(
        str(stage["key"])
        for run in runs
        if _place(run["spec"].get("storage")) == _place(storage)
        for stage in (run.get("status") or {}).get("stages") or ()
        if stage.get("artifact") and stage.get("key")
    )


def _place(storage: Mapping[str, Any] | None) -> tuple[str, str]:
    found = storage or {}
    return str(found.get("uri") or "").rstrip("/"), str(found.get("endpoint") or "")


def _as_applied(manifest: Manifest, namespace: str) -> Object:
    document = dict(manifest.document)
    document.pop("status", None)
    return {**document, "metadata": {**document["metadata"], "namespace": namespace}}


def _named(run: RunRecord) -> str:
    return f"{run.kind.lower()}/{run.name}"
