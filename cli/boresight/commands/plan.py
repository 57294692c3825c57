"""``boresight plan``: what a run would do, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from .options import output_option, store_option


@click.command(
    "plan",
    short_help="Show stages, keys and what is cached.",
    epilog="""\b
Examples:
  boresight plan examples/quickstart.yaml
  boresight plan run.yaml -o yaml            the manifest with every default written out
  boresight plan run.yaml -o json            stages with their whole configuration""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@output_option("table", "json", "yaml")
@store_option
def plan_command(file: Path, output: str, store: str | None) -> None:
    """Show the stages of the run in FILE, their keys, and which of them are finished already.

    Nothing runs and nothing is downloaded. Local files are hashed (once, as long as they do not change); keys that
    depend on what has to be downloaded first are known after prepare.
    """
    from ..local.planning import choose_store, known_pins, make_plan, read_manifest
    from ..records import RunRecords

    manifest = read_manifest(file)
    files = choose_store(store, manifest)
    record = RunRecords(files.root).folder(manifest.namespace, manifest.name).read()
    recipe = record.recipe if record is not None else None
    if output == "yaml":
        import yaml
        from boresight_api.resolve import resolved_manifest

        make_plan(manifest, files, {}, recipe=recipe)  # what cannot be planned is not printed either
        click.echo(
            yaml.safe_dump(resolved_manifest(manifest.run, recipe), sort_keys=False, allow_unicode=True), nl=False
        )
        return
    planned = make_plan(manifest, files, known_pins(manifest, files, record), recipe=recipe)
    rows = [
        {
            "stage": stage.name,
            "recipe": f"{stage.recipe}/{stage.recipe_version}",
            "key": stage.key,
            "state": "Held" if stage.name in planned.held else planned.state(stage),
            "reads": list(stage.parents),
            "unpinned": stage.unpinned,
            "config": stage.config.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        for stage in planned.plan.stages
    ]
    if output == "json":
        import json

        click.echo(json.dumps({"recipe": planned.plan.recipe, "store": files.uri, "stages": rows}, indent=1))
        return
    _print_table(rows, files.uri)


WORDS = {"Cached": "cached", "ToRun": "to run", "Unknown": "to run unless cached", "Held": "held by stopAfter"}


def _print_table(rows: Sequence[Mapping[str, object]], store: str) -> None:
    from ..tables import aligned

    table = [
        [
            str(row["stage"]),
            str(row["recipe"]),
            str(row["key"] or "after prepare")[:16],
            WORDS[str(row["state"])] + (", unpinned endpoint" if row["unpinned"] else ""),
            ", ".join(row["reads"]) or "-" if isinstance(row["reads"], list) else "-",
        ]
        for row in rows
    ]
    click.echo(aligned(["STAGE", "RECIPE", "KEY", "STATE", "READS"], table))
    click.echo(f"store: {store}")
