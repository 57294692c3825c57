"""``boresight-trainer``: the process that a pod or a local run starts. The only place that knows exit codes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from boresight_api.execution import Execution, Stage, StagePart
from boresight_api.outcome import ExitCode, FailureClass, Outcome, StageFailure, exit_code_of
from pydantic import ValidationError

from . import stage as stages
from .store.buckets import Buckets
from .store.inputs import Inputs
from .store.kept_log import keeping
from .store.open import open_library
from .store.trust import trust_own_authorities
from .telemetry.logs import set_up as set_up_logs
from .telemetry.progress import Progress
from .telemetry.stop import StopFlag

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
    Add = Callable[[Subparsers, list[str]], None]

log = logging.getLogger(__name__)

INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code of :class:`boresight_api.outcome.ExitCode`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="boresight-trainer", description="Runs one stage of an alignment run.")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    _add_named(parser, COMMANDS, arguments)
    options = parser.parse_args(arguments)
    try:
        return int(options.command(options))
    except StageFailure as failure:
        if options.debug:
            traceback.print_exc()
        print(f"error: {failure.message}", file=sys.stderr)
        return exit_code_of(failure.failure)


def _add_named(parser: argparse.ArgumentParser, known: Mapping[str, Add], arguments: list[str]) -> None:
    """Add the command that ``arguments`` name, or all if they name none; each imports what it needs as it is added."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    named = next((argument for argument in arguments if not argument.startswith("-")), "")
    for name in [named] if named in known else known:
        known[name](commands, arguments)


def _add_run(commands: Subparsers, _: list[str]) -> None:
    run = commands.add_parser("run", help="run the stage that stage.json describes")
    run.add_argument("stage", type=Path, metavar="STAGE.JSON")
    run.set_defaults(command=lambda options: run_stage(options.stage))


def _add_serve(commands: Subparsers, _: list[str]) -> None:
    serve = commands.add_parser("serve", help="import torch once and fork a process for every stage asked for")
    serve.add_argument("--socket", type=Path, required=True)
    serve.set_defaults(command=_serve)


def _add_prepare(commands: Subparsers, _: list[str]) -> None:
    from .recipes.prepare import add_prepare_command

    add_prepare_command(commands)


def _add_data(commands: Subparsers, arguments: list[str]) -> None:
    data = commands.add_parser("data", help="check or make data")
    _add_named(data, DATA_COMMANDS, arguments[arguments.index("data") + 1 :] if "data" in arguments else [])


def _add_check(commands: Subparsers, _: list[str]) -> None:
    from .data.commands import add_check_command

    add_check_command(commands)


def _add_make(commands: Subparsers, _: list[str]) -> None:
    from .data.making import add_make_command

    add_make_command(commands)


COMMANDS: dict[str, Add] = {"run": _add_run, "serve": _add_serve, "prepare": _add_prepare, "data": _add_data}
DATA_COMMANDS: dict[str, Add] = {"check": _add_check, "make": _add_make}


def run_stage(path: Path) -> int:
    """Run the stage described by the file at ``path``; write its outcome; return the exit code."""
    try:
        stage = Stage.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        print(f"error: {path}: {error}", file=sys.stderr)
        return ExitCode.INVALID_CONFIG
    with keeping(stage.execution, stage.run, stage.name):
        set_up_logs()
        return _run(stage)


def _run(stage: Stage) -> int:
    outcome = _attempt(stage)
    try:
        _write_outcome(Path(stage.execution.outcome_file), outcome)
    except OSError as error:
        log.error("the outcome could not be written: %s", error)  # noqa: TRY400 the disk's fault, not the code's
        if outcome.failure_class is None:
            return ExitCode.INFRASTRUCTURE
    if outcome.failure_class is None:
        return ExitCode.DONE
    log.error("%s: %s", outcome.failure_class, outcome.message)
    return exit_code_of(outcome.failure_class)


def _attempt(stage: Stage) -> Outcome:
    stop = StopFlag(stage.execution.grace_period_seconds)
    stop.listen()
    execution = stage.execution
    try:
        trust_own_authorities()
        with ExitStack() as resources:
            library = open_library(execution)
            progress = Progress(
                stage=stage.name,
                key=stage.key,
                file=Path(execution.progress_file) if execution.progress_file else None,
                pod_uid=os.environ.get("BORESIGHT_POD_UID"),
            )
            if execution.progress_port is not None:
                from .telemetry.server import serve

                resources.enter_context(serve(progress, execution.progress_port))
            return stages.run(
                stage,
                store=library.own,
                inputs=Inputs(library, buckets=Buckets(execution)),
                progress=progress,
                stop=stop,
                shard=_shard(execution),
            )
    except StageFailure as failure:
        return stages.failed(stage.name, stage.key, failure)
    except MemoryError as error:
        return stages.failed(stage.name, stage.key, StageFailure(FailureClass.OUT_OF_MEMORY, _describe(error)))
    except Exception as error:
        log.exception("the stage failed")
        return stages.failed(stage.name, stage.key, StageFailure(_class_of(error), _describe(error)))


def _shard(execution: Execution) -> int:
    """Which of the processes that share a stage this is: Kubernetes says it to the pods of an Indexed Job."""
    if execution.part is not StagePart.SHARD:
        return 0
    index = os.environ.get(INDEX_VARIABLE, "")
    if not index.isdecimal() or int(index) >= execution.shards:
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f'{INDEX_VARIABLE}: found "{index}", expected a number below {execution.shards}, the shards of stage.json',
        )
    return int(index)


def _class_of(error: Exception) -> FailureClass:
    """What kind of end an unforeseen error is. Libraries are asked only if somebody has loaded them."""
    torch, safetensors = sys.modules.get("torch"), sys.modules.get("safetensors")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return FailureClass.OUT_OF_MEMORY
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):  # torch's CPU allocator
        return FailureClass.OUT_OF_MEMORY
    if isinstance(error, OSError) or (safetensors is not None and isinstance(error, safetensors.SafetensorError)):
        return FailureClass.INFRASTRUCTURE  # a full disk reaches us as either
    return FailureClass.ERROR


def _describe(error: BaseException) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} (in {Path(where.filename).name}:{where.lineno})"


def _write_outcome(path: Path, outcome: Outcome) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(outcome.to_bytes())


def _serve(options: argparse.Namespace) -> int:
    from .forkserver import serve

    return serve(options.socket, run_stage)


if __name__ == "__main__":
    sys.exit(main())
