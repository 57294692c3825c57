"""The API server as tests see it: synchronous, plain dicts, and none of the operator's code that is under test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3
from boresight_operator.api import Resource

Object = dict[str, Any]
Found = TypeVar("Found")
TRIES = 10
"""Where the API server asks to come again later, as client-go does: just started, it does not serve all kinds yet."""

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)


class ApiError(Exception):
    """An answer of 400 or more."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


class Client:
    """One identity's view of an API server. Safe to use from several threads."""

    def __init__(self, url: str, ca: Path, token: str) -> None:
        self._url = url
        self._authorization = f"Bearer {token}"
        self._pool = urllib3.PoolManager(ca_certs=str(ca), retries=False, maxsize=16)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        seconds: float = 30,
    ) -> Any:
        """The decoded answer. Raises :class:`ApiError`, or urllib3's errors if there is none."""
        for _ in range(TRIES):
            answer = self._send(method, path, body, query, content_type, seconds)
            later = answer.headers.get("Retry-After")
            if answer.status != 429 or later is None:
                break
            time.sleep(float(later))
        text = answer.data.decode()
        document = json.loads(text) if answer.headers.get("Content-Type", "").startswith("application/json") else text
        if answer.status >= 400:
            status = document if isinstance(document, dict) else {}
            raise ApiError(answer.status, status.get("reason", ""), status.get("message", text))
        return document

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, str] | None,
        content_type: str,
        seconds: float,
        *,
        whole: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            method,
            self._url + path + (f"?{urlencode(query)}" if query else ""),
            body=None if body is None else json.dumps(body),
            headers={"Authorization": self._authorization, "Content-Type": content_type, "Accept": "application/json"},
            timeout=seconds,
            preload_content=whole,
        )

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """Raises :class:`ApiError` 404."""
        found: Object = self.call("GET", resource.path(namespace, name))
        return found

    def find(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """None if there is none."""
        try:
            return self.get(resource, namespace, name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def list(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> list[Object]:
        """All of them, with ``kind`` and ``apiVersion`` as single objects have them."""
        query = {"labelSelector": labels} if labels else None
        items = self.call("GET", resource.path(namespace), query=query)["items"]
        return [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in items]

    def create(self, resource: Resource, namespace: str | None, body: Object, **query: str) -> Object:
        """POST."""
        found: Object = self.call("POST", resource.path(namespace), body, query=query or None)
        return found

    def apply(self, resource: Resource, namespace: str | None, body: Object, **query: str) -> Object:
        """Server-side apply, as ``kubectl apply --server-side --force-conflicts`` does it."""
        found: Object = self.call(
            "PATCH",
            resource.path(namespace, body["metadata"]["name"]),
            body,
            query={"fieldManager": "tester", "force": "true", **query},
            content_type="application/apply-patch+yaml",
        )
        return found

    def merge(
        self, resource: Resource, namespace: str | None, name: str, patch: Object, subresource: str | None = None
    ) -> Object:
        """JSON merge patch (RFC 7396): null deletes, lists are replaced."""
        found: Object = self.call(
            "PATCH",
            resource.path(namespace, name, subresource),
            patch,
            content_type="application/merge-patch+json",
        )
        return found

    def delete(self, resource: Resource, namespace: str | None, name: str, **options: Any) -> None:
        """With DeleteOptions; success if it is gone already."""
        try:
            self.call("DELETE", resource.path(namespace, name), options or None)
        except ApiError as error:
            if error.code != 404:
                raise

    def watch(
        self, resource: Resource, namespace: str | None = None, *, version: str = "", seconds: float = 600
    ) -> Iterator[tuple[str, Object]]:
        """Events from ``version`` on (without: what is there, then what comes) until the server ends the stream."""
        query = {"watch": "true", "timeoutSeconds": str(int(seconds))}
        if version:
            query["resourceVersion"] = version
        answer = self._send("GET", resource.path(namespace), None, query, "application/json", seconds + 5, whole=False)
        try:
            if answer.status >= 400:
                raise ApiError(answer.status, "", answer.read().decode())
            buffer = b""
            for part in answer.read_chunked():
                *lines, buffer = (buffer + part).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    yield event["type"], event["object"]
        finally:
            answer.close()


def until(look: Callable[[], Found | None], what: str, *, seconds: float = 20, every: float = 0.05) -> Found:
    """The first true result of ``look``. Raises AssertionError that says what did not come."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(every)
