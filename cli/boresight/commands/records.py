"""``list``, ``status``, ``results``, ``compare``: what became of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..face import OBJECT, RunsCommand, complete_run, run_argument
from .options import output_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..records import RunRecord
    from ..results import Results
    from ..runs import Run
    from ..source import Runs, RunsToRead


@click.command(
    "list",
    cls=RunsCommand,
    short_help="List runs.",
    cluster_options=[
        click.Option(["-A", "--all-namespaces", "everywhere"], is_flag=True, help="Of all namespaces."),
    ],
)
@output_option("table", "json", "csv")
def list_command(runs: Runs, output: str) -> None:
    """List runs, newest first."""
    from ..errors import UserError
    from ..tables import formatted

    listing = runs.all()
    rows = [
        {
            "namespace": record.namespace,
            "name": record.name,
            "kind": record.kind,
            "status": record.status,
            "stage": record.at_work.name if record.at_work is not None else "",
            "progress": _percent(record),
            "started": record.started_at,
            "manifest": record.manifest_path,
        }
        for record in listing.runs
    ]
    columns = ["namespace", "name", "kind", "status", "stage", "progress", "started"]
    columns += ["manifest"] if any(row["manifest"] for row in rows) else []
    click.echo(formatted(rows, columns, output))
    if listing.unreadable:
        raise UserError("\n".join(str(error) for error in listing.unreadable))


@click.command(
    "status",
    cls=RunsCommand,
    short_help="Show a run's stages: state, times, attempts, why it waits.",
    local_options=[OBJECT],
)
@run_argument
@output_option("table", "json")
def status_command(runs: RunsToRead, run: str | None, output: str) -> None:
    """Show the stages of RUN (default: the newest): state, key, time queued and worked, attempts, and why one waits or
    failed."""
    import json

    from ..records import to_document
    from ..status_lines import status_lines

    record = runs.find(run)
    if output == "json":
        document = {"status": record.status, "state": record.state.value, **to_document(record)}
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
        return
    for line in status_lines(record):
        click.echo(line)
    if (report := runs.report_path(record)).exists():
        click.echo(f"report: {report}")


@click.command(
    "results",
    cls=RunsCommand,
    short_help="Print a run's results with their intervals.",
    local_options=[OBJECT],
)
@run_argument
@output_option("table", "json", "csv")
@click.option("--slices", is_flag=True, help="Also the parts of the data sets.")
def results_command(runs: RunsToRead, run: str | None, output: str, slices: bool) -> None:
    """Print every score of RUN's evaluation (default: the newest run) with n and 95% interval.

    They are read from the store. Of a run in a cluster whose store cannot be reached from here, the first rows are
    those of its status, and stderr says so.
    """
    from ..runs import open_run
    from ..tables import formatted

    rows, unfit = _scores(open_run(runs, run))
    columns = ["suite", "name", "candidate", "baseline", "value", "low", "high", "n", "invalid", "fit"]
    shown = [row for row in rows if slices or row["slice"] is None]
    click.echo(formatted(shown, [*columns[:2], "slice", *columns[2:]] if slices else columns, output))
    for suite, reasons in unfit.items():
        click.echo(f'suite "{suite}" is unfit, its numbers are no evidence: {"; ".join(reasons)}', err=True)


def _scores(run: Run) -> tuple[list[Mapping[str, Any]], Mapping[str, tuple[str, ...]]]:
    """Rows, and suites that are unfit. Of a store that cannot be reached, what the status carries, and a word of it."""
    from boresight_api.outcome import FailureClass, StageFailure

    from ..errors import UserError
    from ..results import rows_of

    try:
        found = run.results()
        return list(rows_of(found)), found.unfit
    except (UserError, StageFailure) as error:
        away = not isinstance(error, StageFailure) or error.failure is not FailureClass.MISSING_INPUT
        if not (away and run.record.headlines):
            raise
        click.echo(f"{error}\nthese are the first rows alone, as the run's status has them", err=True)
        return list(run.record.headlines), {}


@click.command(
    "compare",
    cls=RunsCommand,
    short_help="Put results side by side, if they may be compared.",
    epilog="""\b
Examples:
  boresight compare beta-01 beta-05
  boresight compare before/results.json after/results.json -o csv
  boresight compare main:run.yaml run.yaml             the manifest in Git's main, and as it stands here
  kubectl boresight compare HEAD~1:run.yaml HEAD:run.yaml""",
)
@click.argument("names", nargs=-1, required=True, metavar="RUN|FILE|REVISION:FILE...", shell_complete=complete_run)
@output_option("table", "json", "csv")
def compare_command(runs: Runs, names: tuple[str, ...], output: str) -> None:
    """Put the results of runs, results.json files, or manifests side by side: as they stand or as Git had them.

    Of a manifest, what the run of its name has brought, or did before an edit, is found by the keys of its plan.

    Refused where a suite was measured on other prompts or with other decoding settings: such numbers say nothing about
    each other.
    """
    from ..errors import UserError
    from ..results import compare
    from ..tables import formatted

    if len(names) < 2:
        raise UserError("found one run, expected at least two to compare")
    named = [(_column(name), _results(runs, name)) for name in names]
    if len({name for name, _ in named}) < len(named):
        named = [(name, results) for name, (_, results) in zip(names, named, strict=True)]
    rows = compare(named)
    columns = ["suite", "name", "candidate", "baseline"]
    columns += [column for name, _ in named for column in (name, f"{name} interval")]
    click.echo(formatted([row for row in rows if row["slice"] is None], columns, output))


def _column(name: str) -> str:
    path = Path(name)
    return path.parent.name or path.stem if path.suffix == ".json" else name


def _results(runs: Runs, name: str) -> Results:
    from ..results import read_results
    from ..revisions import manifest_at, results_at
    from ..runs import open_run

    if name.endswith(".json"):
        return read_results(Path(name))
    manifest = manifest_at(name)
    return results_at(runs, manifest) if manifest is not None else open_run(runs, name).results()


def _percent(run: RunRecord) -> str:
    """How far the stage at work is."""
    progress = run.at_work.progress if run.at_work is not None else None
    return f"{100 * progress.step // progress.total_steps}%" if progress is not None and progress.total_steps else ""
