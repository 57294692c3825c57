"""``pin``: the manifest as its own lock file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..face import RunsCommand, complete_run, face_of

if TYPE_CHECKING:
    from ..pinning import Place, Resolve, Wanted
    from ..records import RunRecord
    from ..source import Runs


@click.command(
    "pin",
    cls=RunsCommand,
    short_help="Write digests, commits and the recipe version into a manifest.",
    epilog="""\b
Examples:
  boresight pin run.yaml             pin what is not pinned yet
  boresight pin run.yaml --update    move on to what the sources are now
  boresight pin run.yaml --from-run first && git diff run.yaml""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--update", is_flag=True, help="Pin anew what is pinned already.")
@click.option(
    "--from-run",
    metavar="RUN",
    shell_complete=complete_run,
    help="To what RUN has read. `kubectl boresight pin` by default: the run of FILE's name.",
)
@click.pass_context
def pin_command(ctx: click.Context, runs: Runs, file: Path, update: bool, from_run: str | None) -> None:
    """Write what FILE's sources are now (or were for a run) into FILE: digests of content, commits of revisions, the
    recipe version.

    Only these values change; comments, order and layout stay. A pinned manifest means the same everywhere and always.
    Without --update a source that is no longer what the manifest says is an error.
    """
    from boresight_api.recipe import NEWEST

    from ..errors import UserError
    from ..files import replace_text
    from ..manifests import plan_of
    from ..pinning import pinned

    manifest = runs.read(file)
    if from_run or face_of(ctx).in_cluster:
        run = runs.find(from_run) if from_run else runs.known(manifest).present
        if run is None:
            raise UserError(
                f"{file}: found no run {manifest.name}, whose pins could be written; name one with --from-run"
            )
        recipe, resolve = run.recipe or NEWEST, _as_read_by(run, file, rebased=not face_of(ctx).in_cluster)
    else:
        known = runs.known(manifest)
        recipe = NEWEST if update else plan_of(manifest, {}).recipe
        resolve = _as_it_is(file, known.place)
    text = file.read_text(encoding="utf-8")
    changed = pinned(text, resolve, recipe=recipe, update=update)
    if changed == text:
        click.echo(f"{file}: everything is pinned already")
        return
    replace_text(file, changed)
    planned = plan_of(runs.read(file), {})
    click.echo(f"{file}: pinned; keys of {len(planned.stages)} stages are known: {planned.digest}")


def _as_it_is(file: Path, store: str) -> Resolve:
    """What a source is now."""
    from boresight_trainer.store.open import open_store
    from boresight_trainer.store.pins import pin

    from ..pinning import Wanted

    def resolve(place: Place) -> Wanted:
        if place.uri.startswith("artifact://") and not place.uri.startswith("artifact://tags/"):
            return Wanted()
        base = file.absolute().parent
        found = pin(place.uri, revision=place.revision, files=place.files, store=open_store(store), base=base)
        return _wanted(file, place, found.model_dump(), "the source changed. Restore it, or move on with --update")

    return resolve


def _as_read_by(run: RunRecord, file: Path, *, rebased: bool) -> Resolve:
    """What a source was for ``run``; one that is pinned already is known by its commit."""
    from boresight_api.manifest import rebase
    from boresight_api.pins import source_id

    from ..errors import UserError
    from ..pinning import Wanted

    pins = {str(pin["id"]): pin for pin in run.pins}
    commits = {(s.uri, s.revision): pins.get(s.id) for s in run.sources if s.revision}

    def resolve(place: Place) -> Wanted:
        if place.uri.startswith("artifact://") and not place.uri.startswith("artifact://tags/"):
            return Wanted()
        source = {"uri": place.uri}
        uri = (rebase(source, file.absolute().parent.as_uri()) if rebased else source)["uri"]
        found = pins.get(source_id(uri, place.revision, place.files)) or commits.get((uri, place.revision or ""))
        if found is None:
            raise UserError(
                f"{file}:{place.line}: {place.uri}: run {run.namespace}/{run.name} has no pin of it: it is not "
                "prepared yet, or reads another uri, revision or other files"
            )
        return _wanted(file, place, found, f"run {run.name} has read another content; --update takes it")

    return resolve


def _wanted(file: Path, place: Place, pin: Mapping[str, Any], advice: str) -> Wanted:
    from ..errors import UserError
    from ..pinning import Wanted

    digest = pin.get("digest")
    if place.digest is not None and digest is not None and digest != place.digest:
        raise UserError(f"{file}:{place.line}: {place.uri}: found {digest}, the manifest says {place.digest}: {advice}")
    if pin.get("key") is not None:
        return Wanted(uri=f"artifact://{pin['key']}")
    return Wanted(digest=digest, revision=pin.get("revision"))
