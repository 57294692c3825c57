"""Logs of pods that are gone, as the trainer kept them in the run's store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .errors import UserError
from .records import RunRecord

if TYPE_CHECKING:
    from boresight_trainer.store.base import Store


def kept_log(store: Store, run: RunRecord, stage: str, attempt: int, rank: str) -> Iterator[bytes]:
    """One log. Raises :class:`UserError` naming those that were kept of the stage."""
    from boresight_trainer.store.layout import LOGS, log_name

    name = log_name(run.uid, stage, attempt, rank)
    content = store.read(name)
    if content is None:
        folder = f"{LOGS}/{run.uid}/"
        kept = [file.name.removeprefix(folder).removesuffix(".log") for file in store.files(folder.rstrip("/"))]
        ours = ", ".join(sorted(one for one in kept if one.startswith(f"{stage}-"))) or "none"
        raise UserError(
            f"{store.place(name)}: found no such log, and no pod either (kept of this stage, as stage-attempt-rank: "
            f"{ours}); a process that is killed before it could write keeps none"
        )
    yield content
