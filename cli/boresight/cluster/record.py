"""From a run's object to its record. Pure; reads plain data, for the models cost more than a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ..records import Attempt, Progress, RunRecord, SourceEntry, StageRecord, State
from .kinds import RETRY_ANNOTATION

RETRY_LENGTH = 256
"""The status repeats a retry's text up to here, and has a digest of a longer one."""
STOPPED_AFTER = "StoppedAfter"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def record_of(run: Mapping[str, Any], now: float) -> RunRecord:
    """The record of a run. ``now``, in seconds since the epoch: until then a running stage has worked."""
    meta, status = run["metadata"], run.get("status") or {}
    conditions = {str(found.get("type")): found for found in status.get("conditions") or ()}
    succeeded, stalled = conditions.get("Succeeded", {}), conditions.get("Stalled", {})
    stages = tuple(_stage(stage, status, now) for stage in status.get("stages") or ())
    return RunRecord(
        kind=str(run.get("kind", "")),
        namespace=str(meta.get("namespace", "")),
        name=str(meta["name"]),
        uid=str(meta.get("uid", "")),
        manifest_path="",
        store=_store(run, status),
        started_at=str(meta.get("creationTimestamp") or ""),
        manifest=manifest_of(run),
        pins=tuple(_pins(status)),
        recipe=status.get("recipe"),
        plan=status.get("plan"),
        ended_at=succeeded.get("lastTransitionTime") if succeeded.get("status") in {"True", "False"} else None,
        sources=tuple(_sources(status)),
        stages=stages,
        reason=str(succeeded.get("reason") or "") or ("Pending" if not conditions else None),
        message=str(succeeded.get("message") or "") or _unseen(conditions),
        stalled=str(stalled.get("message") or stalled.get("reason")) if stalled.get("status") == "True" else None,
        verdict=_verdict(conditions),
        device_seconds=status.get("deviceSeconds"),
        unseen=_has_unseen_wish(meta, status),
        headlines=tuple(_headline(result) for result in status.get("results") or ()),
    )


def manifest_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a user would write to get this run: without what the API server and others have added."""
    meta = run["metadata"]
    annotations = {name: value for name, value in (meta.get("annotations") or {}).items() if name != LAST_APPLIED}
    kept = {"name": meta.get("name"), "namespace": meta.get("namespace"), "labels": meta.get("labels")}
    kept["annotations"] = annotations
    return {
        "apiVersion": run.get("apiVersion"),
        "kind": run.get("kind"),
        "metadata": {name: value for name, value in kept.items() if value},
        "spec": run.get("spec") or {},
    }


def _verdict(conditions: Mapping[str, Mapping[str, Any]]) -> State | None:
    succeeded = conditions.get("Succeeded", {})
    if succeeded.get("status") in {"True", "False"}:
        return State.SUCCEEDED if succeeded["status"] == "True" else State.FAILED
    if succeeded.get("reason") == STOPPED_AFTER:
        return State.HELD
    if conditions.get("Suspended", {}).get("status") == "True":
        return State.SUSPENDED
    return None


def _unseen(conditions: Mapping[str, Any]) -> str | None:
    return None if conditions else "no operator has seen it yet; does one run, and does it watch this namespace?"


def _has_unseen_wish(meta: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether the object asks for what its status does not answer yet: an edit of the spec, or another try."""
    edited = int(meta.get("generation") or 0) > int(status.get("observedGeneration") or 0)
    retry = (meta.get("annotations") or {}).get(RETRY_ANNOTATION) or ""
    return edited or (0 < len(retry) <= RETRY_LENGTH and retry != status.get("retry"))


def _store(run: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Where its artifacts lie: as they say themselves, else as the run says; the operator's settings are not ours."""
    for stage in status.get("stages") or ():
        uri = str((stage.get("artifact") or {}).get("uri") or "")
        if "/artifacts/" in uri:
            return uri.rpartition("/artifacts/")[0]
    return str(((run.get("spec") or {}).get("storage") or {}).get("uri") or "")


def _stage(stage: Mapping[str, Any], status: Mapping[str, Any], now: float) -> StageRecord:
    began = _seconds(stage.get("runningSince"))
    ran = stage.get("runningSeconds")
    worked = None if ran is None and began is None else (ran or 0) + (max(0.0, now - began) if began else 0.0)
    return StageRecord(
        name=str(stage["name"]),
        key=stage.get("key"),
        state=State.HELD if stage.get("reason") == STOPPED_AFTER else _state(stage.get("state")),
        digest=(stage.get("artifact") or {}).get("digest"),
        metrics=tuple((str(m["name"]), str(m["value"])) for m in stage.get("metrics") or ()),
        attempts=tuple(_attempt(attempt) for attempt in stage.get("history") or ()),
        reason=stage.get("reason"),
        message=stage.get("message"),
        attempt=stage.get("attempt"),
        queued_seconds=stage.get("queuedSeconds"),
        worked_seconds=worked,
        device_seconds=stage.get("deviceSeconds"),
        progress=_progress(stage, status) if stage.get("state") == State.RUNNING else None,
    )


def _state(word: object) -> State:
    try:
        return State(str(word))
    except ValueError:
        return State.UNKNOWN  # of a newer operator


def _attempt(attempt: Mapping[str, Any]) -> Attempt:
    began, ended = _seconds(attempt.get("startTime")), _seconds(attempt.get("endTime"))
    return Attempt(
        number=int(attempt["attempt"]),
        started_at=attempt.get("startTime"),
        ended_at=attempt.get("endTime"),
        seconds=ended - began if began is not None and ended is not None else None,
        failure_class=attempt.get("failureClass"),
        reason=attempt.get("reason"),
        message=attempt.get("message"),
        rank=attempt.get("rank"),
        node=attempt.get("node"),
        steps_gained=attempt.get("stepsGained"),
    )


def _progress(stage: Mapping[str, Any], status: Mapping[str, Any]) -> Progress | None:
    found = next((p for p in status.get("progress") or () if p.get("name") == stage["name"]), None)
    if found is None or found.get("attempt") != stage.get("attempt"):
        return None
    remaining = status.get("remainingSeconds") if status.get("stage") == stage["name"] else None
    return Progress(int(found["step"]), int(found["totalSteps"]), found.get("phase"), remaining)


def _headline(result: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: float(result[name]) if name in result else None for name in ("value", "low", "high")}
    baseline = result.get("baseline")
    return {
        "suite": result["suite"],
        "name": result["name"],
        "slice": None,
        "candidate": result["candidate"],
        "baseline": None if baseline == "none" else baseline,
        **numbers,
        "n": result.get("n"),
        "invalid": None,
        "fit": True,  # lines of a suite that is not are in the artifact alone
    }


def _sources(status: Mapping[str, Any]) -> Iterator[SourceEntry]:
    for source in status.get("sources") or ():
        digest = source.get("digest") or (f"artifact://{source['key']}" if source.get("key") else None)
        facts = {name: source.get(name) for name in ("revision", "rows", "licence")}
        yield SourceEntry(id=str(source["id"]), uri=str(source["uri"]), digest=digest, **facts)


def _pins(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """As ``boresight_api.pins.Pin`` has them; a source that is not pinned yet has none."""
    for source in status.get("sources") or ():
        if source.get("digest") or source.get("key"):
            names = ("id", "digest", "key", "revision", "rows", "licence")
            yield {name: source[name] for name in names if source.get(name) is not None}


def _seconds(time: object) -> float | None:
    """Seconds since the epoch of a time of Kubernetes."""
    return datetime.fromisoformat(str(time)).astimezone(UTC).timestamp() if time else None
