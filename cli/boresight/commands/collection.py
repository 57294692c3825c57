"""``boresight artifacts du`` and ``gc``: what the store's bytes are for, and the end of those that are for nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ..stores import StoreCommand
from .options import output_option

if TYPE_CHECKING:
    from boresight_trainer.store.base import Store
    from boresight_trainer.store.garbage import Inventory, Living, Waste


@click.command("du", cls=StoreCommand)
@output_option("table", "json", "csv")
def du(output: str, store: Store) -> None:
    """Sum what artifacts and checkpoints take, by run and stage.

    What several runs share is counted for each of them; the last lines count everything once.
    """
    from boresight_trainer.store.garbage import take_inventory

    from ..tables import formatted
    from ..text import size

    inventory = take_inventory(store, time.time())
    rows = [*_by_run(inventory), *_totals(inventory)]
    if output == "table":
        rows = [{k: size(v) if isinstance(v, int) else v for k, v in row.items()} for row in rows]
    click.echo(formatted(rows, ["run", "stage", "key", "artifact", "checkpoints"], output))


@click.command("gc", cls=StoreCommand, living=True)
@click.option(
    "--keep-days", type=click.IntRange(min=0), default=30, show_default=True, help="How long a ref outlives its run."
)
@click.option("--delete", is_flag=True, help="Remove it. Without this nothing is removed, only listed.")
@output_option("table", "json", "csv")
def gc(keep_days: int, delete: bool, output: str, store: Store, living: Callable[[], Living]) -> None:
    """List, and with --delete remove, what no run and no tag needs.

    Kept: what refs of runs and tags name and all that it was made from; what is younger than 7 days; what has no
    manifest or one that cannot be read. The right to list the whole store is needed. A run's ref counts for
    --keep-days after the run's last stage began, and for as long as the run is there: in `boresight list` of this
    store; of `kubectl boresight`, in any namespace of the cluster. What such a run names is kept with or without a ref.
    """
    from boresight_trainer.store.garbage import take_inventory, waste

    from ..tables import formatted
    from ..text import plural, size

    alive = living()
    if alive.namespaces is not None:
        where = ", ".join(sorted(alive.namespaces))
        click.echo(
            f"found no right to list the runs of other namespaces than {where}: what their refs name is kept, however "
            "old; who may list runs in all namespaces can remove it",
            err=True,
        )
    found = waste(take_inventory(store, time.time()), keep_days=keep_days, living=alive)
    rows: list[dict[str, Any]] = [
        {
            "what": each.what,
            "name": each.name if output != "table" or each.what != "artifacts" else each.name[:12],
            "size": size(each.size) if output == "table" else each.size,
            "why": each.why,
        }
        for each in found
    ]
    if rows or output != "table":
        click.echo(formatted(rows, ["what", "name", "size", "why"], output))
    total = f"{plural(len(found), 'entry', 'entries')}, {size(sum(each.size for each in found))}"
    if not delete:
        click.echo(f"{total}: nothing was removed; --delete removes it", err=True)
        return
    gone = _remove(store, found, keep_days, living)
    click.echo(f"{plural(len(gone), 'entry', 'entries')}, {size(sum(e.size for e in gone))} removed", err=True)


def _remove(store: Store, found: list[Waste], keep_days: int, living: Callable[[], Living]) -> list[Waste]:
    """Look once more at who lives and what is wanted, then remove the rest: what was asked for meanwhile stays."""
    from boresight_trainer.store.garbage import take_inventory, waste

    again = waste(take_inventory(store, time.time()), keep_days=keep_days, living=living())
    still = {(each.what, each.name) for each in again}
    gone = [each for each in found if (each.what, each.name) in still]
    for each in gone:
        store.remove(file.name for file in each.files)
    return gone


def _by_run(inventory: Inventory) -> list[dict[str, Any]]:
    wanted = [(ref.label, stage, key) for ref in inventory.refs for stage, key in ref.stages.items()]
    named = {key for _, _, key in wanted}
    others = [("-", m.stage, key) for key, m in inventory.manifests.items() if key not in named]
    sizes = {
        folder: {key: sum(f.size for f in files) for key, files in inventory.below(folder).items()}
        for folder in ("artifacts", "checkpoints")
    }
    return [
        {
            "run": run,
            "stage": stage,
            "key": key[:12],
            "artifact": sizes["artifacts"].get(key, 0),
            "checkpoints": sizes["checkpoints"].get(key, 0),
        }
        for run, stage, key in sorted([*wanted, *others])
    ]


def _totals(inventory: Inventory) -> list[dict[str, Any]]:
    by_folder: dict[str, int] = {}
    for file in inventory.files:
        folder = file.name.partition("/")[0]
        by_folder[folder] = by_folder.get(folder, 0) + file.size
    artifacts, checkpoints = by_folder.pop("artifacts", 0), by_folder.pop("checkpoints", 0)
    rows = [{"run": f"({folder})", "artifact": total} for folder, total in sorted(by_folder.items())]
    return [*rows, {"run": "(all)", "artifact": artifacts, "checkpoints": checkpoints}]
