"""examples/monitoring, read by the programs that it is for: who is told, and the win rate in the message."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from kits.chart import CHART
from kits.programs import said
from unit.helm.test_gitops import document
from unit.operator.decide.test_situations import SITUATIONS

EXAMPLES = CHART.parents[1] / "examples" / "monitoring"
ALERTMANAGER = EXAMPLES / "alertmanager.yaml"
HEALTH = CHART / "gitops" / "health.lua"
RESULTS = yaml.safe_load((EXAMPLES / "results.yaml").read_text())["spec"]
WIN_RATE = {
    "namespace": "team",
    "kind": "EvalRun",
    "run": "judged",
    "suite": "Pairwise",
    "candidate": "policy",
    "baseline": "initial",
}
SUMMARY = "team/judged: win rate 61%, policy over initial"
DESCRIPTION = "Suite Pairwise, 95% interval 52% to 70%. The status of EvalRun judged has the other results."

Object = dict[str, Any]


# -- the rule --------------------------------------------------------------------------------------------------------


def series(metric: str, values: str, **labels: str) -> Object:
    every = ", ".join(f'{key}="{value}"' for key, value in {**WIN_RATE, "name": "winRate", **labels}.items())
    return {"series": f"{metric}{{{every}}}", "values": values}


def at(minutes: int, *alerts: Object) -> Object:
    return {"eval_time": f"{minutes}m", "alertname": "BoresightEvaluationFinished", "exp_alerts": list(alerts)}


def holds(promtool: Path, folder: Path, inputs: list[Object], *cases: Object) -> None:
    """What the rule does with these series."""
    test = {"interval": "1m", "input_series": inputs, "alert_rule_test": list(cases)}
    (folder / "rules.yaml").write_text(yaml.safe_dump(RESULTS))
    scenarios = folder / "scenarios.yaml"
    scenarios.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
    said(promtool, "test", "rules", scenarios)


def test_a_win_rate_is_told_once_with_its_interval(promtool: Path, tmp_path: Path) -> None:
    told = {
        "exp_labels": {**WIN_RATE, "severity": "info"},
        "exp_annotations": {"summary": SUMMARY, "description": DESCRIPTION},
    }
    inputs = [
        {"series": 'boresight_leader{pod="a"}', "values": "1x400"},
        *(series("boresight_evaluation_result", "_x200 0.61x200", pod=pod) for pod in ("a", "b")),
        series("boresight_evaluation_result_low", "_x200 0.52x200", pod="a"),
        series("boresight_evaluation_result_high", "_x200 0.7x200", pod="a"),
        series("boresight_evaluation_result", "_x200 0.5x200", pod="a", name="ties"),
        # Found long ago, and out of sight while the operator was away.
        series("boresight_evaluation_result", "0.4x150 _x90 0.4x160", pod="a", run="old"),
    ]
    holds(promtool, tmp_path, inputs, at(199), at(205, told), at(270))


def test_results_that_were_there_before_prometheus_are_no_news(promtool: Path, tmp_path: Path) -> None:
    inputs = [
        {"series": 'boresight_leader{pod="a"}', "values": "_x30 1x90"},
        series("boresight_evaluation_result", "_x30 0.61x90", pod="a"),
    ]
    holds(promtool, tmp_path, inputs, at(35), at(95))


# -- Alertmanager ----------------------------------------------------------------------------------------------------


def test_alertmanager_takes_the_configuration_and_finds_its_template(amtool: Path) -> None:
    assert "1 templates" in said(amtool, "check-config", ALERTMANAGER)


def test_every_alert_reaches_who_can_do_something(amtool: Path) -> None:
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"] + RESULTS["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    told: dict[str, set[str]] = {}
    for rule in rules:
        labels = [f"alertname={rule['alert']}", f"severity={rule['labels']['severity']}"]
        receiver = said(amtool, "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels).strip()
        told.setdefault(receiver, set()).add(rule["alert"])
    assert told.pop("on-call") == {"BoresightNoLeader", "BoresightTwoLeaders"}
    assert told.pop("results") == {"BoresightEvaluationFinished"}
    assert told.pop("runs") == {rule["alert"] for rule in rules if "$labels.run" in rule["annotations"]["summary"]} - {
        "BoresightEvaluationFinished"
    }
    assert told.keys() == {"ml-platform"}


def message(amtool: Path, folder: Path, field: str, *alerts: Mapping[str, str], status: str = "firing") -> str:
    """A field of Slack's message about alerts with these annotations."""
    receivers = yaml.safe_load(ALERTMANAGER.read_text())["receivers"]
    (text,) = {receiver["slack_configs"][0][field] for receiver in receivers if "slack_configs" in receiver}
    times = {"startsAt": "2027-01-15T08:00:00Z", "endsAt": "0001-01-01T00:00:00Z"}
    found = [{"status": status, "labels": {}, "annotations": alert, **times} for alert in alerts]
    data = folder / "data.json"
    data.write_text(json.dumps({"receiver": "results", "status": status, "alerts": found}))
    glob = f"--template.glob={EXAMPLES / 'boresight.tmpl'}"
    return said(amtool, "template", "render", glob, f"--template.text={text}", f"--template.data={data}").strip()


def test_the_message_has_the_win_rate(amtool: Path, tmp_path: Path) -> None:
    alert = {"summary": SUMMARY, "description": DESCRIPTION}
    assert message(amtool, tmp_path, "title", alert) == SUMMARY
    assert message(amtool, tmp_path, "text", alert) == f"• {SUMMARY}\n{DESCRIPTION}"


def test_the_message_says_what_is_over_and_how_many_more_there_are(amtool: Path, tmp_path: Path) -> None:
    alerts = [{"summary": f"team/{name} is stalled: InvalidData", "description": "See."} for name in ("a", "b", "c")]
    assert message(amtool, tmp_path, "title", *alerts) == "team/a is stalled: InvalidData (and 2 more)"
    assert message(amtool, tmp_path, "title", alerts[0], status="resolved") == ("Over: team/a is stalled: InvalidData")
    assert message(amtool, tmp_path, "text", *alerts).count("See.") == 3


# -- Argo CD ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def health(gitops: Path) -> Callable[[str], Object]:
    """What Argo CD keeps of a run in a situation."""

    def of(situation: str) -> Object:
        item = document(SITUATIONS[situation]())
        if situation == "Succeeded":
            item["status"]["keyMetric"] = "winRate 0.61"
        (judged,) = json.loads(said(gitops, "lua", HEALTH, stdin=json.dumps([item])))
        kept: Object = {"group": "boresight.dev", "kind": "AlignmentRun", "name": situation.lower(), "health": judged}
        return kept

    return of


@pytest.fixture(scope="module")
def sent(gitops: Path) -> Callable[[str, Sequence[Object]], list[Object]]:
    """What a trigger sends about an Application with these resources."""

    def by(trigger: str, resources: Sequence[Object]) -> list[Object]:
        application = {
            "metadata": {"name": "study"},
            "status": {"sync": {"revision": "0123456789abcdef"}, "resources": list(resources)},
        }
        config = EXAMPLES / "argocd-notifications-cm.yaml"
        (found,) = json.loads(said(gitops, "notify", config, trigger, stdin=json.dumps([application])))
        answer: list[Object] = found
        return answer

    return by


CONFIG_MAP: Object = {"kind": "ConfigMap", "version": "v1", "name": "prompts"}
"""Argo CD knows no health of it, and it has no group."""


def test_argo_cd_tells_the_win_rate_when_every_run_has_succeeded(
    health: Callable[[str], Object], sent: Callable[[str, Sequence[Object]], list[Object]]
) -> None:
    done = health("Succeeded")
    other = {**health("SucceededAllCached"), "name": "cached"}
    (notification,) = sent("on-runs-succeeded", [CONFIG_MAP, done, other])
    head, *lines = notification["message"].splitlines()
    assert head == "study at 01234567 (https://argocd.example.com/applications/study)"
    assert lines[0] == "• succeeded: Healthy, winRate 0.61"
    assert lines[1].startswith("• cached: Healthy, ")
    assert len(lines) == 2
    assert notification["oncePer"] == "0123456789abcdef"
    assert sent("on-runs-succeeded", [CONFIG_MAP, done, health("Running")]) == []
    assert sent("on-runs-succeeded", [CONFIG_MAP]) == []


def test_argo_cd_tells_the_cause_when_a_run_does_not_go_on(
    health: Callable[[str], Object], sent: Callable[[str, Sequence[Object]], list[Object]]
) -> None:
    stalled = health("Diverged")
    (notification,) = sent("on-run-degraded", [stalled, health("Running"), CONFIG_MAP])
    assert f"• diverged: Degraded, {stalled['health']['message']}" in notification["message"]
    assert sent("on-run-degraded", [health("Succeeded"), health("BackOff")]) == []
