"""Commands on a store: one that is named here, or in a cluster that of a run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import click

from .errors import UserError
from .face import IN_CLUSTER, complete_run, face_of

STORE = click.Option(
    ["--store"],
    metavar="URI",
    help="Folder, file:// or s3:// URI of the store (s3: with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for "
    "other stores than AWS, AWS_ENDPOINT_URL_S3). Default: $BORESIGHT_STORE, else the user's data folder.",
)
LIVING = click.Option(["--living"], metavar="FILE", hidden=True)
"""What `kubectl boresight` gives its pod, which may not ask the cluster."""
NOT_IN_CLUSTER = click.Option(["--in-cluster"], is_flag=True, hidden=True)
"""Of a command that says why not."""
RUN = click.Option(
    ["--run"], metavar="RUN", shell_complete=complete_run, help="Whose store. Default: the newest run's."
)


class StoreCommand(click.Command):
    """A command on a store: gets it as its argument ``store``, opened as the face's options say."""

    def __init__(self, *args: Any, only_from_here: str = "", living: bool = False, **kwargs: Any) -> None:
        """``only_from_here``: why it cannot be done by a pod whose output is printed here, and what to do instead.
        ``living``: whether it gets the argument ``living``, too, which tells what runs are there."""
        super().__init__(*args, **kwargs)
        self._only_from_here, self._living = only_from_here, living

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own, then those of the face, then help."""
        *own, last = super().get_params(ctx)
        return [*own, *self._where(ctx), last]

    def invoke(self, ctx: click.Context) -> Any:
        """Open the store, or let a pod do it all."""
        taken = self.taken(ctx)
        if not face_of(ctx).in_cluster:
            return self._here(ctx, **taken)
        run, in_pod = taken.pop("run"), taken.pop("in_cluster")
        if in_pod and self._only_from_here:
            raise UserError(f"--in-cluster: {self._only_from_here}")
        from .cluster.source import open_cluster

        runs = open_cluster(**taken)
        record = runs.find(run)
        if not in_pod:
            ctx.params["store"] = runs.store(record)
            ctx.params |= {"living": partial(runs.living, record)} if self._living else {}
            return super().invoke(ctx)
        from .cluster.in_cluster import Given, InCluster
        from .output import pour

        given = None
        if self._living:
            from .living import LIVING_OPTION, living_document

            given = Given(LIVING_OPTION, living_document(runs.living(record)))
        command = InCluster(runs, record, ["artifacts", str(ctx.info_name), *self.words(ctx)], given)
        pour(command.output())
        return ctx.exit(command.exit_code or 0)

    def _here(self, ctx: click.Context, store: str | None, living: str | None = None) -> Any:
        """In a store that is named; ``living``: the file that a pod is given."""
        from .artifact import store_at

        ctx.params["store"] = found = store_at(store)
        if self._living:
            from .living import living_here, read_living

            ctx.params["living"] = partial(read_living, living) if living else partial(living_here, found)
        return super().invoke(ctx)

    def taken(self, ctx: click.Context) -> dict[str, Any]:
        """The values of the options that say where, taken out of the context's."""
        return {str(option.name): ctx.params.pop(str(option.name), None) for option in self._where(ctx)}

    def words(self, ctx: click.Context) -> Iterator[str]:
        """Its own options and arguments as somebody would type them."""
        for parameter in self.params:
            value = ctx.params.get(str(parameter.name))
            if isinstance(parameter, click.Option):
                if parameter.is_flag and value:
                    yield parameter.opts[-1]
                elif not parameter.is_flag and value is not None:
                    yield from (parameter.opts[-1], str(value))
        yield from (
            str(word)
            for parameter in self.params
            if isinstance(parameter, click.Argument)
            for word in _several(ctx.params.get(str(parameter.name)))
        )

    def _where(self, ctx: click.Context) -> tuple[click.Option, ...]:
        face = face_of(ctx)
        if not face.in_cluster:
            return (STORE, LIVING) if self._living else (STORE,)
        return (RUN, NOT_IN_CLUSTER if self._only_from_here else IN_CLUSTER, *face.options)


def _several(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
