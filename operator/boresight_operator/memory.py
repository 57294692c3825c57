"""What this process has learnt about runs beside the cache. Lost on restart, so nothing may be wrong without it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from boresight_api.status import RunStatus

from .views import JobView, Refusal

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

NODE_SECONDS = 600.0
"""How long "this node does not exist" is believed: a node of that name may join again."""


class Recent(Generic[K, V]):
    """A map of bounded size that forgets what was not used for the longest time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, or None."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key]

    def put(self, key: K, value: V) -> V:
        """Remember, and return it."""
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._size:
            self._items.popitem(last=False)
        return value

    def drop(self, key: K) -> None:
        """Forget one."""
        self._items.pop(key, None)


@dataclass(slots=True)
class RunFacts:
    """About one run."""

    refusals: dict[tuple[str, str], Refusal] = field(default_factory=dict)
    """By kind and name of the object that was not taken."""
    job_events: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
    """By UID of the Job: what was involved when its events were looked at, and what they said."""
    deleted: set[str] = field(default_factory=set)
    """UIDs of Jobs whose deletion the API server has accepted, though no watch has said so yet."""
    applied: dict[str, str] = field(default_factory=dict)
    """By name of a NetworkPolicy or Service: digest of what was last applied."""
    disputed: tuple[str, RunStatus] | None = None
    """A resourceVersion, and a status that was applied to it and changed nothing, though it is not what is stored."""
    saved_plans: set[str] = field(default_factory=set)
    """Digests of plans whose ConfigMap is known to exist."""

    def refused(self, kind: str, name: str, reason: str, message: str, now: float) -> bool:
        """Note a refusal; says whether its reason is news. ``since`` stays while it is refused for the same reason; the
        message is the last one, but no news, for it may be another one each time."""
        known = self.refusals.get((kind, name))
        news = known is None or known.reason != reason
        self.refusals[kind, name] = Refusal(name, kind, reason, message, now if news or known is None else known.since)
        return news

    def events_of(self, job: JobView) -> tuple[str, ...] | None:
        """What the events said; None if nobody has looked since the Job has the pods that it has."""
        involved, said = self.job_events.get(job.uid, ((), ()))
        return said if involved == job.involved else None

    def accepted(self, kind: str, name: str) -> None:
        """An object was taken: no refusal stands."""
        self.refusals.pop((kind, name), None)


class Memory:
    """About all runs, and about nodes."""

    def __init__(self) -> None:
        self._runs: dict[str, RunFacts] = {}
        self._nodes_gone: dict[str, float] = {}

    def of(self, run_uid: str) -> RunFacts:
        """What is known about a run; begins empty."""
        return self._runs.setdefault(run_uid, RunFacts())

    def forget(self, run_uid: str) -> None:
        """The run is gone."""
        self._runs.pop(run_uid, None)

    def node_is_gone(self, node: str, now: float) -> bool:
        """Note that a node does not exist; says whether that is news."""
        news = node not in self.nodes_gone(now)
        self._nodes_gone[node] = now
        return news

    def nodes_gone(self, now: float) -> frozenset[str]:
        """Nodes that did not exist when they were looked up, lately."""
        self._nodes_gone = {node: when for node, when in self._nodes_gone.items() if now - when < NODE_SECONDS}
        return frozenset(self._nodes_gone)
