"""Kubernetes events about runs. They are for people: a decision never waits for one, and never fails for one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from boresight_api.base import API_VERSION, canonical_json, sha256_hex

from . import names
from .api import EVENTS, Api
from .decision import Event
from .errors import ApiError
from .logs import about
from .plain import rfc3339
from .views import RunView

log = logging.getLogger(__name__)

COMPONENT = "boresight-operator"
MAX_MESSAGE = 1024
"""Characters; the API server refuses longer ones."""
MAX_REASON = 128


class EventWriter:
    """Posts events."""

    def __init__(self, api: Api, instance: str, failed: Callable[[], None]) -> None:
        """``failed`` counts events that could not be posted."""
        self._api = api
        self._instance = instance
        self._failed = failed

    async def emit(self, run: RunView, version: str, events: Sequence[Event]) -> None:
        """Post what a decision says. ``version``: resourceVersion of the status that the decision became.

        The name follows from what is said and from that version: posting it twice is the same as posting it once.
        Raises LeaseOver.
        """
        for number, event in enumerate(events):
            body = event_object(run, event, f"{version}/{number}", self._api.server_now(), self._instance)
            try:
                await self._api.create(EVENTS, run.namespace, body)
            except ApiError as error:
                self._failed()
                log.warning("event %s not posted: %s", event.reason, error, extra=about(run))


def event_object(run: RunView, event: Event, which: str, now: float, instance: str) -> dict[str, Any]:
    """A core/v1 Event about ``run``."""
    digest = sha256_hex(canonical_json([run.uid, which, event.type, event.reason, event.message]))[:16]
    time = rfc3339(now)
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {
            "name": f"{run.name[:63]}.{digest}",
            "namespace": run.namespace,
            "labels": dict(names.MANAGED_BY),
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": run.kind,
            "namespace": run.namespace,
            "name": run.name,
            "uid": run.uid,
            "resourceVersion": run.resource_version,
        },
        "type": event.type,
        "reason": event.reason[:MAX_REASON],
        "message": event.message[:MAX_MESSAGE],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": instance[:MAX_REASON],
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
