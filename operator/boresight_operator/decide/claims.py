"""Many runs, one key: one attempt of a key is live at a time. The oldest works, the others wait and become Cached."""

from __future__ import annotations

from boresight_api.status import StageStatus

from ..views import Claim, Rival
from .draft import Draft, State, stamp


def artifact_of_another(draft: Draft, stage: StageStatus) -> Rival | None:
    """A run that has made the stage's artifact."""
    return next((r for r in _rivals(draft, stage) if r.claim is Claim.DONE and r.artifact is not None), None)


def in_the_way(draft: Draft, stage: StageStatus) -> Rival | None:
    """The run that works on the stage's key, or an older one that waits for it too."""
    rivals = _rivals(draft, stage)
    live = next((rival for rival in rivals if rival.claim is Claim.LIVE), None)
    mine = (draft.seen.run.created, draft.seen.run.uid)
    older = (rival for rival in rivals if rival.claim is Claim.WANTED and (rival.created, rival.uid) < mine)
    return live or next(older, None)


def take(draft: Draft, stage: StageStatus, rival: Rival) -> StageStatus:
    """The stage is done: ``rival`` did it."""
    message = f"made by {rival.kind} {rival.name}"
    stage = draft.move(
        stage, State.CACHED, None, message, artifact=rival.artifact, completion_time=stamp(draft.now), job_uid=None
    )
    draft.event("StageCached", f"{stage.name} was {message}")
    return stage


def wait_for(draft: Draft, stage: StageStatus, rival: Rival) -> StageStatus:
    """Somebody else's turn. The attempt is given up; its number stays, so that it is not given again."""
    doing = "works on" if rival.claim is Claim.LIVE else "waits longer for"
    message = f"{rival.kind} {rival.name} {doing} the same key; its artifact will be taken"
    return draft.move(stage, State.WAITING, "SameKeyRunning", message, job_uid=None)


def _rivals(draft: Draft, stage: StageStatus) -> tuple[Rival, ...]:
    return draft.seen.rivals.get(stage.key or "", ())
