"""The command ``boresight``. Modules of commands import nothing heavy: help is instant."""

from __future__ import annotations

import difflib
import errno
import gc
import os
import sys
import traceback
from importlib import import_module
from typing import Any

import click

from .errors import UNREACHABLE, UserError
from .face import CLUSTER, LOCAL, Face, FacedGroup
from .framed import FRAMED, frame_stdout
from .text import clean

COMMANDS = {
    "init": "start",
    "plan": "plan",
    "pin": "pin",
    "run": "acting",
    "list": "records",
    "status": "records",
    "watch": "following",
    "logs": "following",
    "wait": "following",
    "suspend": "acting",
    "resume": "acting",
    "retry": "acting",
    "results": "records",
    "compare": "records",
    "report": "report",
    "data": "data",
    "artifacts": "artifacts",
    "completion": "completion",
}
"""Command -> module in ``boresight.commands``, in the order of a user's day. Attributes are ``<command>_command``."""


CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class Commands(FacedGroup):
    """The commands of :data:`COMMANDS`, each imported when it is looked up."""

    def __init__(self, *args: Any, face: Face = LOCAL, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.face = face

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 click's signature
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"boresight.commands.{COMMANDS[cmd_name]}")
        command = getattr(module, f"{cmd_name}_command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and (close := difflib.get_close_matches(args[0], COMMANDS, n=1)):
            raise click.UsageError(f'No such command "{args[0]}". Did you mean "{close[0]}"?', ctx)
        return super().resolve_command(ctx, args)


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(
    cls=Commands,
    face=LOCAL,
    context_settings=SETTINGS,
    epilog="""\b
First steps:
  boresight run examples/quickstart.yaml     the whole method on a small model, on this machine
  boresight report quickstart --open         what came out of it
\b
Your own data:
  boresight data check my.jsonl              what is in it, what is wrong and where
  boresight init --data my.jsonl > run.yaml  the smallest manifest
  boresight plan run.yaml                    what would be done, before anything is
  boresight run run.yaml
\b
In a cluster: the same commands as `kubectl boresight`.""",
)
@click.version_option(package_name="boresight", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Align a model with language feedback.

    A run is one YAML file (an AlignmentRun). Its stages - a feedback model that learns to criticise, synthesis of
    better answers, preference optimisation, evaluation - run here as processes, or in a cluster as Kubernetes Jobs,
    under the same keys. What is finished is never done twice.
    """
    ctx.obj = {"debug": debug}


@click.group(
    cls=Commands,
    face=CLUSTER,
    context_settings=SETTINGS,
    epilog="""\b
First steps:
  kubectl boresight plan run.yaml            what applying it would do, and what it would cost
  kubectl boresight run run.yaml             apply it and watch
  kubectl boresight status first             its stages, and why one waits
  kubectl boresight logs first --follow
\b
On this machine: the same commands as `boresight`.""",
)
@click.version_option(package_name="boresight", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.pass_context
def plugin(ctx: click.Context, debug: bool) -> None:
    """Align a model with language feedback, in a cluster.

    A run is one object (an AlignmentRun, a FeedbackSynthesis or an EvalRun). The operator runs its stages as Jobs;
    these commands start it, show it, and read what it has made.
    """
    ctx.obj = {"debug": debug}


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``boresight``. Returns the exit code: 0, 1 for an error, 2 for wrong usage, 64 for a faulty
    manifest, 130 after Ctrl-C."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] != [FRAMED]:
        return _main(cli, words)
    frames = frame_stdout(words[1])
    code = _main(cli, words[2:])
    sys.stdout.flush()
    frames.end(code)
    return code


def plugin_main(arguments: list[str] | None = None) -> int:
    """Entry point of ``kubectl-boresight``, which kubectl finds as its command ``boresight``. Exit codes as of
    :func:`main`; 75 if the API server does not answer."""
    return _main(plugin, sys.argv[1:] if arguments is None else arguments)


def _main(group: Commands, words: list[str]) -> int:
    stdout = sys.stdout
    gc.set_threshold(100_000)  # importing makes many objects and no garbage: collecting costs a tenth of `plan`
    try:
        result: Any = group.main(args=words, prog_name=group.face.program, standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit:
        if sys.stdout is stdout:
            raise
        return _reader_gone()  # click met a broken pipe, muffled stdout and ended with 1
    except Exception as error:
        return _report(error, debug="--debug" in words)
    return result if isinstance(result, int) else 0


def _reader_gone() -> int:
    """`boresight list | head` is not an error; what is still to be written goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _report(error: Exception, *, debug: bool) -> int:
    """Tell ``error`` in one message. A bug of ours says so, and how to see where."""
    if debug:
        traceback.print_exception(error)
        return getattr(error, "exit_code", 1)
    message, code = describe(error)
    color = False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None
    click.echo(f"{click.style('error:', fg='red', bold=True)} {clean(message)}", err=True, color=color)
    return code


def describe(error: Exception) -> tuple[str, int]:
    """Message and exit code for ``error``."""
    if isinstance(error, UserError):
        return error.message, error.exit_code
    failure = getattr(error, "failure", None)
    if failure is not None:  # boresight_api.outcome.StageFailure, which need not have been imported
        from boresight_api.outcome import exit_code_of

        return str(error), int(exit_code_of(failure))
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        if error.errno in CANNOT_WRITE:
            advice = "free space or correct the rights, or name another place (the store: --store)"
            return f"{name}{error.strerror}, expected a place that can be written to; {advice}", UNREACHABLE
        return f"{name}{error.strerror or error}", 1
    return f"{type(error).__name__}: {error} (this is a bug of Boresight; --debug shows where it happened)", 1


if __name__ == "__main__":
    sys.exit(main())
