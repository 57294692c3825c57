"""From who we are to what is sent: tokens that rotate, programs that give credentials, TLS."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import UserError
from .kubeconfig import Access, Exec

_EARLY_SECONDS = 10.0
"""A token that ends so soon is renewed before it is used."""


@dataclass(frozen=True)
class Given:
    """What a program gave us."""

    token: str | None = field(repr=False)
    certificate: bytes | None = field(repr=False)
    key: bytes | None = field(repr=False)
    expires: float
    """Seconds since the epoch."""


class Credentials:
    """Of one access. Programs run once, and again when what they gave expires or is refused."""

    def __init__(self, access: Access, clock: Callable[[], float] = time.time) -> None:
        self._access = access
        self._clock = clock
        self._given: Given | None = None

    def headers(self) -> Iterator[tuple[str, str]]:
        """For one request. Raises :class:`UserError` if they cannot be had."""
        user = self._access.user
        token = user.token
        if user.token_file is not None:
            token = _token(user.token_file, user.name)
        if (given := self._of_program()) is not None and given.token:
            token = given.token
        if token:
            yield "authorization", f"Bearer {token}"
        yield from user.impersonate

    def renew(self) -> bool:
        """They were refused: whether trying again makes sense, because others can be had."""
        self._given = None
        return self._access.user.exec is not None or self._access.user.token_file is not None

    def context(self) -> ssl.SSLContext:
        """TLS with the cluster's authorities and our certificate, if we have one."""
        access, given = self._access, self._of_program()
        certificate = (given.certificate if given else None) or access.user.certificate
        key = (given.key if given else None) or access.user.key
        try:
            trusted = access.authorities.decode() if access.authorities else None
            context = ssl.create_default_context(cadata=trusted)
            # Python 3.13 asks for extensions that RFC 5280 lets a root go without, and EKS' roots do.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if access.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if certificate:
                _present(context, certificate, key)
        except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
            raise UserError(
                f"kubeconfig: context {access.context}: authorities or client certificate cannot be read: {error}"
            ) from error
        return context

    def _of_program(self) -> Given | None:
        program = self._access.user.exec
        if program is None:
            return None
        if self._given is None or self._given.expires - _EARLY_SECONDS < self._clock():
            self._given = run_program(program, self._access)
        return self._given


def run_program(program: Exec, access: Access) -> Given:
    """Ask the program (the protocol ``ExecCredential``). Raises :class:`UserError` if it gives none.

    Its stderr is ours, as kubectl has it: there it says where to log in, and why it gives none.
    """
    interactive = program.interactive != "Never" and sys.stdin.isatty()
    if program.interactive == "Always" and not interactive:
        raise UserError(f"{program.command}: needs a terminal to give credentials (interactiveMode: Always)")
    request = {
        "apiVersion": program.api_version,
        "kind": "ExecCredential",
        "spec": {"interactive": interactive, **({"cluster": _cluster(access)} if program.wants_cluster else {})},
    }
    environment = {**os.environ, **program.environment, "KUBERNETES_EXEC_INFO": json.dumps(request)}
    try:
        done = subprocess.run(
            [program.command, *program.arguments],
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
            check=False,
        )
    except OSError as error:
        hint = f"; {program.install_hint.strip()}" if program.install_hint else ""
        raise UserError(f"{program.command}: cannot be started to give credentials: {error.strerror}{hint}") from error
    if done.returncode:
        raise UserError(f"{program.command}: gave no credentials, exit code {done.returncode}; log in anew")
    return _given(done.stdout, program)


def _given(output: bytes, program: Exec) -> Given:
    try:
        document = json.loads(output)
        status: Mapping[str, Any] = document["status"]
        version = document["apiVersion"]
        expires = status.get("expirationTimestamp")
        found = Given(
            token=status.get("token") or None,
            certificate=status["clientCertificateData"].encode() if status.get("clientCertificateData") else None,
            key=status["clientKeyData"].encode() if status.get("clientKeyData") else None,
            expires=datetime.fromisoformat(expires).timestamp() if expires else float("inf"),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{program.command}: found no ExecCredential in what it printed") from error
    if version != program.api_version:
        raise UserError(f"{program.command}: found apiVersion {version}, expected {program.api_version}")
    if not (found.token or found.certificate):
        raise UserError(f"{program.command}: found neither token nor certificate in its ExecCredential")
    return found


def _cluster(access: Access) -> dict[str, Any]:
    import base64

    trusted = (
        {"certificate-authority-data": base64.b64encode(access.authorities).decode()} if access.authorities else {}
    )
    named = {"tls-server-name": access.server_name} if access.server_name else {}
    proxied = {"proxy-url": access.proxy} if access.proxy else {}
    insecure = {"insecure-skip-tls-verify": True} if access.insecure else {}
    return {"server": access.server, **trusted, **named, **proxied, **insecure}


def _token(path: Path, whose: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"kubeconfig: user {whose}: tokenFile {path}: {error.strerror}") from error


def _present(context: ssl.SSLContext, certificate: bytes, key: bytes | None) -> None:
    """OpenSSL takes them from a file only; it is ours alone, and gone at once."""
    with tempfile.NamedTemporaryFile("wb", prefix="boresight-", suffix=".pem") as file:
        file.write(certificate + b"\n" + (key or b""))
        file.flush()
        context.load_cert_chain(file.name)
