"""``boresight-operator``: the command of the operator's pod, and of a developer's terminal."""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version

from boresight_api.problems import ProblemsError
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from . import logs, shell
from .credentials import Credentials, CredentialsError
from .errors import LeaseOver
from .http import HttpTransport, fetch_bounded
from .lifetime import run_to_end
from .operator import Operator
from .settings import CONFIG_VARIABLE, PREFIX, Settings, load_settings
from .telemetry import serve

log = logging.getLogger(__name__)

HELP = f"""\
Reconciles AlignmentRun, FeedbackSynthesis and EvalRun: plans them, starts their stages as Jobs and keeps their status.

Credentials: the file that KUBECONFIG names, else the pod's service account, else ~/.kube/config.
Settings:    the YAML file of --config (fields in camelCase), overridden by the environment ({PREFIX}<FIELD>,
             nested with __). docs/operator.md lists them all. For example

               defaults:
                 image: registry.example.com/boresight-trainer:0.1.0
                 storage: {{uri: "s3://alignment/default", secretName: boresight-storage}}
               namespaces:
                 team-vision:
                   limits: {{maxRuns: 10, maxDevices: 32}}

             and {PREFIX}WATCH_NAMESPACES='["team-vision"]' for an operator of single namespaces.
Several processes may run: the one that holds the Lease writes, the others stand by.
Serves /metrics, /healthz and /readyz on metricsPort (9090). Logs are JSON lines on standard error.

Exit codes: 0 after SIGTERM or SIGINT; 1 if the Lease was lost or something failed; 64 for settings or credentials that
cannot be used."""
FAILED = 1
UNUSABLE = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.config:
        os.environ[CONFIG_VARIABLE] = options.config
    try:
        settings = load_settings()
        logs.configure("DEBUG" if options.debug else settings.log_level, time.time)
        run_to_end(operate(settings, Credentials()))
    except (ProblemsError, CredentialsError) as error:
        sys.stderr.write(f"boresight-operator: {error}\n")
        return UNUSABLE
    except (OSError, LeaseOver) as error:
        log.error("%s", error, exc_info=options.debug)  # noqa: TRY400 the traceback is for --debug
        return FAILED
    except Exception as error:
        log.error("ended by %s: %s", type(error).__name__, error, exc_info=True)
        return FAILED
    return 0


async def operate(settings: Settings, credentials: Credentials) -> None:
    """Until SIGTERM or SIGINT."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    async with HttpTransport(credentials) as transport:
        operator = Operator(
            settings, transport, wall=time.time, random=random.Random(), registry=registry, fetch=fetch_bounded
        )
        server, port = await serve(registry, operator, settings.metrics_port)
        log.info("boresight-operator %s; metrics on port %d", version("boresight"), port)
        try:
            await shell.run(operator, settings, credentials)
        finally:
            await server.cleanup()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "boresight-operator", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", metavar="FILE", help=f"settings; as the variable {CONFIG_VARIABLE}")
    parser.add_argument("--debug", action="store_true", help="log everything, and tracebacks of errors")
    parser.add_argument("--version", action="version", version=f"boresight-operator {version('boresight')}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
