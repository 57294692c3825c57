"""``boresight.run``: a run as it was recorded on this machine, with its artifacts and results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError
from .records import RunFolder, RunRecord, RunRecords
from .settings import default_store, store_folder, store_uri

if TYPE_CHECKING:
    from .artifact import Artifact
    from .results import Results

EVALUATION = "evaluation"


@dataclass(frozen=True)
class Run:
    """A recorded run."""

    record: RunRecord
    """Plan, states, times, attempts."""
    folder: RunFolder

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of its stages, in order, without ``prepare`` (which leaves no artifact)."""
        return tuple(stage.name for stage in self.record.stages if stage.key is not None)

    def artifact(self, stage: str) -> Artifact:
        """The artifact of ``stage``. Raises :class:`UserError` if the stage is unknown or not finished."""
        from .artifact import open_artifact

        found = self.record.stage(stage)
        if found is None:
            raise UserError(f'run {self.record.name} has no stage "{stage}"; it has {", ".join(self.stages)}')
        if found.key is None or not found.state.done:
            raise UserError(f"stage {stage} of run {self.record.name} is {found.state.value}: there is no artifact yet")
        return open_artifact(found.key, self.folder.store.as_uri())

    def results(self) -> Results:
        """The results of its evaluation. Raises :class:`UserError` if there are none (yet)."""
        from .results import read_results

        artifact = self.artifact(EVALUATION)
        return read_results(artifact.store.file(artifact.key, "results.json"))

    def __repr__(self) -> str:
        return f"Run({self.record.namespace}/{self.record.name}, {self.record.state.value})"


def open_run(name: str | None = None, namespace: str = "default", store: str | None = None) -> Run:
    """The run called ``name``, or the newest. Raises :class:`UserError` naming the runs there are."""
    root: Path = store_folder(store_uri(store) if store else default_store())
    folder, record = RunRecords(root).find(name, namespace)
    return Run(record, folder)
