"""``boresight run``: a manifest's plan, stage by stage, as processes on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from boresight_api.outcome import FailureClass, Outcome, PrepareReport, exit_code_of
from boresight_api.plan import PlannedStage
from boresight_trainer.store.file import FileStore

from ..errors import UserError
from ..manifests import Manifest, PlannedRun
from ..records import Attempt, RunFolder, RunRecord, RunRecords, SourceEntry, StageRecord, State, now
from ..text import duration, plural, short
from . import lock
from .attempt import POLL_SECONDS, AttemptFolder, Ended, Process, watch
from .display import Display
from .estimate import append_history, estimate, read_history
from .execution import GRACE_SECONDS, prepare_document, run_uid, stage_document
from .interrupt import Interrupt
from .launch import Launcher
from .outcomes import Next, decide, last_lines, read_outcome
from .planning import finished, known_pins, make_plan

PREPARE = "prepare"
INTERRUPTED_EXIT = 130


@dataclass(frozen=True)
class Finished:
    """How a run ended on this machine."""

    folder: RunFolder
    record: RunRecord
    exit_code: int


def run_manifest(
    manifest: Manifest,
    store: FileStore,
    *,
    make_display: Callable[[int], Display],
    make_launcher: Callable[[Path], Launcher],
) -> Finished:
    """Do everything in the manifest's plan that the store does not have yet.

    ``make_display`` gets the width of the longest stage name, ``make_launcher`` the run's folder.

    Raises :class:`UserError` if another process works on the run, and for whatever is wrong with the manifest.
    """
    folder = RunRecords(store.root).folder(manifest.namespace, manifest.name)
    holder = f"{manifest.namespace}/{manifest.name} (process {os.getpid()})"
    with ExitStack() as resources:
        if not resources.enter_context(lock.hold(folder.lock_path, holder)):
            raise UserError(
                f"run {manifest.namespace}/{manifest.name} is being worked on already: "
                f"{lock.holder_of(folder.lock_path)}; `boresight status {manifest.name}` shows how far it is"
            )
        before = folder.read()
        recipe = before.recipe if before is not None else None
        planned = make_plan(manifest, store, known_pins(manifest, store, before), recipe=recipe)
        width = max(len(stage.name) for stage in planned.plan.stages)
        display = resources.enter_context(make_display(width))
        launcher = resources.enter_context(make_launcher(folder.path))
        interrupt = resources.enter_context(Interrupt())
        work = Work(manifest, store, folder, display, interrupt, launcher, _new_record(manifest, store, planned))
        return work.go(planned)


@dataclass
class Work:
    """One invocation of ``boresight run``. ``record`` is written after every change."""

    manifest: Manifest
    store: FileStore
    folder: RunFolder
    display: Display
    interrupt: Interrupt
    launcher: Launcher
    record: RunRecord

    def go(self, planned: PlannedRun) -> Finished:
        """prepare, then every stage in order; stops at the first that does not end well."""
        started = time.monotonic()
        self._announce(planned)
        if planned.to_run:
            self.launcher.warm_up()  # imports torch while prepare runs
        self._save()
        report = self._prepare(planned)
        if isinstance(report, PrepareReport):
            final = self._replan(planned, report)
            code = next((c for s in final.plan.stages if (c := self._stage(s, final, report)) is not None), None)
        else:
            code = report
        self.record = replace(self.record, ended_at=now())
        self._save()
        if code is None:
            self.display.note(f"finished in {duration(time.monotonic() - started)}")
        return Finished(self.folder, self.record, code or 0)

    # -- the parts, in the order of their use ------------------------------------------------------------------------

    def _announce(self, planned: PlannedRun) -> None:
        names = [stage.name for stage in planned.plan.stages]
        todo = estimate(
            planned.to_run,
            all_stages=names,
            history=read_history(self.folder.path),
            annotations=self.manifest.run.metadata.annotations,
        )
        cached = f", {len(planned.cached)} of them cached" if planned.cached else ""
        self.display.note(
            f"{self.manifest.run.kind} {self.manifest.namespace}/{self.manifest.name}: "
            f"{PREPARE} and {plural(len(names), 'stage')}{cached}: {', '.join(names)}"
        )
        self.display.note(f"store: {self.store.uri}")
        if todo.seconds is None:
            self.display.note(f"time: unknown ({todo.basis})")
        elif planned.to_run:
            self.display.note(f"time: about {duration(todo.seconds)} ({todo.basis})")
        if planned.held:
            self.display.note(f"spec.stopAfter: {', '.join(planned.held)} will not run")

    def _prepare(self, planned: PlannedRun) -> PrepareReport | int:
        """Pin the sources, check the data, look at the store. Its report, or the exit code if that went wrong."""
        number = _next_number(self.folder, PREPARE, None)
        attempt = AttemptFolder(self.folder.attempt_folder(PREPARE, None, number))
        pins, recipe = tuple(planned.pins.values()), planned.plan.recipe
        attempt.create(prepare_document(self.manifest, pins, self.store.uri, attempt, recipe=recipe))
        outcome, ended = self._attempt(
            StageRecord(PREPARE, PREPARE), attempt, number, halvings=0, start=partial(self.launcher.prepare, attempt)
        )
        if outcome.failure_class is not None:
            return self._tell_failure(PREPARE, outcome, ended, attempt)
        if outcome.prepare is None:
            raise UserError(f"{attempt.outcome}: prepare reported nothing; its log is {attempt.log}")
        self._change(PREPARE, state=State.SUCCEEDED)
        append_history(self.folder.path, PREPARE, None, ended.seconds)
        self.display.end("✓", f"{duration(ended.seconds)}")
        return outcome.prepare

    def _replan(self, planned: PlannedRun, report: PrepareReport) -> PlannedRun:
        """The plan with prepare's pins, which must be the plan that prepare made."""
        pins = {pin.id: pin for pin in report.pins}
        final = make_plan(self.manifest, self.store, pins, recipe=planned.plan.recipe)
        if final.plan.digest != report.plan:
            raise UserError(
                f"prepare planned {short(report.plan)}, this process {short(final.plan.digest)}: they are of different "
                "versions of Boresight, or the manifest changed meanwhile; run it again"
            )
        facts = {source.id: source for source in final.plan.sources}
        self.record = replace(
            self.record,
            pins=tuple(pin.model_dump(mode="json", by_alias=True, exclude_none=True) for pin in report.pins),
            plan=final.plan.digest,
            sources=tuple(
                SourceEntry(
                    id=pin.id,
                    uri=facts[pin.id].uri,
                    digest=pin.digest or f"artifact://{pin.key}",
                    revision=pin.revision,
                    rows=pin.rows,
                    licence=pin.licence,
                )
                for pin in report.pins
                if pin.id in facts
            ),
        )
        for stage in final.plan.stages:
            self._change(stage.name, key=stage.key)
        return final

    def _stage(self, stage: PlannedStage, planned: PlannedRun, report: PrepareReport) -> int | None:
        """One stage to its artifact. None if it is there in the end (or the stage is held), else the exit code."""
        if stage.name in planned.held:
            self._change(stage.name, state=State.HELD)
            return None
        if self.interrupt.requests:
            return self._tell_interrupted(stage.name)
        assert stage.key is not None
        if self._adopt(stage, f"cached  {short(stage.key)}"):
            return None
        path = self.store.root / "locks" / f"{stage.key}.lock"
        holder = f"{self.manifest.namespace}/{self.manifest.name} (process {os.getpid()})"
        with lock.wait_for(
            path,
            holder,
            on_wait=lambda other: self.display.note(f"{stage.name}: waiting for {other}, which works on the same key"),
            poll=lambda: not self.interrupt.requests,
        ) as free:
            if not free:
                return self._tell_interrupted(stage.name)
            if self._adopt(stage, f"cached  {short(stage.key)}, made by another run meanwhile"):
                return None
            return self._work_on(stage, report)

    def _work_on(self, stage: PlannedStage, report: PrepareReport) -> int | None:
        if not self._warm():
            return self._tell_interrupted(stage.name)
        halvings = 0
        while True:
            number = _next_number(self.folder, stage.name, stage.key)
            number = max(number, _highest_checkpointed(report, stage.name) + 1)
            attempt = AttemptFolder(self.folder.attempt_folder(stage.name, stage.key, number))
            attempt.create(
                stage_document(self.manifest, stage, self.store.uri, attempt, attempt=number, halvings=halvings)
            )
            record = self.record.stage(stage.name)
            assert record is not None
            outcome, ended = self._attempt(
                record, attempt, number, halvings=halvings, start=partial(self.launcher.stage, attempt)
            )
            if outcome.failure_class is None:
                self._tell_success(stage, outcome, ended)
                return None
            follow = decide(outcome.failure_class, recipe=stage.recipe, halvings=halvings)
            if ended.stopped or follow is Next.STOP:
                return self._tell_failure(stage.name, outcome, ended, attempt)
            halvings += 1
            self.display.end("!", "ran out of memory; once more with half the token budget")

    def _warm(self) -> bool:
        """Wait until stages can start; False if the user has enough of it."""
        if self.launcher.is_warm(0.0):
            return True
        started = time.monotonic()
        self.display.begin("start")
        self.display.update({"phase": "importing"})
        while not self.launcher.is_warm(POLL_SECONDS):
            if self.interrupt.requests:
                self.display.end("!", "stopped while importing torch and transformers")
                return False
        self.display.end("✓", f"{duration(time.monotonic() - started)}  torch and transformers imported")
        return True

    def _attempt(
        self,
        record: StageRecord,
        attempt: AttemptFolder,
        number: int,
        *,
        halvings: int,
        start: Callable[[], Process],
    ) -> tuple[Outcome, Ended]:
        """Start the process, watch it to its end, write down how it ended."""
        begun = Attempt(
            number,
            now(),
            halvings=halvings or None,
            log=str(attempt.log.relative_to(self.folder.path)),
        )
        earlier = record.attempts
        self._change(record.name, state=State.RUNNING, attempts=(*earlier, begun))
        self.display.begin(record.name)
        ended = watch(start(), attempt, self.display, self.interrupt, grace_seconds=GRACE_SECONDS)
        outcome = read_outcome(attempt.outcome, record.name, record.key, ended.exit_code, attempt.log)
        over = replace(
            begun,
            ended_at=now(),
            seconds=round(ended.seconds, 2),
            exit_code=ended.exit_code,
            failure_class=outcome.failure_class.value if outcome.failure_class else None,
            message=outcome.message,
            step=outcome.step,
        )
        self._change(record.name, attempts=(*earlier, over))
        return outcome, ended

    # -- what became of a stage --------------------------------------------------------------------------------------

    def _adopt(self, stage: PlannedStage, text: str) -> bool:
        """Whether the artifact is in the store already; then the stage is Cached."""
        assert stage.key is not None
        manifest = finished(self.store, stage.key)
        if manifest is None:
            return False
        self.store.discard_checkpoints(stage.key, self.record.uid[:8])  # another run may have published the key
        headline = manifest.metrics.get("headline")
        numbers = headline if isinstance(headline, dict) else {}
        self._change(
            stage.name,
            state=State.CACHED,
            digest=self.store.digest(stage.key),
            metrics=tuple((name, str(value)) for name, value in numbers.items()),
        )
        self.display.begin(stage.name)
        self.display.end("=", text)
        return True

    def _tell_success(self, stage: PlannedStage, outcome: Outcome, ended: Ended) -> None:
        assert outcome.artifact is not None
        metrics = tuple((metric.name, metric.value) for metric in outcome.metrics)
        self._change(stage.name, state=State.SUCCEEDED, digest=outcome.artifact.digest, metrics=metrics)
        record = self.record.stage(stage.name)
        append_history(self.folder.path, stage.name, stage.key, record.seconds if record else ended.seconds)
        shown = "  ".join(f"{name} {value}" for name, value in metrics[:3])
        self.display.end("✓", f"{duration(ended.seconds)}  {shown}".rstrip())

    def _tell_failure(self, name: str, outcome: Outcome, ended: Ended, attempt: AttemptFolder) -> int:
        assert outcome.failure_class is not None
        if ended.stopped:
            self.display.end("!", f"stopped after {duration(ended.seconds)}: {outcome.message or ''}")
            return self._tell_interrupted(name)
        self._change(name, state=State.FAILED)
        self.display.end("✗", f"{outcome.failure_class}: {outcome.message}")
        if outcome.failure_class is FailureClass.ERROR:
            for line in last_lines(attempt.log, 8):
                self.display.note(f"    {line}")
        self.display.note(f"log: {attempt.log}")
        return int(exit_code_of(outcome.failure_class))

    def _tell_interrupted(self, name: str) -> int:
        self._change(name, state=State.INTERRUPTED)
        self.display.note(f"interrupted; `boresight run {self.manifest.path}` goes on from here")
        return INTERRUPTED_EXIT

    # -- the record --------------------------------------------------------------------------------------------------

    def _change(self, name: str, **values: object) -> None:
        stage = self.record.stage(name)
        assert stage is not None
        self.record = self.record.with_stage(replace(stage, **values))  # type: ignore[arg-type]
        self._save()

    def _save(self) -> None:
        self.folder.write(self.record)


def _new_record(manifest: Manifest, store: FileStore, planned: PlannedRun) -> RunRecord:
    stages = [StageRecord(PREPARE, PREPARE)]
    stages += [StageRecord(s.name, s.recipe, s.key, s.parents or (PREPARE,)) for s in planned.plan.stages]
    return RunRecord(
        kind=manifest.run.kind,
        namespace=manifest.namespace,
        name=manifest.name,
        uid=run_uid(manifest.path),
        manifest_path=str(manifest.path.absolute()),
        store=store.uri,
        started_at=now(),
        manifest=dict(manifest.document),
        recipe=planned.plan.recipe,
        pins=tuple(pin.model_dump(mode="json", by_alias=True, exclude_none=True) for pin in planned.pins.values()),
        plan=planned.plan.digest,
        stages=tuple(stages),
    )


def _next_number(folder: RunFolder, stage: str, key: str | None) -> int:
    """One more than the highest number of the stage's attempt folders: numbers are never used again."""
    pattern = folder.attempt_folder(stage, key, 0).name.removesuffix("-0")
    numbers = [int(path.name.rpartition("-")[2]) for path in (folder.path / "attempts").glob(f"{pattern}-*")]
    return max(numbers, default=0) + 1


def _highest_checkpointed(report: PrepareReport, name: str) -> int:
    """The highest attempt number of this run among the stage's checkpoint folders, as prepare found them."""
    found = [finding.attempt for finding in report.stages if finding.name == name]
    return max((number for number in found if number is not None), default=0)
