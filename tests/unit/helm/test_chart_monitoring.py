"""Monitors, alerts and dashboards speak of metrics that exist and labels that pods have."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from boresight_operator import names, telemetry
from boresight_operator.run_metrics import RunMetrics
from boresight_trainer.telemetry.metrics import REGISTRY as TRAINER
from builders_chart import VALUES
from kits.chart import CHART, Helm
from prometheus_client import CollectorRegistry, ProcessCollector
from yaml import safe_load

DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))
PAGE = (CHART.parents[1] / "docs" / "monitoring.md").read_text()
NAME = re.compile(r"\b(?:boresight|process|python|go|up)_[a-z0-9_]+")


class _Healthy:
    def not_ready(self) -> Sequence[str]:
        return ()

    def unhealthy(self) -> Sequence[str]:
        return ()


def _watched(registry: CollectorRegistry, *, leading: bool = True) -> telemetry.Telemetry:
    found = telemetry.Telemetry(registry)
    found.watch(
        depth=lambda: 0.0,
        delayed=lambda: 0.0,
        oldest_age=lambda: 0.0,
        list_age=lambda _: 0.0,
        leading=lambda: leading,
        standings=lambda: (),
        runs=1,
        stages=1,
    )
    return found


def exported() -> set[str]:
    """Names of all series that operator and trainer export."""

    async def operator() -> set[str]:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        _watched(registry)
        return set(_series(registry))

    return asyncio.run(operator()) | set(_series(TRAINER))


def _series(registry: CollectorRegistry) -> Iterator[str]:
    for metric in registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(metric.type, [""])
        yield from (metric.name + suffix for suffix in suffixes)


def expressions() -> Iterator[tuple[str, str]]:
    """Every query of alerts, dashboards and the page, with its place."""
    (block,) = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
    yield from (("docs/monitoring.md", line) for line in block.splitlines() if not line.startswith("#"))
    for group in safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])
    for path in DASHBOARDS:
        document = json.loads(path.read_text())
        for panel in document["panels"]:
            yield from ((f"{path.stem}: {panel['title']}", target["expr"]) for target in panel["targets"])
        for variable in document["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{path.stem}: ${variable['name']}", variable["query"]["query"]


@pytest.mark.parametrize(("place", "query"), list(expressions()), ids=lambda value: str(value)[:40])
def test_queries_name_metrics_that_are_exported(place: str, query: str) -> None:
    used = set(NAME.findall(query))
    assert used, place
    assert used <= exported(), place


def test_every_headline_metric_of_the_trainer_is_on_a_dashboard() -> None:
    shown = {name for place, query in expressions() if place.startswith("runs:") for name in NAME.findall(query)}
    assert set(_series(TRAINER)) <= shown


def test_the_page_tells_every_metric_of_the_trainer_and_of_single_runs() -> None:
    told = set(NAME.findall(PAGE))
    capped = CollectorRegistry()
    capped.register(RunMetrics(lambda: (), runs=1, stages=1))
    assert {*_series(TRAINER), *_series(capped)} <= told <= exported()


def test_the_page_of_the_operator_tells_every_metric_of_the_operator() -> None:
    page = (CHART.parents[1] / "docs" / "operator.md").read_text()
    # The ends of an interval stand there as suffixes, what is counted and timed without them.
    suffixes = r"_(low|high|bucket|count|sum)$"
    own = {re.sub(suffixes, "", name) for name in exported() - set(_series(TRAINER)) if name.startswith("boresight_")}
    assert own <= set(NAME.findall(page))


def test_the_page_says_what_to_do_for_each_alert() -> None:
    rows = re.findall(r"^\| `(Boresight\w+)` \| (\w+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    groups = safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    rules = {rule["alert"]: rule["labels"]["severity"] for group in groups for rule in group["rules"]}
    assert {alert: severity for alert, severity, *_ in rows} == rules


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_whole(path: Any) -> None:
    document = json.loads(path.read_text())
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    variables = {variable["name"] for variable in document["templating"]["list"]}
    for panel in document["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert set(re.findall(r"\$([a-z]+)", target["expr"])) <= variables
    areas = [panel["gridPos"] for panel in document["panels"]]
    assert all(area["x"] + area["w"] <= 24 for area in areas)
    assert not any(_overlap(a, b) for index, a in enumerate(areas) for b in areas[:index])


def _overlap(a: Any, b: Any) -> bool:
    across = a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"]
    return across and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]


def test_dashboards_reach_grafana_whole(helm: Helm) -> None:
    maps = [o for o in helm.render(VALUES["monitored"]).all("ConfigMap") if "-dashboard-" in o["metadata"]["name"]]
    found = {name: json.loads(text) for item in maps for name, text in item["data"].items()}
    assert found == {f"boresight-{path.name}": json.loads(path.read_text()) for path in DASHBOARDS}
    assert all(item["metadata"]["labels"]["grafana_dashboard"] == "1" for item in maps)


def test_alerts_reach_prometheus_with_labels_and_advice(helm: Helm) -> None:
    rules = [r for g in helm.render(VALUES["monitored"]).one("PrometheusRule")["spec"]["groups"] for r in g["rules"]]
    written = [r for g in safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"] for r in g["rules"]]
    assert [rule["alert"] for rule in rules] == [rule["alert"] for rule in written]
    for rule in rules:
        assert rule["labels"]["team"] == "ml"
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}
    lists = next(rule for rule in rules if rule["alert"] == "BoresightStaleLists")
    assert lists["expr"] == "boresight_list_age_seconds > 3 * 600"
    assert "{{ $labels.resource }}" in lists["annotations"]["summary"]


def test_stage_pods_are_found_and_named_by_their_labels(helm: Helm) -> None:
    monitor = helm.render(VALUES["monitored"]).one("PodMonitor")
    key, _, value = names.SELECTOR.partition("=")
    assert monitor["spec"]["selector"] == {"matchLabels": {key: value}}
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["interval"]) == ("metrics", "15s")
    sources = {rule["targetLabel"]: rule["sourceLabels"] for rule in endpoint["relabelings"]}
    labels = {"run": names.RUN_LABEL, "stage": names.STAGE_LABEL, "attempt": names.ATTEMPT_LABEL}
    for target, label in labels.items():
        assert sources[target] == ["__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", label)]
    assert sources["namespace"] == ["__meta_kubernetes_namespace"]


def test_an_operator_of_two_namespaces_has_them_scraped_alone(helm: Helm) -> None:
    values = {**VALUES["monitored"], "settings": {"watchNamespaces": ["a", "b"]}}
    assert helm.render(values).one("PodMonitor")["spec"]["namespaceSelector"] == {"matchNames": ["a", "b"]}


def test_the_operator_is_scraped_at_its_service(helm: Helm) -> None:
    rendering = helm.render(VALUES["monitored"])
    (endpoint,) = rendering.one("ServiceMonitor")["spec"]["endpoints"]
    (port,) = rendering.one("Service")["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    assert endpoint["honorLabels"], "series of runs have the run's namespace"
    assert rendering.one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= (
        rendering.one("Service")["metadata"]["labels"].items()
    )


# -- helm test ---------------------------------------------------------------------------------------------------------


def _helm_test(*, leading: bool) -> tuple[int, str]:
    """Exit code and message of the test pod's program beside a real server of the operator's."""

    async def run() -> tuple[int, str]:
        registry = CollectorRegistry()
        _watched(registry, leading=leading)
        runner, port = await telemetry.serve(registry, _Healthy(), 0)
        try:
            program = str(CHART / "files" / "ready.py")
            address = f"http://localhost:{port}"  # not 127.0.0.1: it may be the port of ::1
            process = await asyncio.create_subprocess_exec(
                sys.executable, program, address, "1", stderr=asyncio.subprocess.PIPE
            )
            _, said = await process.communicate()
            return process.returncode or 0, said.decode()
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def test_helm_test_passes_beside_an_operator_that_leads() -> None:
    assert _helm_test(leading=True) == (0, "")


def test_helm_test_says_that_nobody_leads() -> None:
    code, said = _helm_test(leading=False)
    assert code == 1
    assert "no replica leads" in said


def test_helm_test_says_that_nobody_answers() -> None:
    command = [sys.executable, str(CHART / "files" / "ready.py"), "http://127.0.0.1:1", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "see the logs" in done.stderr
