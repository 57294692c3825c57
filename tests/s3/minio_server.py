"""A real MinIO on loopback, and small proxies that stand before it."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import urllib3
from apiserver.control_plane import Process, free_port
from minio import Minio, MinioAdmin
from minio.credentials import StaticProvider
from minio.error import MinioAdminException, MinioException

ACCESS_KEY = "boresight-tests"
SECRET_KEY = "boresight-tests-secret"


@dataclass(frozen=True)
class User:
    """Somebody with a key of their own."""

    environment: dict[str, str]
    remove: Callable[[], object]


class MinioServer:
    """One server with one drive, a folder. Use as a context manager."""

    def __init__(
        self, program: Path, folder: Path, *, drive: Path | None = None, tls: bool = False, wrapper: Sequence[str] = ()
    ) -> None:
        """``drive``: where objects lie, by default below ``folder``. ``wrapper``: a command that starts the server."""
        self.folder = folder
        self.port = free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.ca = folder / "certs" / "public.crt" if tls else None
        self._drive = drive or folder / "drive"
        self._command = [*wrapper, str(program)]
        self._process: Process | None = None

    def __enter__(self) -> Self:
        (self.folder / "certs").mkdir(parents=True, exist_ok=True)
        if self.ca is not None and not self.ca.exists():
            _write_certificate(self.folder / "certs")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def credentials(self) -> dict[str, str]:
        """The environment in which a client is its administrator."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    def environment(self) -> dict[str, str]:
        """All that a process needs to use it."""
        trust = {"BORESIGHT_CA_BUNDLE": str(self.ca)} if self.ca else {}
        return {"AWS_ENDPOINT_URL_S3": self.url, **self.credentials, **trust}

    def start(self) -> None:
        """Start it on its port and drive, and wait until it answers."""
        command = [
            *self._command,
            "server",
            "--quiet",
            f"--address=127.0.0.1:{self.port}",
            f"--certs-dir={self.folder / 'certs'}",
            str(self._drive),
        ]
        self._process = Process("minio", command, self.folder / "minio.log", _ENVIRONMENT)
        end = time.monotonic() + 60
        while not self._ready():
            self._process.check()
            if time.monotonic() > end:
                self.stop()
                raise TimeoutError(f"MinIO was not ready within 60 s; the end of its log:\n{self._process.tail()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGKILL. What it had acknowledged stays on its drive."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    @property
    def pid(self) -> int:
        """Of the server's process."""
        assert self._process is not None
        return self._process.pid

    def client(self) -> Minio:
        """The plain client, with the administrator's key."""
        import certifi

        pool = urllib3.PoolManager(ca_certs=str(self.ca) if self.ca else certifi.where(), retries=False)
        scheme, _, host = self.url.partition("://")
        return Minio(host, ACCESS_KEY, SECRET_KEY, secure=scheme == "https", region="us-east-1", http_client=pool)

    def bucket(self) -> str:
        """A new bucket's name."""
        name = f"b-{uuid.uuid4().hex[:12]}"
        self.client().make_bucket(name)
        return name

    @contextmanager
    def user(self, policy: str, document: Mapping[str, object] | None = None) -> Iterator[User]:
        """A user with one of the server's own policies (``readonly``, ``readwrite``) or one that ``document`` makes,
        removed at the end."""
        scheme, _, host = self.url.partition("://")
        admin = MinioAdmin(
            endpoint=host,
            credentials=StaticProvider(ACCESS_KEY, SECRET_KEY),
            secure=scheme == "https",
            cert_check=False,
        )
        name, secret = f"user-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
        admin.user_add(name, secret)
        if document is not None:
            policy = f"policy-{name}"
            admin.policy_add(policy, policy=dict(document))
        admin.attach_policy([policy], user=name)
        user = User({"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": secret}, lambda: admin.user_remove(name))
        try:
            yield user
        finally:
            with suppress(MinioAdminException):  # removed already
                user.remove()

    def _ready(self) -> bool:
        """Whether it does what it is for: its own health check says yes earlier."""
        try:
            self.client().list_buckets()
        except (urllib3.exceptions.HTTPError, MinioException):
            return False
        return True


_ENVIRONMENT: Mapping[str, str] = {
    "MINIO_ROOT_USER": ACCESS_KEY,
    "MINIO_ROOT_PASSWORD": SECRET_KEY,
    "MINIO_BROWSER": "off",
    "MINIO_UPDATE": "off",
    "MINIO_CI_CD": "on",  # the drive may be on the root file system
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
}


def _write_certificate(folder: Path) -> None:
    """A serving certificate that is its own authority, under the names that MinIO looks for."""
    command = [
        *("openssl", "req", "-x509", "-days", "30", "-subj", "/CN=127.0.0.1", "-addext"),
        *("subjectAltName=IP:127.0.0.1", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(folder / "private.key"), "-out", str(folder / "public.crt")),
    ]
    subprocess.run(command, check=True, capture_output=True)
