"""``boresight.run``: a run of this machine or of a cluster, with its artifacts and results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import UserError
from .records import RunRecord
from .source import RunsToRead

if TYPE_CHECKING:
    from .artifact import Artifact
    from .results import Results

EVALUATION = "evaluation"


@dataclass(frozen=True)
class Run:
    """A run, as it was when it was opened."""

    record: RunRecord
    """Plan, states, times, attempts."""
    runs: RunsToRead = field(repr=False)
    """Where it is."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of its stages, in order, without ``prepare`` (which leaves no artifact)."""
        return tuple(stage.name for stage in self.record.stages if stage.name != "prepare")

    def artifact(self, stage: str) -> Artifact:
        """The artifact of ``stage``. Raises :class:`UserError` if the stage is unknown or not finished."""
        from .artifact import artifact_in

        found = self.record.stage(stage)
        if found is None:
            raise UserError(
                f'run {self.record.name} has no stage "{stage}"; it has {", ".join(self.stages) or "none yet"}'
            )
        if found.key is None or not found.state.done:
            raise UserError(f"stage {stage} of run {self.record.name} is {found.state.value}: there is no artifact yet")
        return artifact_in(self.runs.store(self.record), found.key)

    def results(self) -> Results:
        """The results of its evaluation. Raises :class:`UserError` if there are none (yet)."""
        from .results import RESULTS_FILE, read_results

        artifact = self.artifact(EVALUATION)
        return read_results(artifact.store.file(artifact.key, RESULTS_FILE))

    def __repr__(self) -> str:
        return f"Run({self.record.namespace}/{self.record.name}, {self.record.status})"


def open_run(runs: RunsToRead, name: str | None) -> Run:
    """The run called ``name``, or the newest. Raises :class:`UserError` naming the runs there are."""
    return Run(runs.find(name), runs)
