"""``plan``: what a run would do, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..face import RunsCommand
from .options import output_option

if TYPE_CHECKING:
    from ..manifests import PlannedRun
    from ..records import RunRecord
    from ..source import Runs


@click.command(
    "plan",
    cls=RunsCommand,
    short_help="Show stages, keys, what is cached, and what an edit would cost.",
    epilog="""\b
Examples:
  boresight plan examples/quickstart.yaml
  boresight plan run.yaml -o yaml            the manifest with every default written out
  boresight plan run.yaml -o json            stages with their whole configuration
  kubectl boresight plan run.yaml            what applying it would do to the run that is there""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@output_option("table", "json", "yaml")
def plan_command(runs: Runs, file: Path, output: str) -> None:
    """Show the stages of the run in FILE, their keys, which of them are finished already, and which of those of the run
    that is there would be done again.

    Nothing runs and nothing is downloaded. Keys that depend on what has to be read first are known after prepare.
    """
    from ..manifests import PlannedRun, plan_of

    manifest = runs.read(file)
    known = runs.known(manifest)
    if output == "yaml":
        from boresight_api.documents import dump_yaml
        from boresight_api.resolve import resolved_manifest

        plan_of(manifest, {}, recipe=known.recipe)  # what cannot be planned is not printed either
        click.echo(dump_yaml(resolved_manifest(manifest.run, known.recipe)), nl=False)
        return
    plan = plan_of(manifest, known.pins, recipe=known.recipe)
    made = known.finished([stage.key for stage in plan.stages if stage.key is not None])
    planned = PlannedRun(plan, known.pins, frozenset(stage.name for stage in plan.stages if stage.key in made))
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
        for stage in plan.stages
    ]
    stake = stake_of(planned, known.present)
    if output == "json":
        import json

        document = {"recipe": plan.recipe, "store": known.place, "stages": rows, "stake": stake}
        click.echo(json.dumps(document, indent=1))
        return
    _print_table(rows, known.place)
    if known.present is not None:
        _print_stake(stake, known.present)


def stake_of(planned: PlannedRun, present: RunRecord | None) -> list[dict[str, Any]]:
    """Stages of the run that is there whose work the plan would not use, with what they have cost so far."""
    if present is None:
        return []
    plan = {stage.name: stage for stage in planned.plan.stages}
    found = []
    for stage in present.stages:
        if stage.key is None or not stage.attempt_count:
            continue
        wanted = plan.get(stage.name)
        if wanted is not None and (wanted.key == stage.key or wanted.name in planned.cached):
            continue
        found.append(
            {
                "stage": stage.name,
                "key": stage.key,
                "state": stage.state.value,
                "certain": wanted is None or wanted.key is not None,
                "seconds": round(stage.seconds, 1),
                "deviceSeconds": stage.device_seconds,
            }
        )
    return found


WORDS = {"Cached": "cached", "ToRun": "to run", "Unknown": "to run unless cached", "Held": "held by stopAfter"}


def _print_table(rows: Sequence[Mapping[str, object]], place: str) -> None:
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
    click.echo(f"store: {place}")


def _print_stake(stake: Sequence[Mapping[str, Any]], present: RunRecord) -> None:
    from ..status_lines import device_hours
    from ..text import duration

    whole = f"{present.namespace}/{present.name}"
    if not stake:
        click.echo(f"nothing that {whole} has done would be done again")
        return
    for entry in stake:
        cost = [duration(entry["seconds"])] if entry["seconds"] else []
        cost += [device_hours(entry["deviceSeconds"])] if entry["deviceSeconds"] else []
        running = ", is at work and would be stopped" if entry["state"] in {"Running", "Starting"} else ""
        unsure = "" if entry["certain"] else " (unless prepare finds the same content)"
        click.echo(f"again: {entry['stage']}: {' and '.join(cost) or 'nothing'} so far{running}{unsure}")
    total = sum(entry["deviceSeconds"] or 0 for entry in stake)
    if total:
        click.echo(f"at stake: {device_hours(total)} of {whole}")
