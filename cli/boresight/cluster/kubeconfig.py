"""Where the API server is and who we are, as kubectl finds it: flags, ``KUBECONFIG``, ``~/.kube/config``, else the
pod's own service account. Reading and choosing; :mod:`.credentials` makes a token or a certificate of what is chosen.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import UserError

VARIABLE = "KUBECONFIG"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LISTS = ("clusters", "users", "contexts")


@dataclass(frozen=True)
class Exec:
    """A program that gives credentials (``users[].user.exec``)."""

    command: str
    arguments: tuple[str, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    api_version: str
    interactive: str
    """``Never``, ``IfAvailable`` or ``Always``."""
    wants_cluster: bool
    install_hint: str


@dataclass(frozen=True)
class User:
    """Who we are. What is not set is not sent."""

    name: str
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    """Read for every request: it rotates."""
    certificate: bytes | None = field(default=None, repr=False)
    """PEM."""
    key: bytes | None = field(default=None, repr=False)
    """PEM."""
    exec: Exec | None = None
    impersonate: tuple[tuple[str, str], ...] = ()
    """Headers."""


@dataclass(frozen=True)
class Access:
    """One context of a kubeconfig."""

    context: str
    server: str
    namespace: str
    user: User
    authorities: bytes | None = field(default=None, repr=False)
    """PEM; None: the system's."""
    insecure: bool = False
    server_name: str | None = None
    """The name that the server's certificate must have, if not that of its address."""
    proxy: str | None = field(default=None, repr=False)
    """Perhaps with the account of the proxy."""


def find_access(
    kubeconfig: str | None,
    context: str | None,
    namespace: str | None,
    *,
    environment: Mapping[str, str] = os.environ,
    account: Path = ACCOUNT,
) -> Access:
    """The access that kubectl would use with these flags. Raises :class:`UserError` saying what is missing."""
    listed = environment.get(VARIABLE, "")
    paths = (
        [Path(kubeconfig).expanduser()]
        if kubeconfig
        else [Path(part).expanduser() for part in listed.split(os.pathsep) if part]
        or [Path(environment.get("HOME") or Path.home()) / ".kube" / "config"]
    )
    there = [path for path in paths if path.exists()]
    if kubeconfig and not there:
        raise UserError(f"--kubeconfig: found no file {kubeconfig}, expected a kubeconfig")
    if not there and not listed and context is None and (account / "token").exists():
        return _of_this_pod(account, namespace, environment)
    if not there:
        names = os.pathsep.join(map(str, paths))
        raise UserError(f"no way to a cluster: found no kubeconfig at {names}; set {VARIABLE}, or give --kubeconfig")
    documents = [(path, _read(path)) for path in there]
    try:
        return choose(merged(documents), context, namespace)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        files = os.pathsep.join(map(str, there))
        raise UserError(
            f"{files}: found another form than a kubeconfig's ({error!r}); see `kubectl config view`"
        ) from error


def merged(files: list[tuple[Path, Mapping[str, Any]]]) -> dict[str, Any]:
    """Several kubeconfigs as one: of what several say, the first counts. Relative paths are relative to their file."""
    found: dict[str, Any] = {name: {} for name in _LISTS}
    found["current-context"] = next((d["current-context"] for _, d in files if d.get("current-context")), None)
    for path, document in files:
        for name in _LISTS:
            for entry in document.get(name) or ():
                body = entry.get(name[:-1]) or {}
                found[name].setdefault(str(entry.get("name")), _rebased(body, path.parent))
    return found


def choose(config: Mapping[str, Any], context: str | None, namespace: str | None) -> Access:
    """The access of ``context`` (default: the current one)."""
    name = context or config.get("current-context")
    if not name:
        have = ", ".join(config["contexts"]) or "none"
        raise UserError(f"the kubeconfig has no current context; give --context (there: {have})")
    chosen = _entry(config, "contexts", str(name), f"context {name}")
    cluster = _entry(config, "clusters", str(chosen.get("cluster")), f"context {name}")
    user = _entry(config, "users", str(chosen["user"]), f"context {name}") if chosen.get("user") else {}
    server = str(cluster.get("server") or "")
    if not server.startswith(("http://", "https://")):
        raise UserError(
            f'kubeconfig: cluster {chosen.get("cluster")}: found server "{server}", expected http:// or https://'
        )
    return Access(
        context=str(name),
        server=server.rstrip("/"),
        namespace=namespace or chosen.get("namespace") or "default",
        user=_user(str(chosen.get("user") or ""), user),
        authorities=_content(cluster, "certificate-authority", f"cluster {chosen.get('cluster')}"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=cluster.get("tls-server-name") or None,
        proxy=cluster.get("proxy-url") or None,
    )


def _user(name: str, user: Mapping[str, Any]) -> User:
    for unsupported, instead in (("auth-provider", "exec"), ("username", "a token or a client certificate")):
        if user.get(unsupported):
            raise UserError(f"kubeconfig: user {name}: found {unsupported}, which Kubernetes dropped; use {instead}")
    program = user.get("exec")
    return User(
        name=name,
        token=user.get("token") or None,
        token_file=Path(user["tokenFile"]) if user.get("tokenFile") else None,
        certificate=_content(user, "client-certificate", f"user {name}"),
        key=_content(user, "client-key", f"user {name}"),
        exec=_exec(name, program) if program else None,
        impersonate=tuple(_impersonation(user)),
    )


def _exec(name: str, program: Mapping[str, Any]) -> Exec:
    version = str(program.get("apiVersion") or "")
    if version not in {"client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"}:
        raise UserError(
            f'kubeconfig: user {name}: exec.apiVersion: found "{version}", expected client.authentication.k8s.io/v1'
        )
    return Exec(
        command=str(program.get("command") or ""),
        arguments=tuple(map(str, program.get("args") or ())),
        environment={str(item["name"]): str(item["value"]) for item in program.get("env") or ()},
        api_version=version,
        interactive=str(program.get("interactiveMode") or "IfAvailable"),
        wants_cluster=bool(program.get("provideClusterInfo")),
        install_hint=str(program.get("installHint") or ""),
    )


def _impersonation(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [("Impersonate-User", user["as"])] if user.get("as") else []
    found += [("Impersonate-Uid", user["as-uid"])] if user.get("as-uid") else []
    found += [("Impersonate-Group", group) for group in user.get("as-groups") or ()]
    extra = user.get("as-user-extra") or {}
    keys = {name: quote(str(name).lower(), safe="!#$&'*+-.^_`|~") for name in extra}  # what a header's name may hold
    return found + [(f"Impersonate-Extra-{keys[name]}", value) for name, values in extra.items() for value in values]


def _entry(config: Mapping[str, Any], kind: str, name: str, wanted_by: str) -> Mapping[str, Any]:
    found = config[kind].get(name)
    if found is None:
        have = ", ".join(config[kind]) or "none"
        raise UserError(f'kubeconfig: {wanted_by}: found no {kind[:-1]} "{name}" (there: {have})')
    entry: Mapping[str, Any] = found
    return entry


def _content(entry: Mapping[str, Any], name: str, whose: str) -> bytes | None:
    """A file's content: given as ``<name>-data`` in base64, which wins, or as a path."""
    if data := entry.get(f"{name}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as error:
            raise UserError(f"kubeconfig: {whose}: {name}-data: found no base64 ({error})") from error
    if not entry.get(name):
        return None
    try:
        return Path(entry[name]).read_bytes()
    except OSError as error:
        raise UserError(f"kubeconfig: {whose}: {name}: {entry[name]}: {error.strerror}") from error


def _rebased(body: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    found = dict(body)
    for name in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
        if found.get(name):
            found[name] = str(folder / found[name])
    program = found.get("exec")
    if program and "/" in str(program.get("command") or ""):  # a bare name is looked up in PATH
        found["exec"] = {**program, "command": str(folder / program["command"])}
    return found


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 a safe loader
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}, expected a kubeconfig") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: found no YAML ({' '.join(str(error).split())}), expected a kubeconfig") from error
    if document is None:
        return {}  # an empty file is one that says nothing, as for kubectl
    if not isinstance(document, Mapping):
        raise UserError(f"{path}: found {type(document).__name__}, expected a kubeconfig")
    return document


def _of_this_pod(account: Path, namespace: str | None, environment: Mapping[str, str]) -> Access:
    host, port = (environment.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    if not host:
        raise UserError("no way to a cluster: this pod has a service account, but KUBERNETES_SERVICE_HOST is not set")
    own = (account / "namespace").read_text().strip()
    return Access(
        context="in-cluster",
        server=f"https://{f'[{host}]' if ':' in host else host}:{port or 443}",
        namespace=namespace or own,
        user=User("service account", token_file=account / "token"),
        authorities=(account / "ca.crt").read_bytes(),
    )
