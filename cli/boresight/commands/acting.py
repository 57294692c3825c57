"""``run``, ``suspend``, ``resume``, ``retry``: what changes a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..face import RunsCommand, complete_run

if TYPE_CHECKING:
    from ..source import Runs


@click.command(
    "run",
    cls=RunsCommand,
    short_help="Run a manifest.",
    epilog="""\b
On this machine: Ctrl-C asks the stage at work to leave a checkpoint; the next `boresight run FILE` goes on from there.
In a cluster: FILE is applied (server-side) and watched; Ctrl-C ends the watching, not the run.
Change a field and run again: only the stages whose keys change are done anew.
\b
Exit codes: 0 done, 130 interrupted, 64 invalid manifest. On this machine otherwise that of the failed stage:
65 invalid data, 70 error, 71 diverged, 72 out of memory, 75 infrastructure, 77 missing input. In a cluster: 1 the run
did not succeed, 75 the API server does not answer.
\b
Examples:
  boresight run examples/quickstart.yaml
  boresight run run.yaml --store /big/disk/store
  kubectl boresight run run.yaml -n team-vision""",
    cluster_options=[
        click.Option(["--force-conflicts"], is_flag=True, help="Take over fields that another tool has set."),
    ],
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_context
def run_command(ctx: click.Context, runs: Runs, file: Path) -> None:
    """Run the AlignmentRun, FeedbackSynthesis or EvalRun in FILE: `boresight run` stage by stage as processes on this
    machine, `kubectl boresight run` in the cluster.

    Stages whose artifacts are in the store are not done again.
    """
    ctx.exit(runs.start(file))


@click.command("suspend", cls=RunsCommand, short_help="Stop a run, with a checkpoint.")
@click.argument("run", shell_complete=complete_run)
def suspend_command(runs: Runs, run: str) -> None:
    """Stop RUN: the attempt at work takes a checkpoint and ends; `resume` goes on from there."""
    runs.suspend(runs.find(run))


@click.command("resume", cls=RunsCommand, short_help="Let a suspended run go on.")
@click.argument("run", shell_complete=complete_run)
@click.pass_context
def resume_command(ctx: click.Context, runs: Runs, run: str) -> None:
    """Let RUN go on from its last checkpoint. On this machine the manifest is run again, here and now."""
    ctx.exit(runs.resume(runs.find(run)))


@click.command("retry", cls=RunsCommand, short_help="Begin again where a run failed.")
@click.argument("run", shell_complete=complete_run)
@click.pass_context
def retry_command(ctx: click.Context, runs: Runs, run: str) -> None:
    """Begin again where RUN failed: retries count from nought, and `prepare` looks into the store first. On this
    machine the manifest is run again, here and now."""
    ctx.exit(runs.retry(runs.find(run)))
