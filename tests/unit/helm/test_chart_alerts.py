"""Alerts in given situations, and the syntax of every query, by Prometheus' own promtool."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders_chart import VALUES
from kits.chart import CHART, Helm
from kits.programs import said

SCENARIOS = Path(__file__).with_name("alerts.yaml")


@pytest.fixture
def rules(helm: Helm, tmp_path: Path) -> Path:
    """The rules of the default values, beside the scenarios."""
    values = {"monitoring": {"rules": {"enabled": True}}}
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(helm.render(values).one("PrometheusRule")["spec"]))
    shutil.copy(SCENARIOS, tmp_path)
    return path


def test_alerts_fire_when_they_should_and_at_no_other_time(promtool: Path, rules: Path) -> None:
    assert "SUCCESS" in said(promtool, "test", "rules", rules.with_name("alerts.yaml"))


def test_a_scenario_that_is_not_met_would_be_found(promtool: Path, rules: Path) -> None:
    scenarios = rules.with_name("alerts.yaml")
    scenarios.write_text(scenarios.read_text().replace("7 attempts of policy", "8 attempts of policy"))
    with pytest.raises(AssertionError, match="8 attempts of policy"):
        said(promtool, "test", "rules", scenarios)


def test_every_alert_has_a_scenario_in_which_it_fires() -> None:
    fires = set()
    for test in yaml.safe_load(SCENARIOS.read_text())["tests"]:
        fires |= {case["alertname"] for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
        for case in test.get("promql_expr_test", []):
            fires |= {sample["labels"].split('"')[1] for sample in case["exp_samples"]}
    written = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    assert fires == {rule["alert"] for group in written for rule in group["rules"]}


def test_prometheus_can_read_every_query_of_the_dashboards(promtool: Path, helm: Helm, tmp_path: Path) -> None:
    maps = [o for o in helm.render(VALUES["monitored"]).all("ConfigMap") if "-dashboard-" in o["metadata"]["name"]]
    panels: list[Any] = [p for o in maps for text in o["data"].values() for p in json.loads(text)["panels"]]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    recorded = [{"record": f"query:{index}", "expr": query} for index, query in enumerate(queries)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": recorded}]}))
    assert f"{len(queries)} rules found" in said(promtool, "check", "rules", path)
