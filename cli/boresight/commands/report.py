"""``boresight report``: one page about a run."""

from __future__ import annotations

from pathlib import Path

import click

from .options import namespace_option, store_option, store_path


@click.command(
    "report",
    short_help="Write one self-contained HTML page about a run.",
    epilog="""\b
Examples:
  boresight report --open
  boresight report quickstart -o /tmp/quickstart.html""",
)
@click.argument("run", required=False)
@namespace_option
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File. Default: beside the record."
)
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
@store_option
def report_command(run: str | None, namespace: str, output: Path | None, show: bool, store: str | None) -> None:
    """Write the report on RUN (default: the newest): pipeline, results with intervals, examples, curves, every digest.

    The page needs nothing but itself. results.json is written next to it.
    """
    from ..records import RunRecords
    from ..report.write import write_report

    folder, record = RunRecords(store_path(store)).find(run, namespace)
    written = write_report(folder, record, output.absolute() if output else None)
    for line in written.summary:
        click.echo(line)
    click.echo(f"report: {written.path}")
    if show:
        import webbrowser

        webbrowser.open(written.path.as_uri())
