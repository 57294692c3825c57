"""A real Prometheus that finds its targets as the chart's monitors say, and the rules and queries that it is given."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import urllib3
import yaml
from kits.chart import Rendering

from .client import until
from .control_plane import Process, free_port

Object = dict[str, Any]


def of_pods(monitor: Object, kubeconfig: Path, ports: Mapping[str, int]) -> Object:
    """A PodMonitor as the Prometheus operator hands it to Prometheus.

    ``ports``: pod's IP -> where its process really listens, for all pods share this machine's network.
    """
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    labels = monitor["spec"]["selector"]["matchLabels"]
    meta = "__meta_kubernetes_pod"
    selected = [
        {"action": "keep", "source_labels": [f"{meta}_label_{_word(name)}"], "regex": value}
        for name, value in labels.items()
    ]
    selected += [
        {"action": "drop", "source_labels": [f"{meta}_phase"], "regex": "Failed|Succeeded"},
        {"action": "keep", "source_labels": [f"{meta}_container_port_name"], "regex": endpoint["port"]},
    ]
    named = {"source_labels": [f"{meta}_name"], "target_label": "pod"}
    moved = [
        {
            "source_labels": [f"{meta}_ip"],
            "regex": re.escape(ip),
            "target_label": "__address__",
            "replacement": f"{ip}:{port}",
        }
        for ip, port in ports.items()
    ]
    written = [{_snake(key): value for key, value in rule.items()} for rule in endpoint["relabelings"]]
    return {
        "job_name": monitor["metadata"]["name"],
        "metrics_path": endpoint["path"],
        "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": str(kubeconfig)}],
        "relabel_configs": [*selected, named, *written, *moved],
    }


def of_service(monitor: Object, address: str, namespace: str) -> Object:
    """A ServiceMonitor, of a service with one pod at ``address``."""
    (endpoint,) = monitor["spec"]["endpoints"]
    labels = {"namespace": namespace, "pod": "operator-0"}
    return {
        "job_name": monitor["metadata"]["name"],
        "metrics_path": endpoint["path"],
        "honor_labels": endpoint.get("honorLabels", False),
        "static_configs": [{"targets": [address], "labels": labels}],
    }


def _word(label: str) -> str:
    return re.sub(r"\W", "_", label)


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name)


class PrometheusServer:
    """Scrapes every second. Use as a context manager; its data and log lie in ``folder``."""

    def __init__(self, program: Path, folder: Path, rendering: Rendering, scrapes: list[Object]) -> None:
        rules = folder / "rules.yaml"
        rules.write_text(yaml.safe_dump(rendering.one("PrometheusRule")["spec"]))
        config = folder / "prometheus.yaml"
        often = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config.write_text(yaml.safe_dump({"global": often, "rule_files": [str(rules)], "scrape_configs": scrapes}))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "prometheus.log"
        self._command = (
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--scrape.discovery-reload-interval=1s",
            "--log.level=warn",
        )

    def __enter__(self) -> Self:
        self._process = Process("prometheus", self._command, self.log)

        def ready() -> bool:
            self._process.check()
            try:
                return urllib3.request("GET", f"{self.url}/-/ready", retries=False, timeout=2).status == 200
            except (urllib3.exceptions.HTTPError, OSError):
                return False

        until(ready, "prometheus ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()

    def get(self, path: str, **query: str) -> Any:
        """What its API says at ``path``. Raises AssertionError with its message if it refuses."""
        answer = urllib3.request("GET", f"{self.url}/api/v1/{path}?{urlencode(query)}", timeout=10)
        document = json.loads(answer.data)
        assert document["status"] == "success", f"{query}: {document.get('error')}"
        return document["data"]

    def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """Series and their values now."""
        found = self.get("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def await_series(self, expression: str, *, seconds: float = 30) -> list[tuple[Mapping[str, str], float]]:
        """The same, once there is any."""
        return until(lambda: self.query(expression), f"series of {expression}", seconds=seconds)
