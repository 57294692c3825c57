"""``boresight-operator`` as a process of its own, with the identity that the chart gives it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import urllib3
import yaml

from .client import until
from .control_plane import ControlPlane, Process, cpu_seconds, free_port
from .identity import OWN_NAMESPACE

PROGRAM = Path(sys.executable).parent / "boresight-operator"
LATER_RELEASE = Path(__file__).with_name("later_release.py")
STORE = "s3://alignment/test"
SETTINGS: dict[str, Any] = {
    "defaults": {
        "image": "boresight-trainer:test",
        "storage": {"uri": STORE, "endpoint": "https://minio.storage:9000", "secretName": "boresight-storage"},
        "devicesPerNode": 1,
    },
    "leaseNamespace": OWN_NAMESPACE,
    # Shorter than in production (10, 6, 2), so that tests of a killed leader need not wait so long.
    "leaseSeconds": 5,
    "renewSeconds": 3.5,
    "retrySeconds": 1,
}


class OperatorProcess:
    """One replica. It can be killed, stopped, continued and started again; its log goes on in one file."""

    def __init__(
        self,
        plane: ControlPlane,
        token: str,
        *,
        name: str = "operator",
        url: str | None = None,
        settings: Mapping[str, Any] | None = None,
        command: tuple[str | Path, ...] = (PROGRAM,),
    ) -> None:
        self.name = name
        self.log = plane.folder / f"{name}.log"
        self._command = command
        self._port = free_port()
        self._process: Process | None = None
        config = plane.folder / f"{name}.yaml"
        own = {"identity": name, "podName": name, "metricsPort": self._port}
        config.write_text(yaml.safe_dump({**SETTINGS, **own, **(settings or {})}))
        self._environment = {
            "HOME": str(plane.folder),
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(plane.kubeconfig(name, token, url=url)),
            "BORESIGHT_OPERATOR_CONFIG": str(config),
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, *, wait: bool = True) -> Self:
        """Start it; by default return when it has its caches."""
        if self._process is not None and self._process.code is None:
            return self
        self._process = Process(self.name, self._command, self.log, self._environment)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, seconds: float = 30) -> None:
        """Raises AssertionError (or RuntimeError, with its log) if it does not come to be ready."""

        def ready() -> bool:
            self.process.check()
            return self.probe("/readyz") == 200

        until(ready, f"{self.name} ready", seconds=seconds)

    @property
    def process(self) -> Process:
        """The process. Raises ValueError if it was never started."""
        if self._process is None:
            raise ValueError(f"{self.name} was not started")
        return self._process

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.code is None

    @property
    def address(self) -> str:
        """Host and port of its own server."""
        return f"127.0.0.1:{self._port}"

    def probe(self, path: str) -> int:
        """Status of an HTTP answer of its own server; 0 if there is none."""
        try:
            url = f"http://{self.address}{path}"
            return int(urllib3.request("GET", url, retries=False, timeout=2).status)
        except (urllib3.exceptions.HTTPError, OSError):
            return 0

    def metrics(self) -> dict[str, float]:
        """Its metrics, by their whole line (name and labels)."""
        url = f"http://{self.address}/metrics"
        text = urllib3.request("GET", url, retries=False, timeout=5).data.decode()
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have all these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            value
            for line, value in self.metrics().items()
            if line.partition("{")[0] == name and all(label in line for label in wanted)
        )

    def records(self) -> Iterator[dict[str, Any]]:
        """Its JSON log lines; what is no JSON comes as ``{"message": line}``."""
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                record = {"message": line}
            yield record if isinstance(record, dict) else {"message": line}

    def said(self, text: str) -> bool:
        """Whether a log line holds ``text``."""
        return self.log.exists() and text in self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None and self._process.code is None:
            self._process.kill()

    def terminate(self, seconds: float = 10) -> int:
        """SIGTERM; its exit status."""
        self.process.send(signal.SIGTERM)
        return self.process.wait(seconds)

    def stop(self) -> None:
        """SIGSTOP: it keeps its connections and its belief to lead, and does nothing."""
        self.process.send(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.process.send(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """CPU time so far."""
        return cpu_seconds(self.process.pid)
