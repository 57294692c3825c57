"""The API server over HTTP: few verbs, plain dicts, every refusal one clear line."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import urllib3
from boresight_trainer.store.proxies import ProxyError, make_pool

from ..errors import UNREACHABLE, UserError
from .credentials import Credentials
from .kubeconfig import Access

Object = dict[str, Any]
"""A Kubernetes object as JSON data."""

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
MANAGER = "kubectl-boresight"
"""Field manager of what the command writes: its own, so that it takes nothing from `kubectl apply` or GitOps unseen."""
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 30.0
_NAME = re.compile(r"(?!\.+$)[\w.-]+").fullmatch
"""Of namespaces and objects, and no ``../``, ``?`` or ``#`` that would make it the URL of something else."""
_BUSY = (429, 502, 503, 504)


@dataclass(frozen=True)
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
        """URL path of the collection or of one object; without a namespace, of all namespaces.

        Raises :class:`UserError` for a name that would be more than one part of the path.
        """
        for part in filter(None, (namespace, name)):
            if not _NAME(part):
                raise UserError(f'found the name "{part}", expected letters, digits, "-" and "."')
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return root + scope + "".join(f"/{part}" for part in (self.plural, name, subresource) if part)


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
EVENTS = Resource("", "v1", "events", "Event")
JOBS = Resource("batch", "v1", "jobs", "Job")


class ApiError(UserError):
    """The API server refused. ``code`` is the HTTP status, ``reason`` Kubernetes' word for it."""

    def __init__(self, message: str, code: int, reason: str) -> None:
        super().__init__(message, UNREACHABLE if code in _BUSY else 1)
        self.code = code
        self.reason = reason


class Api:
    """One identity's view of one API server."""

    def __init__(self, access: Access, *, asked_namespace: str | None = None) -> None:
        """``asked_namespace``: what the flag says."""
        self.access = access
        self.asked_namespace = asked_namespace
        self._credentials = Credentials(access)
        self._pool: urllib3.PoolManager | None = None

    def in_namespace(self, namespace: str) -> Api:
        """The same, with another namespace in mind."""
        other = copy.copy(self)
        other.access = replace(self.access, namespace=namespace)
        return other

    # -- verbs -------------------------------------------------------------------------------------------------------

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object. Raises :class:`ApiError` (404) if there is none."""
        found: Object = self.call("GET", resource.path(namespace, name))
        return found

    def list(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> list[Object]:
        """All of them, page by page; without a namespace those of all namespaces."""
        query, found = {"limit": "500"}, list[Object]()
        query |= {name: text for name, text in (("labelSelector", labels), ("fieldSelector", fields)) if text}
        while True:
            page = self.call("GET", resource.path(namespace), query=query)
            found += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return found
            query["continue"] = token

    def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """POST."""
        query = {"fieldManager": MANAGER}
        made: Object = self.call("POST", resource.path(namespace), query=query, body=body)
        return made

    def apply(self, resource: Resource, namespace: str, name: str, body: Object, *, force: bool) -> Object:
        """Server-side apply. Without ``force`` it is a conflict (409) to change what another manager has set."""
        query = {"fieldManager": MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        path = resource.path(namespace, name)
        applied: Object = self.call("PATCH", path, query=query, body=body, content_type=APPLY)
        return applied

    def merge(self, resource: Resource, namespace: str, name: str, patch: Object) -> Object:
        """Merge into an object."""
        query = {"fieldManager": MANAGER}
        path = resource.path(namespace, name)
        merged: Object = self.call("PATCH", path, query=query, body=patch, content_type=MERGE)
        return merged

    def delete(self, resource: Resource, namespace: str, name: str, **options: Any) -> None:
        """With DeleteOptions; success if it is gone already."""
        try:
            self.call("DELETE", resource.path(namespace, name), body=options or None)
        except ApiError as error:
            if error.code != 404:
                raise

    # -- requests ----------------------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """The decoded answer. Raises :class:`ApiError`, or :class:`UserError` if there is none."""
        answer = self._send(method, path, query or {}, body, content_type, ANSWER_SECONDS, whole=True)
        try:
            return json.loads(answer.data)
        except ValueError as error:
            raise UserError(
                f"{self.access.server}{path}: found no JSON: is this an API server? (context {self.access.context})",
                UNREACHABLE,
            ) from error

    def stream(self, path: str, *, query: Mapping[str, str], seconds: float | None) -> Iterator[bytes]:
        """The parts of an answer as they come. ``seconds``: how long silence may last (None: for ever).

        Raises :class:`ApiError`, and :class:`UserError` when the connection is lost.
        """
        answer = self._send("GET", path, query, None, "application/json", seconds, whole=False)
        try:
            yield from answer.stream(65_536)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error
        finally:
            answer.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | None,
        content_type: str,
        seconds: float | None,
        *,
        whole: bool,
    ) -> urllib3.BaseHTTPResponse:
        for attempt in range(2):
            answer = self._once(method, path, query, body, content_type, seconds, whole=whole)
            if answer.status == 401 and attempt == 0 and self._credentials.renew():
                self._pool = None
                continue
            break
        if answer.status >= 400:
            raise self._refused(answer, method, path)
        return answer

    def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | None,
        content_type: str,
        seconds: float | None,
        *,
        whole: bool,
    ) -> urllib3.BaseHTTPResponse:
        headers = urllib3.HTTPHeaderDict({"accept": "application/json", "user-agent": "kubectl-boresight"})
        for name, value in self._credentials.headers():
            headers.add(name, value)
        if body is not None:
            headers["content-type"] = content_type
        # Only what changes nothing is sent twice, and no log.
        tries = urllib3.Retry(
            total=3, allowed_methods={"GET"}, status_forcelist=_BUSY, backoff_factor=0.2, raise_on_status=False
        )
        if self._pool is None:
            self._pool = self._make_pool()
        try:
            return self._pool.request(
                method,
                f"{self.access.server}{path}{'?' + urlencode(query) if query else ''}",
                headers=headers,
                body=None if body is None else json.dumps(body).encode(),
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds),
                retries=tries if whole else False,
                redirect=False,
                preload_content=whole,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def _make_pool(self) -> urllib3.PoolManager:
        access = self.access
        options: dict[str, Any] = {}
        if access.server.startswith("https:"):
            options["ssl_context"] = self._credentials.context()
            if access.insecure:
                options["assert_hostname"] = False
            if access.server_name:
                options |= {"server_hostname": access.server_name, "assert_hostname": access.server_name}
        try:
            return make_pool(access.server, proxy=access.proxy, **options)
        except ProxyError as error:
            raise UserError(f"context {access.context}: {error}") from error

    # -- refusals ----------------------------------------------------------------------------------------------------

    def _refused(self, answer: urllib3.BaseHTTPResponse, method: str, path: str) -> ApiError:
        try:
            status = json.loads(answer.data)
            message, reason = str(status["message"]), str(status.get("reason", ""))
        except (ValueError, KeyError, TypeError):
            message, reason = answer.data.decode(errors="replace").strip()[:500], ""
        who = f"context {self.access.context}, user {self.access.user.name}"
        if answer.status == 401:
            message = (
                f"the API server does not accept our credentials ({who}): they are wrong or have expired; log in anew"
            )
        elif answer.status == 403 and " cannot " in message:  # RBAC's words; quotas and admission refuse by 403, too
            role = "view (to look)" if method == "GET" else "edit (to change something)"
            message = f"{message} ({who}); ask for the role {role} in that namespace"
        elif answer.status in _BUSY:
            message = f"{method} {path}: the API server is busy ({answer.status}: {message}); try again"
        return ApiError(message, answer.status, reason)

    def _unreachable(self, error: Exception) -> UserError:
        where = f"{self.access.server} (context {self.access.context})"
        text = _root(error)
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            advice = "correct certificate-authority (or tls-server-name) in the kubeconfig"
            return UserError(f"{where}: its certificate is not trusted: {text}; {advice}", UNREACHABLE)
        return UserError(f"{where} does not answer: {text}; is the cluster up, and the network?", UNREACHABLE)


def _root(error: BaseException) -> str:
    """What the operating system said, below all that was wrapped around it."""
    while True:
        reason = getattr(error, "reason", None)
        deeper = reason if isinstance(reason, BaseException) else error.__cause__
        if deeper is None:
            return str(getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__)
        error = deeper
