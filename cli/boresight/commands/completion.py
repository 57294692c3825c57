"""``boresight completion``: the script that teaches a shell our commands."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    short_help="Print a completion script for your shell.",
    epilog="""\b
Examples:
  boresight completion bash > ~/.local/share/bash-completion/completions/boresight
  boresight completion zsh  > ~/.zfunc/_boresight
  boresight completion fish > ~/.config/fish/completions/boresight.fish""",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> None:
    """Print the completion script for SHELL (bash, zsh or fish)."""
    from click.shell_completion import get_completion_class

    from ..main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "boresight", "_BORESIGHT_COMPLETE").source())
