"""Does what a decision wants done, once its status is stored. What the API server refuses becomes a fact."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from boresight_api.base import canonical_json, sha256_hex
from boresight_api.outcome import message_text
from boresight_api.plan import Plan

from . import names
from .api import CONFIG_MAPS, EVENTS, JOBS, NETWORK_POLICIES, NODES, SERVICES, Api, Object, Resource
from .decision import CleanUp, DeleteJob, Effect, LookAtEvents, LookAtNode, SavePlan, StartAttempt
from .errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound
from .logs import about
from .memory import Memory
from .objects import plan_config_map, render
from .plain import controller, epoch, text, texts
from .views import Observation

log = logging.getLogger(__name__)

APPLIED = (NETWORK_POLICIES, SERVICES)
"""Server-side applied; everything else is created once and never changed."""
MAX_EVENTS = 10
MAX_EVENT_BYTES = 512


Seen = Callable[[Resource, Object, str], None]
"""Told what the API server stored, and for which run: the next observation has it."""


class Refused(Exception):  # noqa: N818 an outcome
    """An object was not taken, and that is noted. ``news``: for the first time, or for another reason than before."""

    def __init__(self, news: bool) -> None:
        super().__init__()
        self.news = news


class Effects:
    """Performs effects."""

    def __init__(self, api: Api, memory: Memory, seen: Seen, exists: Callable[[str], bool]) -> None:
        """``exists`` says whether a run (by UID) is still there."""
        self._exists = exists
        self._api = api
        self._memory = memory
        self._seen = seen

    async def perform(self, observation: Observation, effects: Sequence[Effect]) -> bool:
        """All of them, in order; says whether there is anything new to observe. Raises ApiError and LeaseOver.

        One that is refused does not hold up those after it: they are about other objects, or will be decided again.
        """
        news = False
        for effect in effects:
            try:
                news |= await self._perform(observation, effect)
            except Refused as refused:
                news |= refused.news
        return news

    async def _perform(self, observation: Observation, effect: Effect) -> bool:
        match effect:
            case SavePlan(plan=plan):
                await self._save_plan(observation, plan)
                return False
            case StartAttempt():
                return await self._start(observation, effect)
            case DeleteJob():
                return await self._delete_job(observation, effect)
            case CleanUp():
                return await self._clean_up(observation, effect)
            case LookAtEvents(job_uid=job_uid):
                return await self._look_at_events(observation, job_uid)
            case LookAtNode(node=node):
                return await self._look_at_node(observation, node)

    async def _save_plan(self, observation: Observation, plan: Plan) -> None:
        """Once; a plan that an earlier process saved is found by its name."""
        facts, digest = self._memory.of(observation.run.uid), plan.digest
        if digest is None or digest in facts.saved_plans:
            return
        resource, body = plan_config_map(observation, plan)
        try:
            await self._api.get(resource, observation.run.namespace, body["metadata"]["name"])
        except NotFound:
            await self._put(observation, resource, body)
        facts.saved_plans.add(digest)

    async def _start(self, observation: Observation, start: StartAttempt) -> bool:
        """The plan's snapshot first: an attempt whose plan is not saved could not be understood by the next release."""
        if start.key is not None and observation.plan is not None:
            await self._save_plan(observation, observation.plan)
        for resource, body in render(observation, start):
            await self._put(observation, resource, body)
        return True

    async def _put(self, observation: Observation, resource: Resource, body: Object) -> None:
        """Create or apply one object. Raises Refused, or ApiError where trying again may help; Conflict if the run has
        been deleted since it was observed: nothing is made for a UID that is gone."""
        run, name = observation.run, body["metadata"]["name"]
        if not self._exists(run.uid):
            raise Conflict(404, "NotFound", f"{run.kind} {run.name} with UID {run.uid} is gone")
        facts = self._memory.of(run.uid)
        try:
            if resource in APPLIED:
                await self._apply(observation, resource, body)
            else:
                self._seen(resource, await self._create(observation, resource, body), run.uid)
        except (AlreadyExists, Forbidden, Invalid) as error:
            news = facts.refused(
                resource.kind, name, _reason(error), message_text(error.message), self._api.server_now()
            )
            log.warning("%s %s not taken: %s", resource.kind, name, error, extra=about(run))
            raise Refused(news) from error
        facts.accepted(resource.kind, name)

    async def _create(self, observation: Observation, resource: Resource, body: Object) -> Object:
        """Or take what is there, if it is this run's: names are made of the attempt, so it is that attempt's.

        It can say other things than ``body`` if the spec was edited between two tries. A Job is the attempt then; a
        ConfigMap without Job has been read by nobody, and is made anew. Raises AlreadyExists if it is another's.
        """
        namespace, name = observation.run.namespace, body["metadata"]["name"]
        try:
            return await self._api.create(resource, namespace, body)
        except AlreadyExists:
            found = await self._api.get(resource, namespace, name)
            if controller(found) != observation.run.uid:
                raise
        if resource != CONFIG_MAPS:
            return found
        await self._api.delete(resource, namespace, name, text(found, "metadata", "uid"))
        return await self._api.create(resource, namespace, body)

    async def _apply(self, observation: Observation, resource: Resource, body: Object) -> None:
        """Unless this process has applied the same already."""
        run, name, digest = observation.run, body["metadata"]["name"], sha256_hex(canonical_json(body))
        applied = self._memory.of(run.uid).applied
        if applied.get(name) != digest:
            await self._api.apply(resource, run.namespace, name, body, manager=names.MANAGER)
            applied[name] = digest

    async def _delete_job(self, observation: Observation, job: DeleteJob) -> bool:
        """The Job counts as deleting from now on, though no watch has said so yet."""
        deleted = self._memory.of(observation.run.uid).deleted
        if job.uid in deleted:
            return False
        await self._api.delete(JOBS, observation.run.namespace, job.name, job.uid, propagation="Foreground")
        deleted.add(job.uid)
        return True

    async def _clean_up(self, observation: Observation, effect: CleanUp) -> bool:
        """The Jobs last: as long as one is there, this is decided again after a crash."""
        run = observation.run
        selector = f"{names.SELECTOR},{names.RUN_UID_LABEL}={run.uid},{names.STAGE_LABEL}"
        found = (await self._api.list(CONFIG_MAPS, run.namespace, labels=selector)).items if effect.stages else ()
        for item in found:
            name, uid = text(item, "metadata", "name"), text(item, "metadata", "uid")
            if (
                texts(item, "metadata", "labels").get(names.STAGE_LABEL) in effect.stages
                and controller(item) == run.uid
            ):
                await self._api.delete(CONFIG_MAPS, run.namespace, name, uid)
        deleted = [await self._delete_job(observation, job) for job in effect.jobs]
        return any(deleted)

    async def _look_at_events(self, observation: Observation, job_uid: str) -> bool:
        """Warnings about the Job and its newest pods."""
        job = next((job for job in observation.jobs if job.uid == job_uid), None)
        if job is None:
            return False
        found = [event for uid in job.involved for event in await self._warnings(observation.run.namespace, uid)]
        said = dict.fromkeys(map(_event_text, sorted(found, key=_event_time, reverse=True)))
        self._memory.of(observation.run.uid).job_events[job_uid] = job.involved, tuple(said)[:MAX_EVENTS]
        return True

    async def _warnings(self, namespace: str, uid: str) -> tuple[Object, ...]:
        return (await self._api.list(EVENTS, namespace, fields=f"involvedObject.uid={uid},type=Warning")).items

    async def _look_at_node(self, observation: Observation, node: str) -> bool:
        """Without the right to look (an operator of single namespaces may lack it) the node counts as existing."""
        try:
            await self._api.get(NODES, None, node)
        except NotFound:
            return self._memory.node_is_gone(node, self._api.server_now())
        except Forbidden as error:
            log.warning("node %s not looked up: %s", node, error, extra=about(observation.run))
        return False


def _reason(error: ApiError) -> str:
    """Of a refusal. A webhook that denies may say any code and any reason; the API server adds these words."""
    if isinstance(error, AlreadyExists):
        return "NameConflict"
    if error.reason == "NamespaceTerminating":
        return error.reason
    denied = isinstance(error, Forbidden) or "denied the request" in error.message
    return "Forbidden" if denied else error.reason


def _event_time(event: Object) -> float:
    """When it was last seen; newer API servers fill one field, older ones the other."""
    times = (text(event, "series", "lastObservedTime"), text(event, "lastTimestamp"), text(event, "eventTime"))
    return max((epoch(time) or 0.0 for time in times), default=0.0)


def _event_text(event: Object) -> str:
    return message_text(f"{text(event, 'reason')}: {text(event, 'message')}", MAX_EVENT_BYTES)
