"""``boresight run``: do it, here."""

from __future__ import annotations

from pathlib import Path

import click

from .options import store_option


@click.command(
    "run",
    short_help="Run a manifest on this machine.",
    epilog="""\b
Ctrl-C asks the stage at work to leave a checkpoint; the next `boresight run FILE` goes on from there.
Change a field and run again: only the stages whose keys change are done anew.
\b
Exit codes: 0 done, 130 interrupted; otherwise that of the failed stage: 64 invalid configuration,
65 invalid data, 70 error, 71 diverged, 72 out of memory, 75 infrastructure, 77 missing input.
\b
Examples:
  boresight run examples/quickstart.yaml
  boresight run run.yaml --store /big/disk/store""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@store_option
@click.pass_context
def run_command(ctx: click.Context, file: Path, store: str | None) -> None:
    """Run the AlignmentRun, FeedbackSynthesis or EvalRun in FILE, stage by stage, as processes on this machine.

    Stages whose artifacts are in the store are not done again. At the end a report is written.
    """
    from ..local.display import make_display
    from ..local.launch import ProcessLauncher
    from ..local.planning import choose_store, read_manifest
    from ..local.run import run_manifest

    manifest = read_manifest(file)
    finished = run_manifest(
        manifest,
        choose_store(store, manifest),
        make_display=make_display,
        make_launcher=lambda folder: ProcessLauncher(folder / "server.log"),
    )
    if finished.exit_code == 0:
        from ..report.write import write_report

        written = write_report(finished.folder, finished.record)
        for line in written.summary:
            click.echo(line)
        click.echo(f"report: {written.path}")
    ctx.exit(finished.exit_code)
