"""The `minio` client as this store needs it: every request signs the SHA-256 of its body, whatever the transport.

``minio`` 7.2.20 sends ``UNSIGNED-PAYLOAD`` over TLS, with an MD5 instead, and its ``put_object`` turns the header
``If-None-Match`` into metadata. Below those calls lies ``_execute``, which sends and signs the headers it is given.
The version is pinned, and the tests read from the wire what is signed.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import urllib3
from boresight_api.outcome import FailureClass, StageFailure
from minio import Minio
from minio.credentials import Credentials, Provider
from minio.helpers import sha256_hash
from minio.time import to_amz_date, utcnow

from ..proxies import ProxyError, make_pool

AWS = "https://s3.amazonaws.com"
CONNECT_SECONDS, READ_SECONDS = 10, 60
ACCESS_KEY, SECRET_KEY, SESSION_TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"


class SigningClient(Minio):  # type: ignore[misc]  # the library has no types
    """Signs the digest of every body: the server refuses a body that changed on its way."""

    def _build_headers(
        self,
        host: str,
        headers: dict[str, Any] | None = None,
        body: bytes | None = None,
        creds: Credentials | None = None,
    ) -> tuple[dict[str, Any], datetime]:
        """Called by ``Minio`` for every request. A caller that knows the body's digest gives it in the header."""
        made = {**(headers or {}), "Host": host, "User-Agent": self._user_agent}
        if body:
            made["Content-Length"] = str(len(body))
        if creds:
            made.setdefault("x-amz-content-sha256", sha256_hash(body))
            if creds.session_token:
                made["X-Amz-Security-Token"] = creds.session_token
        date = utcnow()
        made["x-amz-date"] = to_amz_date(date)
        return made, date


class EnvironmentCredentials(Provider):  # type: ignore[misc]
    """``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and perhaps ``AWS_SESSION_TOKEN`` of this process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        access, secret = environment.get(ACCESS_KEY, ""), environment.get(SECRET_KEY, "")
        if not (access and secret):
            lacking = " and ".join(name for name in (ACCESS_KEY, SECRET_KEY) if not environment.get(name))
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"store: found no {lacking} in the environment; name a Secret with them in storage.secretName, or set "
                "them",
            )
        self._credentials = Credentials(access, secret, environment.get(SESSION_TOKEN) or None)

    def retrieve(self) -> Credentials:
        """The same for as long as the process lives: an environment does not change."""
        return self._credentials


class MountedCredentials(Provider):  # type: ignore[misc]
    """The files of a mounted Secret, read for every request: a rotated one is used as soon as it is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.retrieve()

    def retrieve(self) -> Credentials:
        """Raises :class:`StageFailure` (InvalidConfig) if the Secret lacks a key."""
        access, secret, token = (self._value(name) for name in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN))
        if not (access and secret):
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"store: found no {ACCESS_KEY} and {SECRET_KEY} in {self._folder}; put both into the Secret that "
                "storage.readFrom names",
            )
        return Credentials(access, secret, token)

    def _value(self, name: str) -> str | None:
        try:
            return (self._folder / name).read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None


def make_client(endpoint: str | None, credentials: Provider | None, environment: Mapping[str, str]) -> SigningClient:
    """A client for ``endpoint`` (by default AWS). Anything but AWS is addressed by path, ``<endpoint>/<bucket>/...``.

    Raises :class:`StageFailure` (InvalidConfig) for an endpoint that is none.
    """
    url = urlsplit(endpoint or AWS)
    if (
        url.scheme not in {"http", "https"}
        or not url.netloc
        or url.path not in {"", "/"}
        or url.query
        or "@" in url.netloc
    ):
        raise StageFailure(
            FailureClass.INVALID_CONFIG,
            f'storage.endpoint: found "{_without_password(endpoint or AWS)}", expected http:// or https:// with a host '
            "and perhaps a port, and nothing behind it",
        )
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    return SigningClient(
        url.netloc,
        credentials=credentials,
        secure=url.scheme == "https",
        region=region or ("us-east-1" if endpoint else None),  # without one AWS is asked where the bucket is
        http_client=_pool(endpoint or AWS, environment),
    )


def _pool(endpoint: str, environment: Mapping[str, str]) -> urllib3.PoolManager:
    settings: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        "retries": False,  # ours know what may be repeated, and until when
        "maxsize": 16,
        "ssl_context": _trust(environment),
    }
    try:
        return make_pool(endpoint, **settings)
    except ProxyError as error:
        raise StageFailure(
            FailureClass.INVALID_CONFIG, f"{error}: correct compute.proxy, or the variable HTTPS_PROXY (or HTTP_PROXY)"
        ) from error


def _trust(environment: Mapping[str, str]) -> ssl.SSLContext:
    """The system's authorities (with ``compute.caBundle``, see :mod:`..trust`), the public ones, ``AWS_CA_BUNDLE``."""
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=certifi.where())
    if bundle := environment.get("AWS_CA_BUNDLE"):
        try:
            context.load_verify_locations(cafile=bundle)
        except OSError as error:  # also what ssl raises for a file that holds no certificate
            raise StageFailure(
                FailureClass.INVALID_CONFIG,
                f"{bundle}: found no certificates ({error.strerror or error}), expected a file in PEM form: correct "
                "AWS_CA_BUNDLE",
            ) from error
    return context


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
