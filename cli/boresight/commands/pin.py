"""``boresight pin``: the manifest as its own lock file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import store_option

if TYPE_CHECKING:
    from boresight_trainer.store.file import FileStore

    from ..pinning import Place, Wanted


@click.command(
    "pin",
    short_help="Write digests, commits and the recipe version into a manifest.",
    epilog="""\b
Examples:
  boresight pin run.yaml             pin what is not pinned yet
  boresight pin run.yaml --update    move on to what the sources are now
  boresight pin run.yaml && git diff run.yaml""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--update", is_flag=True, help="Pin anew what is pinned already.")
@store_option
def pin_command(file: Path, update: bool, store: str | None) -> None:
    """Write what FILE's sources are now into FILE: digests of content, commits of revisions, the recipe version.

    Only these values change; comments, order and layout stay. A pinned manifest means the same everywhere and always.
    Without --update a source that is no longer what the manifest says is an error.
    """
    from boresight_api.recipe import NEWEST

    from ..files import replace_text
    from ..local.planning import choose_store, make_plan, read_manifest
    from ..pinning import pinned

    manifest = read_manifest(file)
    files = choose_store(store, manifest)
    recipe = NEWEST if update else make_plan(manifest, files, {}).plan.recipe
    text = file.read_text(encoding="utf-8")
    changed = pinned(text, lambda place: _resolve(place, file, files), recipe=recipe, update=update)
    if changed == text:
        click.echo(f"{file}: everything is pinned already")
        return
    replace_text(file, changed)
    planned = make_plan(read_manifest(file), files, {}).plan
    click.echo(f"{file}: pinned; keys of {len(planned.stages)} stages are known: {planned.digest}")


def _resolve(place: Place, file: Path, store: FileStore) -> Wanted:
    """What a source is now."""
    from boresight_trainer.store.pins import pin

    from ..errors import UserError
    from ..pinning import Wanted

    if place.uri.startswith("artifact://") and not place.uri.startswith("artifact://tags/"):
        return Wanted()
    found = pin(place.uri, revision=place.revision, files=place.files, store=store, base=file.absolute().parent)
    if place.digest is not None and found.digest is not None and found.digest != place.digest:
        raise UserError(
            f"{file}:{place.line}: {place.uri}: found {found.digest}, the manifest says {place.digest}: the source "
            "changed. Restore it, or move on with --update"
        )
    if found.key is not None:
        return Wanted(uri=f"artifact://{found.key}")
    return Wanted(digest=found.digest, revision=found.revision)
