"""``report``: one page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..face import IN_CLUSTER, OBJECT, RunsCommand, run_argument

if TYPE_CHECKING:
    from ..source import RunsToRead


@click.command(
    "report",
    cls=RunsCommand,
    short_help="Write one self-contained HTML page about a run.",
    epilog="""\b
Examples:
  boresight report --open
  boresight report quickstart -o /tmp/quickstart.html
  kubectl boresight report first --in-cluster
  kubectl get arun first -o json | boresight report --object - --store s3://bucket/prefix -o first.html""",
    local_options=[OBJECT],
    cluster_options=[IN_CLUSTER],
)
@run_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="File; - is stdout. Default: beside the record; of a run in a cluster RUN-report/report.html.",
)
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
def report_command(runs: RunsToRead, run: str | None, output: Path | None, show: bool) -> None:
    """Write the report on RUN (default: the newest): pipeline, results with intervals, examples, curves, every digest.

    The page needs nothing but itself. results.json is written next to it (not by --in-cluster, nor to stdout).
    """
    from ..errors import UserError

    record = runs.find(run)
    to_stdout = output is not None and str(output) == "-"
    if to_stdout and show:
        raise UserError("--open: found --output -, expected a file to open")
    report = runs.report(record)
    if to_stdout:
        click.echo(report.page)
        return
    path = (output or runs.report_path(record)).absolute()
    report.write(path)
    for line in report.summary:
        click.echo(line)
    click.echo(f"report: {path}")
    if show:
        import webbrowser

        webbrowser.open(path.as_uri())
