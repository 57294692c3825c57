"""The two faces of the command: ``boresight`` works on this machine, ``kubectl boresight`` in a cluster.

The commands are the same. A face adds the options that say where runs are, and opens them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .errors import UserError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from .source import Runs, RunsToRead

COMPLETION_SECONDS = 3.0
"""How long a shell waits for the names of runs, with all that it takes: a program that gives credentials, lists."""


@dataclass(frozen=True)
class Face:
    """One of the two."""

    program: str
    """How users call it."""
    options: tuple[click.Option, ...]
    """Of every command that looks at runs; they say where these are."""
    open: Callable[..., RunsToRead]
    """From the values of the options."""
    names: Callable[..., list[str]]
    """Of runs, for a shell that completes; from the values of the options."""
    in_cluster: bool


def _open_local(store: str | None, namespace: str | None, object_file: str | None = None) -> RunsToRead:
    from .local.source import LocalRuns

    if object_file is not None:
        from .objects import ObjectRuns

        return ObjectRuns(object_file, store)
    return LocalRuns(store, namespace)


def _local_names(store: str | None, namespace: str | None) -> list[str]:
    from .local.source import LocalRuns

    return sorted(run.name for run in LocalRuns(store, namespace).all().runs)


def _open_cluster(**flags: Any) -> Runs:
    from .cluster.source import open_cluster

    return open_cluster(**flags)


def _cluster_names(kubeconfig: str | None, context: str | None, namespace: str | None) -> list[str]:
    from .cluster.source import open_cluster

    return open_cluster(kubeconfig=kubeconfig, context=context, namespace=namespace).names()


LOCAL = Face(
    program="boresight",
    options=(
        click.Option(
            ["-n", "--namespace"], metavar="NAME", help="Namespace of the run. Default: default (of `list`: all)."
        ),
        click.Option(
            ["--store"],
            metavar="URI",
            help="Folder or file:// URI of the store. Default: $BORESIGHT_STORE, else the user's data folder.",
        ),
    ),
    open=_open_local,
    names=_local_names,
    in_cluster=False,
)
CLUSTER = Face(
    program="kubectl boresight",
    options=(
        click.Option(["-n", "--namespace"], metavar="NAME", help="Namespace. Default: that of the context."),
        click.Option(["--context"], metavar="NAME", help="Context of the kubeconfig. Default: the current one."),
        click.Option(["--kubeconfig"], metavar="FILE", help="Default: $KUBECONFIG, else ~/.kube/config."),
    ),
    open=_open_cluster,
    names=_cluster_names,
    in_cluster=True,
)


OBJECT = click.Option(
    ["--object", "object_file"],
    metavar="FILE",
    help="Of a run in a cluster, as `kubectl get -o json` prints it (-: stdin); its artifacts are read from --store.",
)
IN_CLUSTER = click.Option(
    ["--in-cluster"],
    is_flag=True,
    help="Read the store from a short-lived pod with the run's image and Secret, where it cannot be reached from here.",
)


class FacedGroup(click.Group):
    """The root of all commands of one face."""

    face: Face


def face_of(ctx: click.Context) -> Face:
    """The face that was called."""
    root = ctx.find_root().command
    assert isinstance(root, FacedGroup)
    return root.face


class RunsCommand(click.Command):
    """A command on runs: gets them as its argument ``runs``, opened as the face's options say."""

    def __init__(
        self,
        *args: Any,
        local_options: Sequence[click.Option] = (),
        cluster_options: Sequence[click.Option] = (),
        **kwargs: Any,
    ) -> None:
        """``local_options``, ``cluster_options``: further ones that say where runs are and how they are opened, of
        one face."""
        super().__init__(*args, **kwargs)
        self._local_options, self._cluster_options = tuple(local_options), tuple(cluster_options)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own, then those of the face, then help."""
        *own, last = super().get_params(ctx)
        return [*own, *self._where(ctx), last]

    def invoke(self, ctx: click.Context) -> Any:
        """Open the runs, then do it."""
        ctx.params["runs"] = face_of(ctx).open(**self.taken(ctx))
        return super().invoke(ctx)

    def taken(self, ctx: click.Context) -> dict[str, Any]:
        """The values of the options that say where, taken out of the context's."""
        names = [str(option.name) for option in self._where(ctx)]
        return {name: ctx.params.pop(name, None) for name in names}

    def _where(self, ctx: click.Context) -> tuple[click.Option, ...]:
        face = face_of(ctx)
        return face.options + (self._cluster_options if face.in_cluster else self._local_options)


def complete_run(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of runs for a shell. A cluster that does not answer in time has none."""
    from click.shell_completion import CompletionItem

    from .limit import OutOfTimeError, at_most

    face = face_of(ctx)
    where = {str(option.name): ctx.params.get(str(option.name)) for option in face.options}
    with suppress(UserError, OSError, OutOfTimeError), at_most(COMPLETION_SECONDS):
        return [CompletionItem(name) for name in face.names(**where) if name.startswith(incomplete)]
    return []


def run_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """``RUN``, which completes; the newest one if it is left out."""
    return click.argument("run", required=False, shell_complete=complete_run)(function)
