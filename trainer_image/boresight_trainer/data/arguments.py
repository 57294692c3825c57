"""Arguments that the commands of ``data make`` share."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_BAR = 30
"""Characters."""


def add_common(parser: argparse.ArgumentParser) -> None:
    """What decides every choice, and where the files go."""
    parser.add_argument("--seed", type=int, required=True, help="decides every choice")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="new or empty folder for the files")


def add_counts(parser: argparse.ArgumentParser, texts: Mapping[str, str], defaults: object) -> None:
    """One option for each count of rows: its field in ``defaults``, and what is counted."""
    for name, text in texts.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=not_negative, default=getattr(defaults, name), metavar="N", help=text
        )


def recorded_command(
    words: Sequence[str], add_arguments: Callable[[argparse.ArgumentParser], None], options: argparse.Namespace
) -> str:
    """The command that makes the same files again: every argument that is not at its default, but for --out."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    said = list(words)
    for action in parser._actions:
        value = getattr(options, action.dest, None)
        if action.dest not in {"help", "out"} and value is not None and value != action.default:
            said += [action.option_strings[0], *([] if action.nargs == 0 else [str(value)])]
    return shlex.join(said)


def show_progress(what: str, done: int, total: int) -> None:
    """A bar on the standard error, ended when all is done."""
    full = _BAR * done // total
    sys.stderr.write(
        f"\r[{'#' * full}{'.' * (_BAR - full)}] {done} of {total} {what}" + ("\n" if done == total else "")
    )
    sys.stderr.flush()


def positive(argument: str) -> int:
    """An integer of at least 1."""
    return at_least(1)(argument)


def not_negative(argument: str) -> int:
    """An integer of at least 0."""
    return at_least(0)(argument)


def at_least(least: int) -> Callable[[str], int]:
    """Integers from ``least`` on."""

    def parse(argument: str) -> int:
        try:
            value = int(argument)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f'found "{argument}", expected an integer of at least {least}')
        return value

    return parse
