"""Settings: environment over file over defaults, namespaces over defaults; faults by field, all at once."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from boresight_operator.settings import (
    CONFIG_VARIABLE,
    PREFIX,
    NamespaceSettings,
    Settings,
    SettingsError,
    load_settings,
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    yield


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Settings from a YAML text and variables without their prefix."""

    def run(text: str | None = None, **variables: str) -> Settings:
        if text is not None:
            (tmp_path / "settings.yaml").write_text(text)
            monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "settings.yaml"))
        for name, value in variables.items():
            monkeypatch.setenv(PREFIX + name, value)
        return load_settings()

    return run


def test_nothing_need_be_said(load) -> None:  # type: ignore[no-untyped-def]
    settings = load()
    assert (settings.watch_namespaces, settings.leader_election, settings.metrics_port) == ((), True, 9090)
    assert settings.of("anywhere") == NamespaceSettings()
    assert settings.retry_seconds < settings.renew_seconds < settings.lease_seconds


def test_two_processes_never_have_one_identity(load) -> None:  # type: ignore[no-untyped-def]
    first, second = load(POD_NAME="operator-0"), load(POD_NAME="operator-0")
    assert first.identity.startswith("operator-0_")
    assert first.identity != second.identity
    assert load(IDENTITY="me").identity == "me"


def test_environment_lies_over_the_file_field_by_field(load) -> None:  # type: ignore[no-untyped-def]
    settings = load(
        """
        workers: 8
        metricsPort: 0
        defaults:
          queueName: gpus
          queueCPUStages: true
          storage: {uri: s3://bucket, secretName: from-file}
          limits: {maxRuns: 4}
        """,
        WORKERS="3",
        WATCH_NAMESPACES='["a", "b"]',
        DEFAULTS__STORAGE__SECRET_NAME="from-environment",
        DEFAULTS__LIMITS__MAX_DEVICES="16",
        DEFAULTS__ALLOWED_IMAGES='["registry.example/*"]',
    )
    defaults = settings.defaults
    assert (settings.workers, settings.metrics_port, settings.watch_namespaces) == (3, 0, ("a", "b"))
    assert (defaults.queue_name, defaults.queue_cpu_stages) == ("gpus", True)
    assert defaults.storage is not None
    assert (defaults.storage.uri, defaults.storage.secret_name) == ("s3://bucket", "from-environment")
    assert (defaults.limits.max_runs, defaults.limits.max_devices) == (4, 16)
    assert defaults.allowed_images == ("registry.example/*",)


def test_a_namespace_lies_over_the_defaults_and_a_limit_lifts_no_other(load) -> None:  # type: ignore[no-untyped-def]
    settings = load(
        """
        defaults:
          queueName: gpus
          limits: {maxRuns: 4, maxDevices: 16}
          storage: {uri: s3://one, secretName: one, endpoint: https://one.example}
        namespaces:
          team:
            limits: {maxRuns: 1}
            storage: {uri: s3://two}
            devicesPerNode: 0
          free: {queueName: null}
        """
    )
    team, free = settings.of("team"), settings.of("free")
    assert (team.limits.max_runs, team.limits.max_devices) == (1, 16)
    assert team.storage is not None
    assert (team.storage.uri, team.storage.secret_name, team.storage.endpoint) == ("s3://two", None, None)
    assert (team.queue_name, team.devices_per_node) == ("gpus", 0)
    assert (free.queue_name, free.limits) == (None, settings.defaults.limits)
    assert settings.of("other") == settings.defaults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers: many", 'workers: found "many", expected Input should be a valid integer'),
        ("workers: 0", "workers: found the number 0, expected at least 1"),
        ("lease: 3", 'lease: found an unknown field, expected "leaseName", did you mean that?'),
        ("defaults: 3", "defaults: found the number 3, expected a mapping"),
        ("defaults: {queuName: a}", 'defaults.queuName: found an unknown field, expected "queueName"'),
        ("defaults: {runAsUser: 0}", "defaults.runAsUser: found the number 0, expected at least 1"),
        ("defaults: {storage: {uri: gs://bucket}}", 'defaults.storage.uri: found "gs://bucket", expected '),
        ("defaults: {storage: {secretName: a}}", "defaults.storage.uri: found nothing, expected a value"),
        (
            "defaults: {ingressFrom: [{}]}",
            "defaults.ingressFrom[0]: found no label, expected namespaceLabels or podLabels",
        ),
        ("defaults: {deviceResource: gpu}", 'defaults.deviceResource: found "gpu", expected '),
        (
            "defaults: {podTemplate: {labels: {boresight.dev/run: x}}}",
            "defaults.podTemplate.labels[boresight.dev/run]: found a reserved label",
        ),
        ("defaults: {podTemplate: {hostNetwork: true}}", "defaults.podTemplate.hostNetwork: found an unknown field"),
        ("namespaces: {team: {runAsUser: 0}}", "namespaces.team.runAsUser: found the number 0, expected at least 1"),
        ("namespaces: {team: {queuName: a}}", "namespaces.team.queuName: found an unknown field"),
        ("namespaces: {Team: {}}", 'namespaces.Team: found "Team", expected lower-case letters'),
        (
            "leaseSeconds: 3",
            "settings: found retrySeconds 2, renewSeconds 6, leaseSeconds 3, expected each below the next",
        ),
        ("workers: [", "settings.yaml line 1"),
        ("- a", "expected a mapping"),
        ("workers: 1\nworkers: 2", '"workers" twice'),
    ],
)
def test_a_fault_names_its_field_what_was_found_and_what_is_expected(load, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SettingsError) as found:
        load(text)
    assert message in str(found.value)
    assert len(found.value.problems) == 1


def test_all_faults_are_said_at_once(load) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SettingsError) as found:
        load("namespaces: {a: {runAsUser: 0}, b: {queuName: x, startSeconds: 0}}")
    assert [problem.path for problem in found.value.problems] == [
        "namespaces.a.runAsUser",
        "namespaces.b.startSeconds",
        "namespaces.b.queuName",
    ]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORKES": "3"}, "BORESIGHT_OPERATOR_WORKES: found an unknown variable"),
        ({"WATCH_NAMESPACES": "a,b"}, 'BORESIGHT_OPERATOR_WATCH_NAMESPACES: found "a,b", expected JSON'),
        ({"DEFAULTS__IMAGES": "x"}, "defaults.images: found an unknown field"),
        ({"DEFAULTS__START_SECONDS": "soon"}, 'defaults.startSeconds: found "soon"'),
        ({"CONFIG": "/nowhere.yaml"}, 'BORESIGHT_OPERATOR_CONFIG: found "/nowhere.yaml"'),
    ],
)
def test_a_variable_that_says_nothing_is_a_fault(load, variables: dict[str, str], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SettingsError) as found:
        load(**variables)
    assert str(found.value).startswith(message)


def test_every_setting_says_what_it_is() -> None:
    """A number says its unit: in the docstring, or by what it counts."""
    tree = ast.parse(inspect.getsource(sys.modules[Settings.__module__]))
    for holder in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for field, text in zip(holder.body, [*holder.body[1:], ast.Pass()], strict=True):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            name = field.target.id
            if name.startswith("_"):
                continue
            said = text.value.value if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) else None
            assert isinstance(said, str), f"{holder.name}.{name} has no docstring"
            assert not name.endswith("_seconds") or "econds" in said, f"{holder.name}.{name}: {said}"


def test_a_service_of_our_name_is_no_setting(load) -> None:  # type: ignore[no-untyped-def]
    """Kubernetes puts these into every pod beside a Service ``boresight-operator``."""
    load(
        SERVICE_HOST="10.0.0.1",
        SERVICE_PORT="9090",
        SERVICE_PORT_METRICS="9090",
        PORT="tcp://10.0.0.1:9090",
        PORT_9090_TCP="x",
    )
