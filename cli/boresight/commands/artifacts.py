"""``boresight artifacts``: what the store holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import output_option, store_option

if TYPE_CHECKING:
    from boresight_trainer.store.file import FileStore


@click.group("artifacts", short_help="List, show and verify finished artifacts.")
def artifacts_command() -> None:
    """Finished artifacts: models, pairs, evaluations, each under its key.

    A key may be shortened to its first digits, as long as they name one artifact.
    """


@artifacts_command.command("ls")
@output_option("table", "json", "csv")
@store_option
def ls(output: str, store: str | None) -> None:
    """List artifacts, newest first."""
    from ..tables import formatted
    from ..text import size
    from .options import store_path

    rows = []
    for key, manifest in _files(store_path(store)).artifacts():
        total = sum(file.size for file in manifest.files)
        rows.append(
            {
                "key": key if output != "table" else key[:12],
                "kind": manifest.kind.value,
                "stage": manifest.stage,
                "recipe": manifest.recipe,
                "size": size(total) if output == "table" else total,
                "created": manifest.created_at,
                "headline": ", ".join(f"{name} {value}" for name, value in _headline(manifest.metrics).items()),
            }
        )
    rows.sort(key=lambda row: str(row["created"]), reverse=True)
    click.echo(formatted(rows, ["key", "kind", "stage", "recipe", "size", "created", "headline"], output))


@artifacts_command.command("show")
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as it is.")
@store_option
def show(key: str, as_json: bool, store: str | None) -> None:
    """Show where an artifact lies, what made it and what it is made of."""
    from ..artifact import open_artifact
    from ..tables import aligned
    from ..text import clean, duration, size

    artifact = open_artifact(key, store)
    manifest = artifact.manifest
    if as_json:
        click.echo(manifest.to_bytes().decode(), nl=False)
        return
    facts = [
        ("key", artifact.key),
        ("digest", artifact.digest),
        ("folder", str(artifact.store.path(artifact.key))),
        ("kind", manifest.kind.value),
        (
            "made by",
            f"{manifest.stage} ({manifest.recipe}), {manifest.created_at}, in {duration(manifest.wall_seconds)}",
        ),
    ]
    facts += [(f"from {parent.name}", f"artifact://{parent.key}") for parent in manifest.parents]
    facts += [
        (f"from {s.name}", f"{s.uri}  {s.digest}" + (f"  {s.rows} rows" if s.rows is not None else ""))
        for s in manifest.sources
    ]
    facts += list(_headline(manifest.metrics).items())
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        click.echo(clean(f"{name:{width}}  {value}"))
    click.echo()
    click.echo(aligned(["FILE", "SIZE", "DIGEST"], [[f.path, size(f.size), f.digest] for f in manifest.files]))


@artifacts_command.command("verify")
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@store_option
def verify(keys: tuple[str, ...], store: str | None) -> None:
    """Compare every file's size and SHA-256 with the manifest (of KEYs, or of all artifacts)."""
    from boresight_api.outcome import StageFailure

    from ..artifact import resolve_key
    from ..errors import UserError
    from ..text import plural
    from .options import store_path

    files = _files(store_path(store))
    chosen = [resolve_key(files, key) for key in keys] or files.keys()
    broken = []
    for key in chosen:
        try:
            manifest = files.verify(key)
            click.echo(f"ok      {key[:12]}  {manifest.stage}: {plural(len(manifest.files), 'file')}")
        except StageFailure as failure:
            broken.append(key)
            click.echo(f"broken  {key[:12]}  {failure.message}")
    if broken:
        raise UserError(f"{plural(len(broken), 'artifact')} of {len(chosen)} cannot be used")


def _files(folder: Path) -> FileStore:
    from boresight_trainer.store.file import FileStore

    return FileStore(folder.as_uri())


def _headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    headline = metrics.get("headline")
    return headline if isinstance(headline, dict) else {}
