"""``boresight artifacts``: what the store holds, in a folder or in a bucket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..stores import StoreCommand
from .collection import du, gc
from .options import output_option

if TYPE_CHECKING:
    from boresight_trainer.store.base import Store


ONLY_FROM_HERE = (
    "pull copies to this machine, and a pod's log is no way for that. Reach the store from here: a bucket in the "
    "cluster by `kubectl port-forward` to its Service and AWS_ENDPOINT_URL_S3=http://localhost:PORT, with "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a claim by `kubectl cp` of artifacts/<key> from a pod of your own "
    "that mounts it, which `boresight artifacts verify --store FOLDER` checks here"
)


@click.group("artifacts", short_help="Finished artifacts: list, show, verify, pull, tag, remove what nobody needs.")
def artifacts_command() -> None:
    """Finished artifacts: models, pairs, evaluations, each under its key.

    A key may be shortened to its first digits, as long as they name one artifact; tags/<name> names a tagged one.
    `kubectl boresight artifacts` looks into the store of a run.
    """


artifacts_command.add_command(du)
artifacts_command.add_command(gc)


@artifacts_command.command("ls", cls=StoreCommand)
@output_option("table", "json", "csv")
def ls(output: str, store: Store) -> None:
    """List artifacts, newest first."""
    from boresight_trainer.store.references import tags

    from ..tables import formatted
    from ..text import size

    names: dict[str | None, list[str]] = {}
    for name, key in tags(store).items():
        names.setdefault(key, []).append(name)
    rows = []
    for key, manifest in store.artifacts():
        total = sum(file.size for file in manifest.files)
        rows.append(
            {
                "key": key if output != "table" else key[:12],
                "kind": manifest.kind.value,
                "stage": manifest.stage,
                "recipe": manifest.recipe,
                "size": size(total) if output == "table" else total,
                "created": manifest.created_at,
                "tags": ", ".join(sorted(names.get(key, []))),
                "headline": ", ".join(f"{name} {value}" for name, value in _headline(manifest.metrics).items()),
            }
        )
    rows.sort(key=lambda row: str(row["created"]), reverse=True)
    columns = ["key", "kind", "stage", "recipe", "size", "created", "tags", "headline"]
    click.echo(formatted(rows, columns, output))


@artifacts_command.command("show", cls=StoreCommand)
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as it is.")
def show(key: str, as_json: bool, store: Store) -> None:
    """Show where an artifact lies, what made it and what it is made of."""
    from ..artifact import artifact_in
    from ..tables import aligned
    from ..text import clean, duration, size

    artifact = artifact_in(store, key)
    manifest = artifact.manifest
    if as_json:
        click.echo(manifest.to_bytes().decode(), nl=False)
        return
    facts = [
        ("key", artifact.key),
        ("digest", artifact.digest),
        ("folder", artifact.store.place(f"artifacts/{artifact.key}")),
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


@artifacts_command.command("verify", cls=StoreCommand)
@click.argument("keys", nargs=-1, metavar="[KEY]...")
def verify(keys: tuple[str, ...], store: Store) -> None:
    """Compare every file's size and SHA-256 with the manifest (of KEYs, or of all artifacts)."""
    from boresight_api.outcome import FailureClass, StageFailure

    from ..artifact import resolve_key
    from ..errors import UserError
    from ..text import plural

    chosen = [resolve_key(store, key) for key in keys] or store.keys()
    broken = []
    for key in chosen:
        try:
            manifest = store.verify(key)
            click.echo(f"ok      {key[:12]}  {manifest.stage}: {plural(len(manifest.files), 'file')}")
        except StageFailure as failure:
            if failure.failure is not FailureClass.MISSING_INPUT:
                raise  # the store does not answer: that says nothing about the artifact
            broken.append(key)
            click.echo(f"broken  {key[:12]}  {failure.message}")
    if broken:
        raise UserError(f"{plural(len(broken), 'artifact')} of {len(chosen)} cannot be used")


@artifacts_command.command("pull", cls=StoreCommand, only_from_here=ONLY_FROM_HERE)
@click.argument("key")
@click.argument("folder", type=click.Path(path_type=Path))
def pull(key: str, folder: Path, store: Store) -> None:
    """Copy an artifact into FOLDER, which must not exist or be empty; every file is checked as it arrives.

    A model's folder loads as it is: from_pretrained(FOLDER), vllm serve FOLDER.
    """
    import shutil
    import uuid

    from ..artifact import artifact_in
    from ..errors import UserError
    from ..text import plural, size

    artifact = artifact_in(store, key)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: found something there, expected no folder or an empty one; name another one")
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    try:
        artifact.store.load(artifact.key, temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    files = artifact.manifest.files
    click.echo(f"{folder}: {plural(len(files), 'file')}, {size(sum(f.size for f in files))}, {artifact.digest}")


@artifacts_command.command("tag", cls=StoreCommand)
@click.argument("name")
@click.argument("key")
def tag(name: str, key: str, store: Store) -> None:
    """Let NAME mean the artifact KEY from now on: manifests say artifact://tags/NAME.

    A run resolves a tag once, when it is prepared; moving the tag changes no run that has begun.
    """
    from boresight_trainer.store.references import write_tag

    from ..artifact import resolve_key

    found = resolve_key(store, key)
    write_tag(store, name, found)
    click.echo(f"artifact://tags/{name} is {found}")


@artifacts_command.command("untag", cls=StoreCommand)
@click.argument("name")
def untag(name: str, store: Store) -> None:
    """Remove the tag NAME. What it named stays until `gc` finds that nobody else needs it."""
    from boresight_trainer.store.references import read_tag, tag_name

    key = read_tag(store, name)
    store.remove([tag_name(name)])
    click.echo(f"artifact://tags/{name} was {key}")


def _headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    headline = metrics.get("headline")
    return headline if isinstance(headline, dict) else {}
