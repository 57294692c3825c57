"""How far running stages are, asked of their rank 0. A pod that lies or hangs hurts its own run's progress.

No decision depends on progress, and nothing here wakes one. Who is asked is found by UIDs (run -> Job -> pod), where is
fixed (the pod's IP, our port), and an answer counts only if it names that pod and that key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from random import Random
from typing import Annotated, Any, Protocol

from boresight_api.outcome import message_text
from boresight_api.status import MAX_PHASE_BYTES
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import names
from .api import RUNS, Api, Object, Resource
from .cache import Cache
from .errors import ApiError, LeaseOver
from .observe import pod_view
from .plain import controller, rfc3339
from .siblings import RunningStage, Siblings, Standing
from .status_document import PROGRESS_CONDITION
from .views import PodView

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""For the whole of one poll."""
MAX_BYTES = 64 * 1024
POLLS_AT_ONCE = 16
POLLS_PER_SECOND = 20
"""With more running stages than fit, each is asked less often."""
MAX_DOUBLINGS = 5
"""A pod that does not answer is asked less and less often, down to every 2^5-th time."""
RESOURCES = {resource.kind: resource for resource in RUNS}

Whole = Annotated[int, Field(strict=True, ge=0, le=999_999_999)]


class Fetch(Protocol):
    """A bounded GET (:func:`.http.fetch_bounded`)."""

    def __call__(self, url: str, *, seconds: float, max_bytes: int) -> Awaitable[bytes]:
        """Raises OSError or TimeoutError."""
        ...


class Document(BaseModel):
    """What ``/progress`` says, as far as it is of use; the rest is not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    key: str = Field(max_length=64)
    pod_uid: str = Field(alias="podUID", max_length=64)
    phase: str = Field(max_length=256)
    step: Whole
    total_steps: Whole = Field(alias="totalSteps")
    remaining_seconds: float | None = Field(
        None, alias="remainingSeconds", ge=0, le=2**31 - 1, allow_inf_nan=False, strict=True
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """What a run's status says about progress, and since when."""

    stage: str = ""
    attempt: int = 0
    pod_uid: str = ""
    phase: str = ""
    step: int = 0
    total: int = 0
    remaining: int | None = None
    reason: str = "NotRunning"
    message: str = ""
    updated: str = field(default="", compare=False)

    @property
    def available(self) -> bool:
        """Whether rank 0 has answered."""
        return self.reason == "Polled"

    def content(self, since: str) -> dict[str, Any]:
        """Of the status; ``since``: when ``available`` became what it is. What is left out is taken back."""
        condition = {
            "type": PROGRESS_CONDITION,
            "status": "True" if self.available else "False",
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": since,
        }
        if not self.available:
            return {"conditions": [condition]}
        progress = {
            "name": self.stage,
            "attempt": self.attempt,
            "podUID": self.pod_uid,
            **({"phase": self.phase} if self.phase else {}),
            "step": self.step,
            "totalSteps": self.total,
            "updatedTime": self.updated,
        }
        shown = {"progress": [progress], "percent": 100 * self.step // self.total if self.total else 0}
        remaining = {} if self.remaining is None else {"remainingSeconds": self.remaining}
        return {"conditions": [condition], **shown, **remaining}


@dataclass(slots=True)
class _Run:
    """What is remembered about a run that is polled."""

    shown: Shown | None = None
    """What was last written; None: unknown, for this process has written nothing."""
    since: str = ""
    failures: int = 0
    rounds_off: int = 0
    """Rounds in which it is not asked."""


class ProgressPoller:
    """Polls, and writes what has changed."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        siblings: Siblings,
        fetch: Fetch,
        *,
        interval_seconds: float,
        random: Random,
        took: Callable[[Resource, Object], None],
        polled: Callable[[str], None],
        port: int = names.PROGRESS_PORT,
    ) -> None:
        """``took`` gets the stored run after a write, ``polled`` the result of each poll."""
        self._api = api
        self._cache = cache
        self._siblings = siblings
        self._fetch = fetch
        self._interval = interval_seconds
        self._random = random
        self._took = took
        self._polled = polled
        self._port = port
        self._runs: dict[str, _Run] = {}
        self._slots = asyncio.Semaphore(POLLS_AT_ONCE)

    async def run(self) -> None:
        """For ever."""
        while True:
            concerned = await self.poll()
            pause = max(self._interval, concerned / POLLS_PER_SECOND)
            await asyncio.sleep(pause * self._random.uniform(0.9, 1.1))

    async def poll(self) -> int:
        """One round; says how many runs have running stages."""
        found = [(uid, standing) for uid, standing in self._siblings.all() if self._concerns(uid, standing)]
        self._runs = {uid: self._runs.get(uid) or _Run() for uid, _ in found}
        await asyncio.gather(*(self._follow(uid, standing, self._runs[uid]) for uid, standing in found))
        return len(found)

    def _concerns(self, uid: str, standing: Standing) -> bool:
        """A stage runs, or progress is shown though none does."""
        known = self._runs.get(uid)
        stale = known.shown is not None and known.shown.reason != "NotRunning" if known else standing.shows_progress
        return bool(standing.running) or stale

    async def _follow(self, uid: str, standing: Standing, run: _Run) -> None:
        """One run. Whatever goes wrong stays with it."""
        try:
            await self._look_at(uid, standing, run)
        except Exception:
            about = {"run": f"{standing.namespace}/{standing.kind}/{standing.name}"}
            log.exception("progress not known", extra=about)

    async def _look_at(self, uid: str, standing: Standing, run: _Run) -> None:
        """Ask, and write if there is anything new."""
        target = next(self._targets(uid, standing), None)
        if target is not None and run.rounds_off > 0 and run.shown is not None and run.shown.pod_uid == target[1].uid:
            run.rounds_off -= 1
            return
        async with self._slots:
            if target is not None:
                shown = await self._ask(*target)
                run.failures = 0 if shown.available else run.failures + 1
                run.rounds_off = 0 if shown.available else 2 ** min(run.failures, MAX_DOUBLINGS) - 1
            elif standing.running and (run.shown is None or run.shown.stage == standing.running[0].name):
                return  # between two pods of one stage there is nothing new to say
            else:
                shown = Shown()
            if shown != run.shown:
                await self._write(standing, run, shown)

    def _targets(self, uid: str, standing: Standing) -> Iterator[tuple[RunningStage, PodView]]:
        """Rank 0 of each running stage, if it can be asked."""
        jobs = {job["metadata"]["uid"] for job in self._cache.jobs_of(uid)}
        for stage in standing.running:
            for found in self._cache.pods_of(stage.job_uid) if stage.job_uid in jobs else ():
                pod = pod_view(found)
                asks = pod.phase == "Running" and not pod.host_network and pod.deleting_since is None
                if asks and is_pod_address(pod.ip) and pod.index == 0 and controller(found) == stage.job_uid:
                    yield stage, pod

    async def _ask(self, stage: RunningStage, pod: PodView) -> Shown:
        """What rank 0 says, or why it cannot be believed."""
        mine = Shown(stage.name, stage.attempt, pod.uid)
        host = f"[{pod.ip}]" if pod.ip and ":" in pod.ip else pod.ip
        try:
            body = await self._fetch(f"http://{host}:{self._port}/progress", seconds=POLL_SECONDS, max_bytes=MAX_BYTES)
            said = Document.model_validate_json(body)
        except TimeoutError:
            return self._failed(mine, "Unreachable", f"pod {pod.name} did not answer within {POLL_SECONDS:g} s")
        except OSError:
            why = "it may just have started; or a network policy keeps the operator out of the namespace"
            return self._failed(mine, "Unreachable", f"pod {pod.name} could not be asked on port {self._port}: {why}")
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            fields = sorted({".".join(map(str, fault["loc"])) or "document" for fault in faults})
            return self._failed(mine, "Unreadable", f"pod {pod.name} sent no progress document: {', '.join(fields)}")
        if (said.pod_uid, said.key) != (pod.uid, stage.key):
            return self._failed(mine, "Mismatch", f"what answers at the address of pod {pod.name} is not this attempt")
        self._polled("ok")
        total = said.total_steps
        step = min(said.step, total) if total else said.step
        remaining = None if said.remaining_seconds is None else round(said.remaining_seconds)
        updated = rfc3339(self._api.server_now())
        phase = message_text(" ".join(said.phase.split()), MAX_PHASE_BYTES)
        return replace(mine, phase=phase, step=step, total=total, remaining=remaining, reason="Polled", updated=updated)

    def _failed(self, mine: Shown, reason: str, message: str) -> Shown:
        self._polled(reason.lower())
        return replace(mine, reason=reason, message=f"{message}; the stage goes on, only its progress is not known")

    async def _write(self, standing: Standing, run: _Run, shown: Shown) -> None:
        """By its own manager, on its own fields; whatever keeps it from being written, the next round tries again."""
        now = rfc3339(self._api.server_now())
        since = run.since if run.shown is not None and run.shown.available == shown.available else now
        resource = RESOURCES[standing.kind]
        body: Mapping[str, Any] = {
            "apiVersion": resource.api_version,
            "kind": standing.kind,
            "metadata": {"name": standing.name, "namespace": standing.namespace},
            "status": shown.content(since),
        }
        manager = names.PROGRESS_MANAGER
        try:
            stored = await self._api.apply(
                resource, standing.namespace, standing.name, body, manager=manager, subresource="status"
            )
        except (ApiError, LeaseOver) as error:
            about = {"run": f"{standing.namespace}/{standing.kind}/{standing.name}", "stage": shown.stage}
            log.debug("progress not written: %s", error, extra=about)
            return
        run.shown, run.since = shown, since
        self._took(resource, stored)


def is_pod_address(ip: str | None) -> bool:
    """Whether a pod can have this address: who writes a pod's status must not choose whom the operator asks, such as a
    cloud's metadata service (link-local)."""
    try:
        address = ip_address(ip or "")
    except ValueError:
        return False
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)
