"""What the chart installs, for every way that somebody installs it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders_chart import VALUES
from kits.chart import CHART, NAMESPACE, Helm, Object, Rendering, pods
from kits.schemas import LOCATION

GOLDEN = Path(__file__).with_name("golden")
FROZEN = ("defaults", "two-namespaces")
REPOSITORY = CHART.parents[1]


@pytest.fixture(scope="module", params=VALUES)
def rendering(request: pytest.FixtureRequest, helm: Helm) -> Rendering:
    return helm.render(VALUES[request.param])


def conform(kubeconform: Path, schemas: Path, text: str) -> subprocess.CompletedProcess[str]:
    command = [str(kubeconform), "-strict", "-schema-location", f"{schemas}/{LOCATION}", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


# -- validity --------------------------------------------------------------------------------------------------------


def test_every_object_is_what_its_schema_says(rendering: Rendering, kubeconform: Path, schemas: Path) -> None:
    done = conform(kubeconform, schemas, rendering.text)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("kind", "spelling"),
    [("Deployment", "replica"), ("ServiceMonitor", "endpoint"), ("NetworkPolicy", "ingres")],
)
def test_a_misspelt_field_would_be_found(
    helm: Helm, kubeconform: Path, schemas: Path, kind: str, spelling: str
) -> None:
    body = helm.render(VALUES["monitored"]).one(kind)
    body["spec"][spelling] = []
    assert spelling in conform(kubeconform, schemas, yaml.safe_dump(body)).stdout


def test_helm_finds_nothing_to_complain_about(helm: Helm) -> None:
    assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART))


@pytest.mark.parametrize("name", FROZEN)
def test_objects_are_as_they_were(helm: Helm, name: str) -> None:
    """To accept a change: ``python -m unit.helm.golden_chart`` in ``tests``."""
    assert helm.render(VALUES[name]).text == (GOLDEN / f"{name}.yaml").read_text()


def test_objects_have_one_name_and_lie_where_they_belong(rendering: Rendering) -> None:
    places = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in rendering.objects]
    assert len(places) == len(set(places))
    elsewhere = {(kind, name) for kind, namespace, name in places if namespace not in {None, NAMESPACE}}
    assert elsewhere <= {("Role", "boresight-operator-runs"), ("RoleBinding", "boresight-operator-runs")}


def test_a_long_release_name_still_makes_legal_names(helm: Helm) -> None:
    for item in helm.render(VALUES["monitored"], release="r" * 53).objects:
        assert len(item["metadata"]["name"]) <= (63 if item["kind"] == "Service" else 253)
        assert all(len(value) <= 63 for value in item["metadata"]["labels"].values())


# -- pods ------------------------------------------------------------------------------------------------------------


def test_pods_obey_the_restricted_standard_and_cannot_write_their_image(rendering: Rendering) -> None:
    for pod in pods(rendering):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "privileged": False,
                "readOnlyRootFilesystem": True,
            }
            assert container["resources"]["requests"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_what_selects_the_operator_s_pods_selects_them(rendering: Rendering) -> None:
    labels = rendering.one("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    selectors = [rendering.one("Deployment")["spec"]["selector"], *map(_selector, rendering.all("PodDisruptionBudget"))]
    selectors += [{"matchLabels": o["spec"]["selector"]} for o in rendering.all("Service")]
    selectors += [o["spec"]["podSelector"] for o in rendering.all("NetworkPolicy")]
    assert all(selector["matchLabels"].items() <= labels for selector in selectors)
    (test,) = rendering.all("Pod")
    assert not any(s["matchLabels"].items() <= test["metadata"]["labels"].items() for s in selectors)


def _selector(item: Object) -> Any:
    return item["spec"]["selector"]


def test_a_drain_takes_one_replica_at_a_time_and_a_single_one_holds_up_none(helm: Helm) -> None:
    for replicas in (1, 2):
        budget = helm.render({"replicas": replicas}).one("PodDisruptionBudget")["spec"]
        assert (budget["maxUnavailable"], "minAvailable" in budget) == (1, False)


def test_other_settings_restart_the_operator_and_the_same_do_not(helm: Helm) -> None:
    def template(**settings: Any) -> Any:
        return helm.render({"settings": settings}).one("Deployment")["spec"]["template"]

    assert template(workers=8) == template(workers=8)
    assert template(workers=8) != template(workers=9)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({}, "boresight-operator:0.1.0"),
        ({"repository": "example.com/o", "tag": "x"}, "example.com/o:x"),
        (
            {"repository": "example.com/o", "tag": "x", "digest": "sha256:" + "a" * 64},
            "example.com/o@sha256:" + "a" * 64,
        ),
    ],
)
def test_a_digest_wins_over_a_tag_and_a_tag_over_the_version(helm: Helm, image: Any, expected: str) -> None:
    assert [c["image"] for pod in pods(helm.render({"image": image})) for c in pod["containers"]] == [expected] * 2


def test_the_version_is_the_project_s() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'\nversion = "{chart["appVersion"]}"\n' in (REPOSITORY / "pyproject.toml").read_text()


# -- CRDs ------------------------------------------------------------------------------------------------------------


def test_crds_are_those_of_the_repository_and_are_kept(helm: Helm) -> None:
    installed = {o["metadata"]["name"]: o for o in helm.render(crds=True).all("CustomResourceDefinition")}
    ours = [yaml.load(p.read_text(), yaml.CSafeLoader) for p in sorted((REPOSITORY / "crds").glob("*.yaml"))]
    assert {crd["metadata"]["name"] for crd in ours} == set(installed)
    for crd in ours:
        found = installed[crd["metadata"]["name"]]
        metadata = found.pop("metadata")
        assert metadata["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert metadata["labels"]["app.kubernetes.io/part-of"] == "boresight"
        assert {**found, "metadata": {"name": metadata["name"]}} == crd


def test_crds_can_come_from_elsewhere(helm: Helm) -> None:
    rendering = helm.render({"crds": {"enabled": False}}, crds=True)
    assert not rendering.all("CustomResourceDefinition")
    assert not [role for role in rendering.all("ClusterRole") if role["metadata"]["name"] == "boresight-view"]


# -- network ---------------------------------------------------------------------------------------------------------


def test_only_prometheus_and_the_test_pod_may_connect(helm: Helm) -> None:
    (rule,) = helm.render(VALUES["monitored"]).one("NetworkPolicy")["spec"]["ingress"]
    assert rule["ports"] == [{"port": 9090, "protocol": "TCP"}]
    assert rule["from"] == [
        {"podSelector": {"matchLabels": {"boresight.dev/helm-test": "boresight"}}},
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
        },
    ]
    assert helm.render().one("Pod")["metadata"]["labels"]["boresight.dev/helm-test"] == "boresight"


def test_egress_is_bounded_once_the_api_server_is_known(helm: Helm) -> None:
    assert helm.render().one("NetworkPolicy")["spec"]["policyTypes"] == ["Ingress"]
    spec = helm.render(VALUES["everything"]).one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["ports"][0]["port"] for rule in spec["egress"]] == [6443, 443, 53, 8080]
    assert all("to" in rule for rule in spec["egress"] if rule["ports"][0]["port"] != 53)
