"""``watch``, ``wait``, ``logs``: following a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..face import IN_CLUSTER, OBJECT, RunsCommand, run_argument

if TYPE_CHECKING:
    from ..source import Runs, RunsToRead


@click.command(
    "watch",
    cls=RunsCommand,
    short_help="Show a run live, until its end.",
    epilog="Exit codes: 0 the run succeeded (or is held by stopAfter), 1 it did not.",
)
@run_argument
@click.pass_context
def watch_command(ctx: click.Context, runs: Runs, run: str | None) -> None:
    """Show RUN (default: the newest) until its end: live on a terminal, else a line for every change. Ctrl-C ends the
    watching and nothing else."""
    from ..watching import watch

    ctx.exit(watch(runs, runs.find(run)))


@click.command(
    "wait",
    cls=RunsCommand,
    short_help="Wait until a run has come so far.",
    epilog="""\b
Exit codes: 0 it has, 1 it cannot any more (unless somebody does something), 124 not within --timeout.
\b
Examples:
  boresight wait first
  boresight wait first --for Prepared --timeout 10m
  boresight wait first --for stage=policy""",
)
@run_argument
@click.option(
    "--for", "goal", default="Succeeded", show_default=True, metavar="Succeeded|Prepared|stage=NAME", help="What for."
)
@click.option("--timeout", metavar="TIME", help="At most so long, such as 90s, 10m or 1h30m. Default: for ever.")
@click.pass_context
def wait_command(ctx: click.Context, runs: Runs, run: str | None, goal: str, timeout: str | None) -> None:
    """Wait until RUN (default: the newest) has succeeded, is prepared, or has the artifact of a stage. What it does
    meanwhile, and why it waits, is told on stderr."""
    from ..text import parse_duration
    from ..watching import parse_goal, wait

    seconds = parse_duration(timeout) if timeout is not None else None
    if timeout is not None and seconds is None:
        raise click.BadParameter(
            f'found "{timeout}", expected a time such as 90s, 10m or 1h30m', param_hint="--timeout"
        )
    wanted = parse_goal(goal)
    ctx.exit(wait(runs, run, wanted, seconds))


@click.command(
    "logs",
    cls=RunsCommand,
    short_help="Print the log of a stage.",
    epilog="""\b
Examples:
  boresight logs first                          the stage at work, or the one that failed
  boresight logs first --stage policy --follow
  boresight logs first --stage policy --attempt 2 --rank 1""",
    local_options=[OBJECT],
    cluster_options=[IN_CLUSTER],
)
@run_argument
@click.option("--stage", metavar="NAME", help="Default: the stage at work, or that failed; else the last one.")
@click.option("--attempt", type=click.IntRange(min=1), help="Default: the last one.")
@click.option("--rank", metavar="N|merge", help="Of a stage on several pods. Default: the rank at fault, else 0.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the attempt ends.")
@click.option("-p", "--previous", is_flag=True, help="Of the attempt before.")
def logs_command(
    runs: RunsToRead,
    run: str | None,
    stage: str | None,
    attempt: int | None,
    rank: str | None,
    follow: bool,
    previous: bool,
) -> None:
    """Print the log of a stage of RUN (default: the newest): in a cluster of its pod, or, once the pod is gone, the
    one that was kept in the store."""
    from ..errors import UserError
    from ..output import pour
    from ..source import LogWanted

    if attempt is not None and previous:
        raise UserError("--previous: found --attempt, too; give one of them")
    wanted = LogWanted(stage, attempt, rank, follow, previous)
    pour(runs.log(runs.find(run), wanted))
