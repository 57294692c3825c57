"""The rendered settings are read by the operator itself."""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boresight_operator.settings import CONFIG_VARIABLE, PREFIX, NamespaceSettings, Peer, Settings, load_settings
from builders_chart import PROMETHEUS, VALUES
from kits.chart import CHART, NAMESPACE, Helm, Refused
from pydantic.alias_generators import to_camel

OPERATOR = Peer(
    namespace_labels={"kubernetes.io/metadata.name": NAMESPACE},
    pod_labels={"app.kubernetes.io/name": "boresight-operator"},
)
SCRAPER = Peer(namespace_labels=PROMETHEUS["namespaceLabels"], pod_labels=PROMETHEUS["podLabels"])

Load = Callable[..., Settings]


@pytest.fixture
def load(helm: Helm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """The operator's settings after an installation with these values."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)

    def run(values: Any, **release: str) -> Settings:
        path = tmp_path / "settings.yaml"
        path.write_text(helm.render(values, **release).settings)
        monkeypatch.setenv(CONFIG_VARIABLE, str(path))
        return load_settings()

    return run


@pytest.mark.parametrize("name", VALUES)
def test_the_operator_reads_them(load: Load, name: str) -> None:
    settings = load(VALUES[name])
    assert settings.metrics_port == VALUES[name].get("settings", {}).get("metricsPort", 9090)


def test_values_arrive_field_by_field(load: Load) -> None:
    settings = load(VALUES["everything"])
    assert (settings.workers, settings.lease_name, settings.log_level) == (8, "own", "DEBUG")
    vision, audio, other = (settings.of(name) for name in ("team-vision", "team-audio", "another"))
    assert (vision.limits.max_runs, vision.limits.max_devices) == (20, 32)
    assert vision.storage is not None
    assert vision.storage.secret_name == "boresight-storage"
    assert (audio.allowed_images, other.allowed_images) == ((), ("registry.example.com/*",))
    assert other.run_as_user == 2147483647


def test_nothing_said_is_the_operator_s_own_default_but_for_who_may_look(load: Load) -> None:
    settings = load({})
    assert settings.defaults == NamespaceSettings(ingress_from=(OPERATOR,))
    assert settings.watch_namespaces == ()
    assert settings.lease_name == "boresight-operator"


def test_prometheus_may_look_too_once_it_is_known(load: Load) -> None:
    assert load(VALUES["monitored"]).of("anywhere").ingress_from == (OPERATOR, SCRAPER)


def test_what_the_user_says_about_it_wins(load: Load) -> None:
    chosen = {"podLabels": {"app": "proxy"}}
    settings = load({"settings": {"defaults": {"ingressFrom": [chosen]}}, "monitoring": {"prometheus": PROMETHEUS}})
    assert settings.of("anywhere").ingress_from == (Peer(pod_labels={"app": "proxy"}),)


def test_two_releases_in_one_namespace_have_two_leases(load: Load) -> None:
    names = {load({"settings": {"watchNamespaces": [name]}}, release=name).lease_name for name in ("a", "b")}
    assert len(names) == 2


def test_the_trainer_s_image_is_of_the_operator_s_version(load: Load) -> None:
    assert load({}).defaults.image.endswith(":0.1.0")


# -- the schema of the values ------------------------------------------------------------------------------------------


def test_generated_files_are_as_the_models_say() -> None:
    generated = runpy.run_path(str(CHART.parent / "generate.py"))["generated"]
    assert [path.name for path, text in generated() if path.read_text() != text] == []


def test_every_setting_can_be_a_value_but_what_a_pod_has_for_itself() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]["properties"]
    missing = {to_camel(name) for name in Settings.model_fields} - set(schema)
    assert missing == {"podName", "identity", "leaseNamespace"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"settings": {"worker": 1}}, "worker"),
        ({"settings": {"workers": 0}}, "workers"),
        ({"settings": {"metricsPort": 0}}, "metricsPort"),
        ({"settings": {"identity": "me"}}, "identity"),
        ({"settings": {"logLevel": "LOUD"}}, "logLevel"),
        ({"settings": {"defaults": {"gpus": 1}}}, "gpus"),
        ({"settings": {"defaults": {"storage": {"uri": "ftp://x"}}}}, "uri"),
        ({"settings": {"defaults": {"podTemplate": {"hostNetwork": True}}}}, "hostNetwork"),
        ({"settings": {"namespaces": {"team": {"limits": {"maxGpus": 1}}}}}, "maxGpus"),
        ({"settings": {"watchNamespaces": ["Team"]}}, "watchNamespaces"),
        ({"replica": 1}, "replica"),
        ({"replicas": "two"}, "replicas"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"networkPolicy": {"apiServers": [{"cidr": "10.0.0.1", "port": 6443}]}}, "cidr"),
        ({"podLabels": {"a": 1}}, "podLabels"),
        ({"admissionPolicy": {"action": "Refuse"}}, "action"),
        ({"gc": {"stores": [{"name": "a", "uri": "file:///data", "secretName": "b"}]}}, "uri"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(helm: Helm, values: Any, named: str) -> None:
    with pytest.raises(Refused, match=named):
        helm.render(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"settings": {"leaderElection": False}}, "replicas is 2: all of them would write"),
        ({"settings": {"renewSeconds": 11}}, "renewSeconds 11, leaseSeconds 10; expected each below the next"),
        (
            {"settings": {"watchNamespaces": ["a"], "namespaces": {"b": {}}}},
            r"settings\.namespaces\.b: settings\.watchNamespaces does not have it",
        ),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name is empty"),
        ({"env": [{"name": "BORESIGHT_OPERATOR_WORKERS", "value": "1"}]}, "Write it into settings"),
        ({"monitoring": {"serviceMonitor": {"enabled": True}}}, "Say who Prometheus is"),
        ({"monitoring": {"podMonitor": {"enabled": True}}}, "Say who Prometheus is"),
        ({"rbac": {"create": False}}, "rbac.aggregatedRoles is true"),
        ({"gc": {"enabled": True}}, "found neither gc.stores nor settings.defaults.storage"),
        (
            {"gc": {"enabled": True}, "settings": {"defaults": {"storage": {"uri": "file:///data"}}}},
            "can only clean a bucket with a Secret",
        ),
        (
            {"admissionPolicy": {"enabled": True}, "settings": {"defaults": {"allowedImages": ["a[bc]"]}}},
            r"the pattern a\[bc\] in settings has a set of characters",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_what_to_do(helm: Helm, values: Any, message: str) -> None:
    with pytest.raises(Refused, match=message):
        helm.render(values)


def test_values_that_only_look_contradictory_are_taken(helm: Helm) -> None:
    helm.render({"settings": {"leaderElection": False}, "replicas": 1})
    helm.render({"monitoring": {"serviceMonitor": {"enabled": True}}, "networkPolicy": {"enabled": False}})
    readers = {"defaults": {"ingressFrom": [{"podLabels": {"app": "prometheus"}}]}}
    helm.render({"monitoring": {"podMonitor": {"enabled": True}}, "settings": readers})
