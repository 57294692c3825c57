"""The Kubernetes API as the rest of the operator sees it: plain dicts, few verbs. :mod:`.client` speaks it by HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Object = Mapping[str, Any]
"""A Kubernetes object as JSON data."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object, and where its URLs are."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """``group/version``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection or of one object."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{scope}/{self.plural}{tail}"


ALIGNMENT_RUNS = Resource("boresight.dev", "v1alpha1", "alignmentruns", "AlignmentRun")
SYNTHESES = Resource("boresight.dev", "v1alpha1", "feedbacksyntheses", "FeedbackSynthesis")
EVAL_RUNS = Resource("boresight.dev", "v1alpha1", "evalruns", "EvalRun")
JOBS = Resource("batch", "v1", "jobs", "Job")
PODS = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
SERVICES = Resource("", "v1", "services", "Service")
EVENTS = Resource("", "v1", "events", "Event")
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
RUNS = (ALIGNMENT_RUNS, SYNTHESES, EVAL_RUNS)
"""The three kinds, each a root of the same plan function."""
WATCHED = (*RUNS, JOBS, PODS)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    code: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Transport(Protocol):
    """One HTTP request. The only thing that a simulation replaces beside clock and randomness."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_seconds: float,
    ) -> Answer:
        """Send it and return the whole answer. Raises OSError or TimeoutError if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects of a kind at one moment."""

    items: tuple[Object, ...]
    resource_version: str


class Api(Protocol):
    """What reconciling needs. Errors are those of :mod:`.errors`; writes raise LeaseOver when the lease may be over."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """Raises NotFound."""
        ...

    async def list(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> Listed:
        """Page by page; begins again when a page's token has expired (410)."""
        ...

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """POST. An unknown result is resolved by GET: the object is ours if its controller UID and spec hash are those
        of ``body``. Raises AlreadyExists if a foreign object has the name."""
        ...

    async def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Object,
        *,
        manager: str,
        subresource: str | None = None,
    ) -> Object:
        """Server-side apply with force. With ``metadata.resourceVersion`` in ``body``: Conflict if it is not the stored
        one. The answer is the stored object."""
        ...

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str, *, propagation: str = "Background"
    ) -> None:
        """With a UID precondition; an object that is gone (or another one) is success."""
        ...

    def server_now(self) -> float:
        """Seconds since the epoch by the API server's clock, from its ``Date`` headers and our monotonic clock."""
        ...
