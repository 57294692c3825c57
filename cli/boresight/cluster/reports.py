"""The report of a run whose store cannot be reached from here: a pod writes it, we take it down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UserError
from ..records import RunRecord
from .in_cluster import InCluster, as_object

if TYPE_CHECKING:
    from .source import ClusterRuns


def fetch_page(runs: ClusterRuns, run: RunRecord) -> str:
    """The page. Raises :class:`UserError` if there is none; why is told on stderr then."""
    command = InCluster(runs, run, ["report", "--output", "-"], as_object(runs, run))
    page = b"".join(command.output()).decode()
    if command.exit_code:
        raise UserError(f"the pod could not write the report (exit code {command.exit_code})")
    return page.removesuffix("\n")
