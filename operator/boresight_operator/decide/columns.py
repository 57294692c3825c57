"""The scalars beside the stages: what ``kubectl get`` shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boresight_api.outcome import SuiteResult
from boresight_api.recipe import NEWEST, RECIPES
from boresight_api.spec import Algorithm, Feedback
from boresight_api.status import RunStatus, StageStatus

from . import editing
from .draft import DONE, Draft, State, finished

_HEADLINES = ("winRate", "passRate", "accuracy")
"""Measures that say most, best first; else the first one counts."""


def columns(draft: Draft) -> RunStatus:
    """The status with its scalars and lists, but for the conditions."""
    results = editing.results_of(draft)
    feedback, algorithm = _method(draft)
    stage = at_work(draft)
    return draft.status.model_copy(
        update={
            "stage": stage.name if stage is not None else None,
            "key_metric": _key_metric(draft, results),
            "results": results,
            "feedback": feedback,
            "algorithm": algorithm,
            "stages": tuple(draft.stages.values()),
        }
    )


def at_work(draft: Draft) -> StageStatus | None:
    """The first stage that is not done; None if all are, whatever ``prepare`` was about to look at."""
    if finished(draft):
        return None
    return next((stage for stage in draft.stages.values() if stage.state not in DONE), None)


def _key_metric(draft: Draft, results: tuple[SuiteResult, ...]) -> str | None:
    if results:
        best = sorted(results, key=lambda r: _HEADLINES.index(r.name) if r.name in _HEADLINES else len(_HEADLINES))[0]
        return f"{best.name} {best.value}"
    done = [stage for stage in draft.stages.values() if stage.state is State.SUCCEEDED and stage.metrics]
    return f"{done[-1].metrics[0].name} {done[-1].metrics[0].value}" if done else None


def _method(draft: Draft) -> tuple[Feedback | None, Algorithm | None]:
    """Of an AlignmentRun, with the defaults of its recipe."""
    if draft.seen.run.kind != "AlignmentRun" or draft.plan is None:
        return draft.status.feedback, draft.status.algorithm
    recipe = RECIPES.get(draft.plan.recipe) or RECIPES[NEWEST]
    spec = draft.seen.run.document.get("spec")
    method = spec.get("method") if isinstance(spec, Mapping) else None
    wanted: dict[str, Any] = {**recipe.defaults.method, **(method if isinstance(method, Mapping) else {})}
    feedback = next((member for member in Feedback if member.value == wanted["feedback"]), None)
    algorithm = next((member for member in Algorithm if member.value == wanted["algorithm"]), None)
    return feedback, algorithm
