"""``boresight-trainer data make``: the data sets that can be made here."""

from __future__ import annotations

import argparse

from .instructions import commands as instructions
from .questions import commands as questions


def add_make_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``make`` with all its data sets to the commands of ``data``."""
    make = commands.add_parser("make", help="make a data set whose answers a program can verify")
    data_sets = make.add_subparsers(required=True, metavar="DATA SET")
    instructions.add_make_command(data_sets)
    questions.add_make_commands(data_sets)
