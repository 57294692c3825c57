"""etcd, API server, controllers and scheduler, as processes of this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import urllib3
from apiserver.client import Client
from apiserver.control_plane import free_port
from cluster import plan
from cluster.credentials import Credentials
from cluster.ledger import Ledger
from cluster.waiting import until


@dataclass(frozen=True)
class Servers:
    """The control plane of a cluster."""

    folder: Path
    logs: Path
    programs: Path
    credentials: Credentials
    ledger: Ledger

    @property
    def client(self) -> Client:
        """An administrator's."""
        return Client(plan.API_URL, self.credentials.ca, self.credentials.token())

    def start(self) -> None:
        """Return when the API server is ready. Raises TimeoutError or RuntimeError with the end of a log."""
        self._start_api_server(self._start_etcd())
        self._start_controllers()
        self._start_scheduler()

    def _start_etcd(self) -> str:
        url, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._start(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",  # the data is thrown away
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        )
        self._wait("etcd", lambda: urllib3.request("GET", f"{url}/health", retries=False, timeout=1).status == 200)
        return url

    def _start_api_server(self, etcd: str) -> None:
        keys = self.credentials
        self._start(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            f"--bind-address={plan.HOST}",
            f"--advertise-address={plan.HOST}",
            f"--secure-port={plan.API_PORT}",
            f"--cert-dir={self.folder}",
            f"--tls-cert-file={keys.ca}",
            f"--tls-private-key-file={keys.serving_key}",
            f"--client-ca-file={keys.ca}",
            f"--token-auth-file={keys.tokens}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={plan.SERVICES}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys.accounts_public}",
            f"--service-account-signing-key-file={keys.accounts_key}",
            f"--kubelet-client-certificate={keys.kubelet_client}",
            f"--kubelet-client-key={keys.kubelet_client_key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--profiling=false",
        )
        self._wait("kube-apiserver", lambda: self.client.call("GET", "/readyz", seconds=2) == "ok")

    def _start_controllers(self) -> None:
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={self.credentials.kubeconfig('kube-controller-manager')}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.credentials.accounts_key}",
            f"--root-ca-file={self.credentials.ca}",
            "--allocate-node-cidrs=false",
            f"--service-cluster-ip-range={plan.SERVICES}",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )

    def _start_scheduler(self) -> None:
        self._start(
            "kube-scheduler",
            f"--kubeconfig={self.credentials.kubeconfig('kube-scheduler')}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        )

    def _start(self, name: str, *arguments: str) -> None:
        self.ledger.start(name, (self.programs / name, *arguments), self._log(name), plan.ENVIRONMENT)

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        until(ready, name, process=self.ledger.process(name), log=self._log(name))

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"
