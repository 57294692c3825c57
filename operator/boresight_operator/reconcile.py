"""One reconcile: observe -> decide -> write the status -> effects -> events, until nothing is left to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from boresight_api.status import RunStatus

from . import crds, names
from .api import RUNS, Api, Resource
from .decide import decide
from .decision import Decision, Event, StartAttempt
from .effects import Effects, Seen
from .errors import ApiError, Conflict, Forbidden, Invalid, NotFound
from .events import EventWriter
from .memory import Memory
from .observe import Observer
from .plain import text
from .siblings import Siblings
from .status_document import body, document, same
from .views import Observation, RunView

log = logging.getLogger(__name__)
MAX_ROUNDS = 6
"""Of one reconcile; then another run has its turn."""
SOON = 0.05
"""Seconds until a run goes on that had more to do."""
OLDER_MANAGER = "boresight-older"
"""Field manager of an operator that does not know the status that it finds."""
Told = tuple[RunView, str, Sequence[Event]]
"""Events about a run, and the resourceVersion of the status that they go with."""
RESOURCES = {resource.kind: resource for resource in RUNS}


class Reconciler:
    """Brings runs on."""

    def __init__(
        self,
        api: Api,
        observer: Observer,
        siblings: Siblings,
        memory: Memory,
        effects: Effects,
        events: EventWriter,
        seen: Seen,
        gone: Callable[[Resource, RunView], None],
    ) -> None:
        """``seen`` and ``gone`` take what the API server answered into the cache."""
        self._api = api
        self._observer = observer
        self._siblings = siblings
        self._memory = memory
        self._effects = effects
        self._events = events
        self._seen = seen
        self._gone = gone

    async def reconcile(self, uid: str) -> float | None:
        """Seconds until time alone can change the run; None if only an event can. Raises ApiError and LeaseOver.

        What is to be told is told last: it is true by then, and no Job waits for it.
        """
        told: list[Told] = []
        try:
            after = await self._rounds(uid, told)
        except ApiError:
            await self._tell(told)
            raise
        await self._tell(told)
        return after

    async def _rounds(self, uid: str, told: list[Told]) -> float | None:
        """Until there is nothing more to do.

        From the observation to the reservation nothing is awaited, so no other worker decides in between. A reservation
        outlives an error of which nobody knows whether the write was done, until the run is observed again.
        """
        for turn in range(MAX_ROUNDS):
            observation = await self._observer.observe(uid)
            if observation is None:
                self._forget(uid)
                return None
            decision = decide(observation)
            if (wider := self._observer.with_new_keys(observation, decision.status)) is not None:
                observation, decision = wider, decide(wider)
            news = self._is_news(observation.run, decision.status)
            if news:
                self._siblings.reserve(observation.run, decision.status)
            try:
                if news:
                    version = await self._store(observation, decision)
                    if version == observation.run.resource_version:
                        self._dispute(observation.run, decision.status)
                    else:
                        told.append((observation.run, version, decision.events))
                did = await self._effects.perform(observation, decision.effects)
            except Conflict:
                if turn == MAX_ROUNDS - 1:
                    raise
                await self._look_again(observation.run)
                continue
            self._siblings.release(uid)
            if not (news or did):
                return decision.requeue_after
            if any(isinstance(effect, StartAttempt) for effect in decision.effects):
                return SOON  # its pods are still to come, and other runs may have no Job yet
        return SOON

    def _is_news(self, run: RunView, status: RunStatus) -> bool:
        """Whether a write can bring what is stored closer to ``status``."""
        disputed = self._memory.of(run.uid).disputed
        return not same(status, run.status) and disputed != (run.resource_version, status)

    def _dispute(self, run: RunView, status: RunStatus) -> None:
        """The status that is stored says more, and an apply takes away only what its own manager has once written."""
        self._memory.of(run.uid).disputed = run.resource_version, status
        ours, stored = document(status), document(run.status)
        fields = sorted(name for name in ours.keys() | stored.keys() if ours.get(name) != stored.get(name))
        log.warning(
            "%s %s/%s: status.%s is kept by another field manager and is not what the operator found; whoever wrote it "
            "(kubectl get -o yaml --show-managed-fields) must give it back",
            *(run.kind, run.namespace, run.name, ", status.".join(fields)),
        )

    async def _store(self, observation: Observation, decision: Decision) -> str:
        """One write; returns the resourceVersion that it made.

        What a newer operator wrote stays: another manager says that this one does not understand it. A status that the
        API server does not take reserves nothing: others need not wait for an attempt that cannot start.
        """
        run = observation.run
        content, resource = body(run, document(decision.status), pinned=True), RESOURCES[run.kind]
        manager = names.MANAGER if run.status_problem is None else OLDER_MANAGER
        try:
            stored = await self._api.apply(
                resource, run.namespace, run.name, content, manager=manager, subresource="status"
            )
        except NotFound as error:
            raise Conflict(error.code, error.reason, error.message) from error  # it was deleted meanwhile
        except Forbidden:
            self._siblings.release(run.uid)
            raise
        except Invalid as error:
            self._siblings.release(run.uid)
            raise crds.refused(resource, error) from error
        self._seen(resource, stored, run.uid)
        return text(stored, "metadata", "resourceVersion")

    async def _tell(self, told: list[Told]) -> None:
        for run, version, events in told:
            await self._events.emit(run, version, events)

    async def _look_again(self, run: RunView) -> None:
        """What was decided on is not what is stored, and the watch has not said so yet."""
        resource = RESOURCES[run.kind]
        try:
            self._seen(resource, await self._api.get(resource, run.namespace, run.name), run.uid)
        except NotFound:
            self._gone(resource, run)

    def _forget(self, uid: str) -> None:
        """The run is gone; the garbage collector removes what it owned."""
        self._memory.forget(uid)
        self._siblings.release(uid)
        self._siblings.changed(uid)
