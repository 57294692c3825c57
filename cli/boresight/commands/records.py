"""``boresight list``, ``status``, ``results``, ``compare``: what became of runs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import namespace_option, output_option, store_option, store_path

if TYPE_CHECKING:
    from ..records import RunFolder, RunRecord, StageRecord
    from ..results import Results


@click.command("list", short_help="List runs on this machine.")
@output_option("table", "json", "csv")
@store_option
def list_command(output: str, store: str | None) -> None:
    """List the runs of this machine's store, newest first."""
    from ..errors import UserError
    from ..records import RunRecords
    from ..tables import formatted

    unreadable: list[UserError] = []
    rows = [
        {
            "namespace": record.namespace,
            "name": record.name,
            "kind": record.kind,
            "status": record.state.value,
            "stage": _stage_at_work(record),
            "started": record.started_at,
            "manifest": record.manifest_path,
        }
        for _, record in RunRecords(store_path(store)).all(unreadable.append)
    ]
    click.echo(formatted(rows, ["namespace", "name", "kind", "status", "stage", "started", "manifest"], output))
    if unreadable:
        raise UserError("\n".join(str(error) for error in unreadable))


@click.command("status", short_help="Show a run's stages: state, time, attempts.")
@click.argument("run", required=False)
@namespace_option
@output_option("table", "json")
@store_option
def status_command(run: str | None, namespace: str, output: str, store: str | None) -> None:
    """Show the stages of RUN (default: the newest): state, key, time, attempts, and why one failed."""
    import json

    from ..records import RunRecords, to_document
    from ..tables import aligned
    from ..text import clean, duration, short

    folder, record = RunRecords(store_path(store)).find(run, namespace)
    if output == "json":
        click.echo(json.dumps(to_document(record), indent=1, ensure_ascii=False))
        return
    click.echo(f"{record.kind} {record.namespace}/{record.name}: {record.state.value}  ({record.manifest_path})")
    rows = [
        [
            stage.name,
            stage.state.value,
            short(stage.key),
            duration(stage.seconds) if stage.attempts else "",
            str(len(stage.attempts) or ""),
            _progress(folder, stage) or "  ".join(f"{name} {value}" for name, value in stage.metrics[:3]),
        ]
        for stage in record.stages
    ]
    click.echo(aligned(["STAGE", "STATE", "KEY", "TIME", "ATTEMPTS", "METRICS"], rows))
    for stage in record.stages:
        for line in _reasons(stage):
            click.echo(clean(f"{stage.name}: {line}"))
    if folder.report_path.exists():
        click.echo(f"report: {folder.report_path}")


@click.command("results", short_help="Print a run's results with their intervals.")
@click.argument("run", required=False)
@namespace_option
@output_option("table", "json", "csv")
@click.option("--slices", is_flag=True, help="Also the parts of the data sets.")
@store_option
def results_command(run: str | None, namespace: str, output: str, slices: bool, store: str | None) -> None:
    """Print every score of RUN's evaluation (default: the newest run) with n and 95% interval."""
    from ..results import rows_of
    from ..runs import open_run
    from ..tables import formatted

    found = open_run(run, namespace, store).results()
    rows = [row for row in rows_of(found) if slices or row["slice"] is None]
    columns = ["suite", "name", "candidate", "baseline", "value", "low", "high", "n", "invalid", "fit"]
    click.echo(formatted(rows, [*columns[:2], "slice", *columns[2:]] if slices else columns, output))
    for suite, reasons in found.unfit.items():
        click.echo(f'suite "{suite}" is unfit, its numbers are no evidence: {"; ".join(reasons)}', err=True)


@click.command(
    "compare",
    short_help="Put results side by side, if they may be compared.",
    epilog="""\b
Examples:
  boresight compare beta-01 beta-05
  boresight compare before/results.json after/results.json -o csv""",
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN|FILE RUN|FILE...")
@namespace_option
@output_option("table", "json", "csv")
@store_option
def compare_command(runs: tuple[str, ...], namespace: str, output: str, store: str | None) -> None:
    """Put the results of runs (or of results.json files) side by side.

    Refused where a suite was measured on other prompts or with other decoding settings: such numbers say nothing about
    each other.
    """
    from ..errors import UserError
    from ..results import compare
    from ..tables import formatted

    if len(runs) < 2:
        raise UserError("found one run, expected at least two to compare")
    named = [(_column(name), _results(name, namespace, store)) for name in runs]
    if len({name for name, _ in named}) < len(named):
        named = [(name, results) for name, (_, results) in zip(runs, named, strict=True)]
    rows = compare(named)
    columns = ["suite", "name", "candidate", "baseline"]
    columns += [column for name, _ in named for column in (name, f"{name} interval")]
    click.echo(formatted([row for row in rows if row["slice"] is None], columns, output))


def _column(name: str) -> str:
    path = Path(name)
    return path.parent.name or path.stem if path.suffix == ".json" else name


def _results(name: str, namespace: str, store: str | None) -> Results:
    from ..results import read_results
    from ..runs import open_run

    return read_results(Path(name)) if name.endswith(".json") else open_run(name, namespace, store).results()


def _progress(folder: RunFolder, stage: StageRecord) -> str:
    """How far a running stage is."""
    from ..local.attempt import AttemptFolder
    from ..records import State
    from ..text import duration

    if stage.state is not State.RUNNING or not stage.attempts:
        return ""
    progress = AttemptFolder(folder.attempt_folder(stage.name, stage.key, stage.attempts[-1].number)).read_progress()
    if not progress or not progress.get("totalSteps"):
        return "starting"
    left = progress.get("remainingSeconds")
    remaining = f", {duration(left)} left" if isinstance(left, int | float) else ""
    return f"{progress.get('phase')} {progress.get('step')}/{progress['totalSteps']}{remaining}"


def _stage_at_work(record: RunRecord) -> str:
    """The first stage that is not done."""
    return next((stage.name for stage in record.stages if not stage.state.done), "")


def _reasons(stage: StageRecord) -> list[str]:
    """Why attempts at a stage ended badly, newest last."""
    return [
        f"attempt {attempt.number}: {attempt.failure_class}: {attempt.message or ''}"
        + (f" (log: {attempt.log})" if attempt.log else "")
        for attempt in stage.attempts
        if attempt.failure_class is not None
    ]
