"""``boresight data``: the trainer's own data commands, run in its process."""

from __future__ import annotations

import os
import sys

import click

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@click.group("data", short_help="Check data, or make data whose answers a program can verify.")
def data_command() -> None:
    """Look at data before training on it."""


@data_command.command(
    "check",
    context_settings=PASS_ON,
    short_help="Print what a file holds, what is wrong and where.",
)
@click.pass_context
def check(ctx: click.Context) -> None:
    """Counts, lengths in tokens, invalid rows with row number and field."""
    run_trainer("data", "check", *ctx.args)


@data_command.command(
    "make",
    context_settings=PASS_ON,
    short_help="Generate instructions, or questions about media, with verifiers.",
)
@click.pass_context
def make(ctx: click.Context) -> None:
    """Prompts with verifiers, answers, rule-written critiques, binary preferences: instructions in words, with answers
    sampled from a model, and questions about images, sounds and videos.
    """
    run_trainer("data", "make", *ctx.args)


def run_trainer(*arguments: str) -> None:
    """Become ``boresight-trainer ARGUMENTS``; its exit code is ours."""
    sys.stdout.flush()
    if click.get_current_context().obj["debug"]:
        arguments = ("--debug", *arguments)
    os.execv(sys.executable, [sys.executable, "-m", "boresight_trainer.main", *arguments])  # noqa: S606 no shell
