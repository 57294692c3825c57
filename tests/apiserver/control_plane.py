"""etcd, kube-apiserver and kube-controller-manager as processes on loopback: 3 seconds to ready, killed at the end."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

import urllib3

from .client import ApiError, Client

ADMIN = "admin-token"
CONTROLLERS = "controller-token"
TOKENS = f'{ADMIN},admin,admin,"system:masters"\n{CONTROLLERS},system:kube-controller-manager,controllers,\n'
CONTROLLER_NAMES = (
    "job-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "resourcequota-controller",
    "clusterrole-aggregation-controller",
)
"""Those whose work Boresight's objects meet. There is no scheduler and no kubelet: tests play them."""

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
"""

_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_SET_PARENT_DEATH_SIGNAL = 1


def _die_with_parent() -> None:
    """In the child: what a test started never outlives it, however the test ends."""
    if _PRCTL is not None:
        _PRCTL(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


class Process:
    """A child process with its output in a file."""

    def __init__(
        self, name: str, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._file: IO[bytes] = log.open("ab")
        # From the main thread only: the signal of _die_with_parent comes when the thread that started it ends.
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            preexec_fn=_die_with_parent,
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raises RuntimeError with the log's end if it does not run any more."""
        if self.code is not None:
            raise RuntimeError(f"{self.name} ended with {self.code}; the end of {self.log}:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.code is None:
            self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Its exit status. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL, and gone when this returns. A stopped process goes too."""
        self.send(signal.SIGKILL)
        self._process.wait()
        self._file.close()


def free_port() -> int:
    """A port of loopback that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ControlPlane:
    """The servers. Use as a context manager; everything lies in ``folder``, logs included."""

    def __init__(self, assets: Path, folder: Path, crds: Callable[[Client], None] = lambda client: None) -> None:
        """``crds`` installs what the garbage collector must know from its start: later it looks every 30 seconds."""
        self.assets = assets
        self._install_crds = crds
        self.folder = folder
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.ca = folder / "apiserver.crt"
        self.audit = folder / "audit.log"
        self._etcd_url = ""
        self._processes: dict[str, Process] = {}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._write_credentials()
            self._start_etcd()
            self.start_api_server()
            self._install_crds(self.client())
            self._start_controllers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes.values()):
            process.kill()

    def client(self, token: str = ADMIN) -> Client:
        """Requests with ``token``; without one, as an administrator."""
        return Client(self.url, self.ca, token)

    def kubeconfig(self, name: str, token: str, *, url: str | None = None) -> Path:
        """A new kubeconfig file; ``url`` if the server is reached through something else."""
        cluster = {"server": url or self.url, "certificate-authority": str(self.ca)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            "current-context": "test",
        }
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(document))
        return path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """``kubectl`` as an administrator."""
        config = self.folder / "admin.kubeconfig"
        if not config.exists():
            self.kubeconfig("admin", ADMIN)
        return subprocess.run(
            [str(self.assets / "kubectl"), f"--kubeconfig={config}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={"HOME": str(self.folder), "PATH": os.environ["PATH"]},
        )

    def kill_api_server(self) -> None:
        """SIGKILL; :meth:`start_api_server` starts it again on the same port with the same data."""
        self._processes.pop("kube-apiserver").kill()

    # -- starting ------------------------------------------------------------------------------------------------

    def _start(self, name: str, *arguments: str) -> Process:
        process = Process(name, [self.assets / name, *arguments], self.folder / f"{name}.log")
        self._processes[name] = process
        return process

    def _write_credentials(self) -> None:
        """A serving certificate that is its own authority, a key for ServiceAccounts' tokens, and two fixed tokens."""
        serving = ["-x509", "-days", "30", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        usage = ["-addext", "keyUsage=critical,keyCertSign,digitalSignature"]
        files = ["-keyout", str(self.folder / "apiserver.key"), "-out", str(self.ca)]
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        _openssl("req", *serving, *usage, *curve, *files)
        key = str(self.folder / "accounts.key")
        _openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key)
        _openssl("ec", "-in", key, "-pubout", "-out", str(self.folder / "accounts.pub"))
        (self.folder / "tokens.csv").write_text(TOKENS)
        (self.folder / "audit-policy.yaml").write_text(AUDIT_POLICY)

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        process = self._start(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",  # the data is thrown away
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        )
        self._etcd_url = client
        _wait(process, lambda: urllib3.request("GET", f"{client}/health", retries=False, timeout=1).status == 200)

    def start_api_server(self) -> None:
        """Start it and wait until it is ready."""
        folder = self.folder
        process = self._start(
            "kube-apiserver",
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={folder}",
            f"--tls-cert-file={self.ca}",
            f"--tls-private-key-file={folder / 'apiserver.key'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'accounts.pub'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            f"--audit-policy-file={folder / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit}",
            "--profiling=false",
        )
        client = self.client()
        _wait(process, lambda: client.call("GET", "/readyz", seconds=2) == "ok")

    def _start_controllers(self) -> None:
        process = self._start(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig('controllers', CONTROLLERS)}",
            f"--controllers={','.join(CONTROLLER_NAMES)}",
            f"--service-account-private-key-file={self.folder / 'accounts.key'}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )
        client = self.client()
        _wait(process, lambda: bool(client.call("GET", "/api/v1/namespaces/default/serviceaccounts")["items"]))


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no memory: it has ended")


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr.strip()}")


def _wait(process: Process, ready: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while True:
        process.check()
        try:
            if ready():
                return
        except (OSError, urllib3.exceptions.HTTPError, ApiError):
            pass
        if time.monotonic() > end:
            raise TimeoutError(
                f"{process.name} is not ready after {seconds:g} s; the end of its log:\n{process.tail()}"
            )
        time.sleep(0.05)
