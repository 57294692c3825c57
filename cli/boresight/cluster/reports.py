"""The report of a run whose store cannot be reached from here: a pod writes it, we take it down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UserError
from ..records import RunRecord
from .in_cluster import InCluster

if TYPE_CHECKING:
    from .source import ClusterRuns

_BEGIN, _END = "<!doctype html>", "</html>"


def fetch_page(runs: ClusterRuns, run: RunRecord) -> str:
    """The page. Raises :class:`UserError` with what the pod said if it is none."""
    command = InCluster(runs, run, ["boresight", "report", "--output", "-"], with_object=True)
    text = b"".join(command.output()).decode(errors="replace").strip()
    if command.exit_code:
        raise UserError(f"the pod could not write the report (exit code {command.exit_code}): {text[-2000:]}")
    page = page_in(text)
    if page is None:
        raise UserError(
            f"the report did not arrive whole: {len(text)} characters, beginning or end is missing; try again"
        )
    return page


def page_in(log: str) -> str | None:
    """The page in what a pod wrote, behind its warnings: a pod's log is stdout and stderr in one. None: not whole."""
    begin = log.find(_BEGIN)
    return log[begin:] if begin >= 0 and log.endswith(_END) else None
