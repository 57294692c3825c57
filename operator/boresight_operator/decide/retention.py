"""What is kept after a run's end: Jobs and pods for ``retainPodsSeconds``, small objects as long as the run, artifacts
for ever."""

from __future__ import annotations

from boresight_api.status import Condition, ConditionStatus

from ..decision import CleanUp, DeleteJob
from .draft import Draft, seconds, under_way


def clean_up(draft: Draft, succeeded: Condition) -> None:
    """Once the run has been over for long enough, its Jobs go, with their pods and logs, and its stages' ConfigMaps.

    The plan's ConfigMap stays, for a status that is lost; so do the NetworkPolicy and the Services, which cost nothing
    and go with the run: the operator has no right to delete them.
    """
    ended = seconds(succeeded.last_transition_time)
    if succeeded.status is ConditionStatus.UNKNOWN or ended is None or not draft.seen.jobs:
        return
    if any(map(under_way, draft.stages.values())):  # after an edit ``prepare`` runs while the run still says Failed
        return
    until = ended + draft.wishes.retain_seconds
    if draft.now < until:
        draft.wake_at(until)
        return
    jobs = tuple(DeleteJob(job.name, job.uid) for job in draft.seen.jobs if not job.deleting)
    if jobs:
        stages = tuple(sorted({job.stage for job in draft.seen.jobs}))
        draft.effects = [CleanUp(jobs, stages)]
