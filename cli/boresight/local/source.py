"""The runs of this machine: their records, their logs, and the processes that work on them."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UserError
from ..records import Progress, RunFolder, RunRecord, RunRecords, StageRecord, State
from ..settings import default_store, store_folder, store_uri
from ..source import Known, Listing, LogWanted, chosen_attempt, chosen_stage
from . import lock
from .attempt import AttemptFolder

if TYPE_CHECKING:
    from boresight_trainer.store.base import Store

    from ..manifests import Manifest
    from ..report.write import Report

FOLLOW_SECONDS = 0.5
_PROCESS = re.compile(r"\(process (\d+)\)$")


@dataclass(frozen=True)
class LocalRuns:
    """:class:`boresight.source.Runs` of one store."""

    option: str | None
    """``--store``."""
    namespace: str | None
    sleep: Callable[[float], None] = time.sleep

    @property
    def records(self) -> RunRecords:
        """Of ``--store``, or of the default store."""
        return RunRecords(store_folder(store_uri(self.option) if self.option else default_store()))

    def all(self) -> Listing:
        """See :class:`boresight.source.Runs`; of every namespace, unless one was named."""
        unreadable: list[UserError] = []
        found = [record for _, record in self.records.all(unreadable.append)]
        return Listing([r for r in found if self.namespace in (None, r.namespace)], unreadable)

    def find(self, name: str | None) -> RunRecord:
        """See :class:`boresight.source.Runs`."""
        folder, record = self.records.find(name, self.namespace)
        return _with_progress(folder, record)

    def follow(self, run: RunRecord) -> Iterator[RunRecord | None]:
        """See :class:`boresight.source.Runs`."""
        folder = self._folder(run)
        while True:
            record = folder.current()
            yield None if record is None else _with_progress(folder, record)
            self.sleep(FOLLOW_SECONDS)

    def store(self, run: RunRecord) -> Store:
        """See :class:`boresight.source.Runs`; the store that the record lies in, wherever it was moved to since."""
        from boresight_trainer.store.file import FileStore

        return FileStore(self._folder(run).store.as_uri())

    def report(self, run: RunRecord) -> Report:
        """See :class:`boresight.source.Runs`."""
        from ..report.write import make_report

        return make_report(run, self.store(run))

    def report_path(self, run: RunRecord) -> Path:
        """See :class:`boresight.source.Runs`; beside the record."""
        return self._folder(run).report_path

    def log(self, run: RunRecord, wanted: LogWanted) -> Iterator[bytes]:
        """See :class:`boresight.source.Runs`."""
        if wanted.rank not in (None, "0"):
            raise UserError(f"--rank: found {wanted.rank}, expected 0: on this machine a stage is one process")
        stage = chosen_stage(run, wanted.stage)
        number = chosen_attempt(run, stage, wanted)
        attempt = next((attempt for attempt in stage.attempts if attempt.number == number), None)
        if attempt is None or attempt.log is None:
            have = ", ".join(str(attempt.number) for attempt in stage.attempts) or "none"
            raise UserError(f"run {run.name}: stage {stage.name} has no attempt {number} (attempts: {have})")
        path = self._folder(run).path / attempt.log
        if not path.exists():
            raise UserError(f"{path}: the log is gone: somebody removed it")
        yield from self._tail(path, run, stage.name, number, follow=wanted.follow)

    def start(self, file: Path) -> int:
        """See :class:`boresight.source.Runs`; here, as processes."""
        from .display import make_display
        from .launch import ProcessLauncher
        from .planning import choose_store
        from .run import run_manifest

        manifest = self.read(file)
        store = choose_store(self.option, manifest)
        finished = run_manifest(
            manifest,
            store,
            make_display=make_display,
            make_launcher=lambda folder: ProcessLauncher(folder / "server.log"),
        )
        if finished.exit_code == 0:
            from ..report.write import make_report

            report = make_report(finished.record, store)
            report.write(finished.folder.report_path)
            for line in report.summary:
                click.echo(line)
            click.echo(f"report: {finished.folder.report_path}")
        return finished.exit_code

    def suspend(self, run: RunRecord) -> None:
        """See :class:`boresight.source.Runs`; as Ctrl-C at its terminal does."""
        path = self._folder(run).lock_path
        process = _PROCESS.search(lock.holder_of(path))
        if not lock.is_held(path) or process is None:
            raise UserError(f"run {run.namespace}/{run.name} is {run.status}: no process works on it")
        os.kill(int(process[1]), signal.SIGTERM)
        click.echo(f"run {run.namespace}/{run.name}: process {process[1]} takes a checkpoint and ends")

    def resume(self, run: RunRecord) -> int:
        """See :class:`boresight.source.Runs`; a run on this machine goes on when it is run again."""
        return self.start(Path(run.manifest_path))

    def retry(self, run: RunRecord) -> int:
        """See :class:`boresight.source.Runs`; what failed is always begun again."""
        return self.start(Path(run.manifest_path))

    def read(self, file: Path, text: str | None = None) -> Manifest:
        """See :class:`boresight.source.Runs`; with absolute paths."""
        from ..manifests import read_manifest

        return read_manifest(file, text)

    def known(self, manifest: Manifest) -> Known:
        """See :class:`boresight.source.Runs`; local files are hashed."""
        from .planning import choose_store, finished, known_pins

        store = choose_store(self.option, manifest)
        record = RunRecords(store.root).folder(manifest.namespace, manifest.name).read()

        def there(keys: Iterable[str]) -> frozenset[str]:
            return frozenset(key for key in keys if finished(store, key) is not None)

        return Known(
            pins=known_pins(manifest, store, record),
            recipe=record.recipe if record is not None else None,
            finished=there,
            present=record,
            place=store.uri,
        )

    def _folder(self, run: RunRecord) -> RunFolder:
        return self.records.folder(run.namespace, run.name)

    def _tail(self, path: Path, run: RunRecord, stage: str, number: int, *, follow: bool) -> Iterator[bytes]:
        with path.open("rb") as file:
            while True:
                over = not follow or not self._is_at_work(run, stage, number)
                while part := file.read(65_536):
                    yield part
                if over:
                    return
                self.sleep(FOLLOW_SECONDS)

    def _is_at_work(self, run: RunRecord, name: str, number: int) -> bool:
        record = self._folder(run).current()
        stage = record.stage(name) if record is not None else None
        return stage is not None and stage.state is State.RUNNING and stage.attempts[-1].number == number


def _with_progress(folder: RunFolder, record: RunRecord) -> RunRecord:
    return replace(record, stages=tuple(replace(s, progress=_progress(folder, s)) for s in record.stages))


def _progress(folder: RunFolder, stage: StageRecord) -> Progress | None:
    """How far a running stage is, as its process says."""
    if stage.state is not State.RUNNING or not stage.attempts:
        return None
    attempt = AttemptFolder(folder.attempt_folder(stage.name, stage.key, stage.attempts[-1].number))
    document = attempt.read_progress() or {}
    left = document.get("remainingSeconds")
    return Progress(
        step=int(document.get("step") or 0),
        total_steps=int(document.get("totalSteps") or 0),
        phase=str(document.get("phase") or "start"),
        remaining_seconds=float(left) if isinstance(left, int | float) else None,
    )
