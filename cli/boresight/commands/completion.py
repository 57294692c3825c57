"""``completion``: the script that teaches a shell our commands."""

from __future__ import annotations

import sys

import click

from ..face import FacedGroup

SHELLS = ("bash", "zsh", "fish")
NO_FILES = ":4"
"""The last line that kubectl expects of a plugin's completion: cobra's directive to offer no files."""


@click.command(
    "completion",
    short_help="Print a completion script for your shell.",
    epilog="""\b
Examples:
  boresight completion bash > ~/.local/share/bash-completion/completions/boresight
  boresight completion zsh  > ~/.zfunc/_boresight
  boresight completion fish > ~/.config/fish/completions/boresight.fish
\b
`kubectl boresight` completes by kubectl's own completion (`kubectl completion bash`), which asks the program
kubectl_complete-boresight beside kubectl-boresight.""",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> None:
    """Print the completion script for SHELL (bash, zsh or fish)."""
    from click.shell_completion import get_completion_class

    from ..main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "boresight", "_BORESIGHT_COMPLETE").source())


def complete_for_kubectl(group: FacedGroup, words: list[str]) -> list[str]:
    """What kubectl shows for the last of ``words``, in the words of cobra: a candidate a line, then a directive."""
    from click.shell_completion import ShellComplete

    *before, last = words or [""]
    found = ShellComplete(group, {}, group.face.program, "_UNUSED").get_completions(before, last)
    candidates = [f"{item.value}\t{item.help}" if item.help else item.value for item in found if item.type == "plain"]
    return [*candidates, NO_FILES if candidates or not found else ":0"]


def kubectl_main() -> int:
    """Entry point of ``kubectl_complete-boresight``."""
    from ..main import plugin

    print("\n".join(complete_for_kubectl(plugin, sys.argv[1:])))
    return 0
