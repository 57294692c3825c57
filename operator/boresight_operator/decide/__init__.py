"""``decide``: from what is to what shall be. Pure and total; all policy of the operator is in this package.

One policy a file: :mod:`.classify` (how an attempt ended), :mod:`.budgets` (the failure table), :mod:`.waiting` (the
waiting table), :mod:`.claims` (one live attempt per key), :mod:`.prepare`, :mod:`.editing` (the editing table),
:mod:`.attempts` (the attempt under way), :mod:`.start` (what comes next), :mod:`.retention`, :mod:`.conditions`,
:mod:`.columns`, :mod:`.events`. They work on a :class:`.draft.Draft` of the status, in the order below.
"""

from __future__ import annotations

from boresight_api.problems import Problem

from ..decision import Decision
from ..objects import forbidden
from ..views import Observation
from . import attempts, columns, conditions, editing, events, prepare, retention, start
from .draft import Draft, draft_of, finished


def decide(observation: Observation) -> Decision:
    """What the status shall say and what shall be done. The same observation gives the same decision; never raises."""
    draft = draft_of(observation)
    if observation.run.deleting:
        return Decision(draft.status)
    if observation.run.status_problem is not None:
        return _leave_alone(draft, observation.run.status_problem)

    editing.follow_plan(draft)
    editing.retry(draft)
    editing.store(draft)
    attempts.adopt(draft)
    for stage in tuple(draft.stages.values()):
        attempts.follow(draft, draft.stages[stage.name])
    start.refused(draft)
    editing.suspend(draft)
    prepare.demand(draft)
    problems = _problems(draft)
    start.advance(draft, problems)
    editing.note_compute(draft)
    start.effects(draft)
    return _decision(draft, problems)


def _problems(draft: Draft) -> tuple[Problem, ...]:
    """Why nothing may start: the spec is no plan, or asks for what the namespace does not allow."""
    if draft.plan is None:
        return draft.seen.problems or (Problem("spec", "no plan", "a spec that makes one"),)
    if finished(draft):
        return ()
    return (*draft.seen.problems, *forbidden(draft.seen))


def _decision(draft: Draft, problems: tuple[Problem, ...]) -> Decision:
    found = conditions.conditions(draft, problems)
    succeeded = next(condition for condition in found if condition.type == "Succeeded")
    retention.clean_up(draft, succeeded)
    events.rejected(draft, found)
    status = columns.columns(draft).model_copy(
        update={"conditions": found, "observed_generation": max(0, draft.seen.run.generation)}
    )
    return Decision(status, tuple(draft.effects), tuple(draft.events), draft.wake)


def _leave_alone(draft: Draft, problem: str) -> Decision:
    """A newer operator's status: only Accepted says that this one does not understand it."""
    accepted = conditions.newer_version(draft, problem)
    others = tuple(condition for condition in draft.status.conditions if condition.type != "Accepted")
    return Decision(draft.status.model_copy(update={"conditions": (accepted, *others)}))
