"""The chart on a real API server: installed, upgraded, uninstalled, installed twice, and what its policy refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiserver import identity
from apiserver.client import CRDS, NAMESPACES, ApiError, Client, Object, until
from apiserver.control_plane import ADMIN, ControlPlane
from apiserver.operator_process import OperatorProcess
from boresight_operator.api import ALIGNMENT_RUNS, LEASES, Resource
from builders_chart import VALUES
from kits.chart import CHART, NAMESPACE, Helm, Refused
from kits.programs import HELM, executable
from kits.schemas import crd_files

DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
POLICIES = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False
)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


class Releases:
    """Helm, beside one API server."""

    def __init__(self, helm: Helm, plane: ControlPlane) -> None:
        self._helm = helm
        self._kubeconfig = plane.kubeconfig("helm", ADMIN)

    def __call__(self, verb: str, name: str, *arguments: str, values: Mapping[str, Any] | None = None) -> str:
        """What helm says. Raises :class:`Refused`."""
        if values is not None:
            arguments = (str(arguments[0] if arguments else CHART), *arguments[1:], "--values", "-")
        return self._helm.run(
            verb,
            name,
            *arguments,
            f"--namespace={NAMESPACE}",
            stdin=None if values is None else yaml.safe_dump(dict(values)),
            kubeconfig=self._kubeconfig,
        )


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The real Helm."""
    return Helm(executable(HELM, print), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def plane(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster without anything of ours, but with the Prometheus operator's CRDs."""
    with ControlPlane(assets, tmp_path_factory.mktemp("chart")) as plane:
        client = plane.client()
        for path in crd_files():
            client.apply(CRDS, None, yaml.safe_load(path.read_text()))
        for name in (NAMESPACE, "team-vision", "team-audio"):
            client.create(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        until(lambda: _monitors_are_served(client), "monitors served")
        yield plane


def _monitors_are_served(client: Client) -> bool:
    """The API server knows nothing of a CRD's group for a moment after it has stored it."""
    try:
        return "servicemonitors" in str(client.call("GET", "/apis/monitoring.coreos.com/v1"))
    except ApiError as error:
        if error.code != 404:
            raise
        return False


@pytest.fixture
def client(plane: ControlPlane) -> Client:
    """An administrator."""
    return plane.client()


@pytest.fixture
def releases(helm: Helm, plane: ControlPlane) -> Iterator[Releases]:
    """Every test leaves no release behind (the CRDs stay, as they should)."""
    found = Releases(helm, plane)
    yield found
    for name in ("boresight", "other"):
        found("uninstall", name, "--ignore-not-found")


def run(name: str, **compute: Any) -> Object:
    """A manifest."""
    spec: Object = {
        "task": "TextToText",
        "model": {"uri": "embedded://tiny"},
        "data": {"feedback": [{"uri": "file:///data/feedback.jsonl"}]},
    }
    if compute:
        spec["compute"] = compute
    return {"apiVersion": "boresight.dev/v1alpha1", "kind": "AlignmentRun", "metadata": {"name": name}, "spec": spec}


# -- installing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VALUES)
def test_the_api_server_takes_every_object_as_it_stands(
    helm: Helm, releases: Releases, plane: ControlPlane, name: str
) -> None:
    """``--dry-run=server`` with strict fields: defaults, validation and admission, but nothing is stored."""
    text = helm.render(VALUES[name], crds=name == "defaults").text
    done = plane.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=text)
    assert (done.returncode, done.stderr) == (0, "")


def test_upgrade_and_uninstall_keep_the_crds_and_the_runs(releases: Releases, client: Client, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(CHART, before)
    facts = (before / "Chart.yaml").read_text()
    (before / "Chart.yaml").write_text(facts.replace("ersion: 0.1.0", "ersion: 0.0.9"))
    crd = before / "files" / "crds" / "boresight.dev_alignmentruns.yaml"
    crd.write_text(crd.read_text().replace("- arun\n", "- arun\n    - oldname\n"))

    notes = releases("install", "boresight", str(before), values={})
    assert "No default store" in notes
    until(lambda: _names(client, "alignmentruns") == ["arun", "oldname"], "the previous version's CRD")
    until(lambda: _made(client, run("first")), "a run")
    made = client.get(ALIGNMENT_RUNS, "team-vision", "first")["metadata"]

    notes = releases("upgrade", "boresight", values=VALUES["everything"])
    assert "No default store" not in notes
    assert _names(client, "alignmentruns") == ["arun"]
    assert client.get(DEPLOYMENTS, NAMESPACE, "boresight-operator")["spec"]["replicas"] == 3

    assert "kept due to the resource policy" in releases("uninstall", "boresight")
    assert client.find(DEPLOYMENTS, NAMESPACE, "boresight-operator") is None
    kept = client.get(ALIGNMENT_RUNS, "team-vision", "first")["metadata"]
    assert (kept["uid"], kept.get("deletionTimestamp")) == (made["uid"], None)

    releases("install", "boresight", values={})  # it takes the CRDs up again
    client.delete(ALIGNMENT_RUNS, "team-vision", "first")


def _names(client: Client, plural: str) -> list[str]:
    names: list[str] = client.get(CRDS, None, f"{plural}.boresight.dev")["spec"]["names"]["shortNames"]
    return names


def _made(client: Client, body: Object) -> Object | None:
    """None while the API server does not serve the kind yet."""
    try:
        return client.create(ALIGNMENT_RUNS, "team-vision", body)
    except ApiError as error:
        if error.code != 404:
            raise
        return None


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({}, {}, "CustomResourceDefinition"),
        ({}, {"crds": {"enabled": False}}, "boresight-operator-runs"),
        (
            {"settings": {"watchNamespaces": ["team-vision", "team-audio"]}},
            {"settings": {"watchNamespaces": ["team-audio"]}, "crds": {"enabled": False}},
            "boresight-operator-runs",
        ),
    ],
    ids=["the same", "without CRDs", "one namespace of two"],
)
def test_a_second_operator_of_the_same_namespaces_is_refused(
    releases: Releases, first: Mapping[str, Any], second: Mapping[str, Any], named: str
) -> None:
    releases("install", "boresight", values=first)
    with pytest.raises(Refused, match=rf"{named}.* exists and cannot be imported"):
        releases("install", "other", values=second)


def test_operators_of_different_namespaces_stand_side_by_side(releases: Releases, client: Client) -> None:
    releases("install", "boresight", values={"settings": {"watchNamespaces": ["team-vision"]}})
    releases("install", "other", values={"settings": {"watchNamespaces": ["team-audio"]}, "crds": {"enabled": False}})
    for name in ("boresight-operator", "other-boresight-operator"):
        assert client.find(DEPLOYMENTS, NAMESPACE, name)


# -- the operator under its roles and settings -------------------------------------------------------------------------


@pytest.mark.parametrize("namespaces", [[], ["team-vision"]], ids=["cluster", "one namespace"])
def test_the_operator_works_with_what_the_chart_gives_it(
    releases: Releases, plane: ControlPlane, client: Client, namespaces: list[str]
) -> None:
    releases("install", "boresight", values={"settings": {"watchNamespaces": namespaces}})
    text = client.get(CONFIG_MAPS, NAMESPACE, "boresight-operator")["data"]["settings.yaml"]
    settings = {**yaml.safe_load(text), "leaseNamespace": NAMESPACE}
    token = identity.token(client)
    until(lambda: _may_work(plane.client(token)), "the roles in force")
    with OperatorProcess(plane, token, name=f"chart-{len(namespaces)}", settings=settings) as operator:
        until(lambda: operator.metric("boresight_leader") == 1, "it leads")
        name = f"run-{len(namespaces)}"
        until(lambda: _made(client, run(name)), "a run")
        until(lambda: _condition(client, name, "Accepted"), "its status")
        assert operator.metric("boresight_api_requests_total", code="403") == 0


def _may_work(operator: Client) -> bool:
    """The API server knows new roles some time after it has stored them; and the CRDs too."""
    try:
        operator.list(ALIGNMENT_RUNS, "team-vision")
        operator.find(LEASES, NAMESPACE, "boresight-operator")
    except ApiError as error:
        if error.code not in {403, 404}:
            raise
        return False
    return True


def test_without_crds_the_operator_waits_and_starts_when_they_come(
    releases: Releases, plane: ControlPlane, client: Client
) -> None:
    names = [crd["metadata"]["name"] for crd in client.list(CRDS) if crd["spec"]["group"] == "boresight.dev"]
    for name in names:
        client.delete(CRDS, None, name)
    for name in names:
        until(lambda name=name: client.find(CRDS, None, name) is None, f"{name} gone")
    releases("install", "boresight", values={"crds": {"enabled": False}})
    operator = OperatorProcess(plane, identity.token(client), name="early").start(wait=False)
    try:
        until(lambda: operator.said("listing alignmentruns failed (3 in a row): 404"), "its complaint")
        assert operator.said("CustomResourceDefinition alignmentruns.boresight.dev is missing")
        assert (operator.probe("/readyz"), operator.probe("/healthz")) == (503, 200)
        releases("upgrade", "boresight", values={"crds": {"enabled": True}})
        operator.wait_ready(60)
    finally:
        operator.kill()


def test_a_release_of_another_name_takes_the_crds_over_when_it_is_told_to(releases: Releases, client: Client) -> None:
    releases("install", "boresight", values={})
    releases("uninstall", "boresight")
    with pytest.raises(Refused, match="invalid ownership metadata"):
        releases("install", "other", values={})
    releases("install", "other", str(CHART), "--take-ownership", values={})
    owner = client.get(CRDS, None, "evalruns.boresight.dev")["metadata"]["annotations"]["meta.helm.sh/release-name"]
    assert owner == "other"
    releases("upgrade", "boresight", str(CHART), "--install", "--take-ownership", values={})


def _condition(client: Client, name: str, kind: str) -> str | None:
    status = client.get(ALIGNMENT_RUNS, "team-vision", name).get("status", {})
    return {c["type"]: c["status"] for c in status.get("conditions", [])}.get(kind)


# -- the admission policy ----------------------------------------------------------------------------------------------

ALLOWED: dict[str, Any] = {
    "admissionPolicy": {"enabled": True},
    "settings": {
        "defaults": {
            "image": "example.com/trainer:1",
            "podTemplate": {"priorityClassName": "research"},
            "allowedImages": ["example.com/team.a/*", "other/v?"],
            "allowedTolerations": ["gpu"],
            "allowedReadFrom": ["s3://shared/"],
        },
        "namespaces": {"team-audio": {"allowedImages": [], "allowedTolerations": ["*"]}},
    },
}


@pytest.fixture(scope="module")
def judged(helm: Helm, plane: ControlPlane) -> Iterator[Callable[[str, Object], str]]:
    """What the policy says about a manifest in a namespace; empty if it lets it pass."""
    releases = Releases(helm, plane)
    releases("install", "boresight", values=ALLOWED)
    client = plane.client()

    def judge(namespace: str, body: Object) -> str:
        try:
            client.create(ALIGNMENT_RUNS, namespace, body, dryRun="All")
        except ApiError as error:
            assert error.code == 422, error
            return error.message
        return ""

    bad = run("probe", podTemplate={"image": "elsewhere/evil"})
    until(lambda: judge("team-vision", bad), "the policy in force", seconds=30)
    yield judge
    releases("uninstall", "boresight")


@pytest.mark.parametrize(
    ("namespace", "compute", "refused"),
    [
        ("team-vision", {}, ""),
        ("team-vision", {"podTemplate": {"image": "example.com/trainer:1"}}, ""),
        ("team-vision", {"podTemplate": {"image": "example.com/team.a/x:2"}}, ""),
        (
            "team-vision",
            {"podTemplate": {"image": "example.com/teamXa/x:2"}},
            "podTemplate.image: found example.com/te",
        ),
        ("team-vision", {"podTemplate": {"image": "other/v2"}}, ""),
        ("team-vision", {"podTemplate": {"image": "other/v22"}}, "podTemplate.image: found other/v22"),
        ("team-audio", {"podTemplate": {"image": "other/v2"}}, "podTemplate.image: found other/v2"),
        ("team-vision", {"podTemplate": {"priorityClassName": "research"}}, ""),
        (
            "team-vision",
            {"podTemplate": {"priorityClassName": "system"}},
            "podTemplate.priorityClassName: found system",
        ),
        ("team-vision", {"podTemplate": {"runtimeClassName": "kata"}}, "podTemplate.runtimeClassName: found kata"),
        ("team-vision", {"podTemplate": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}}, ""),
        ("team-vision", {"podTemplate": {"tolerations": [{"operator": "Exists"}]}}, "podTemplate.tolerations"),
        ("team-audio", {"podTemplate": {"tolerations": [{"operator": "Exists"}]}}, ""),
    ],
)
def test_the_policy_refuses_what_settings_do_not_allow(
    judged: Callable[[str, Object], str], namespace: str, compute: Any, refused: str
) -> None:
    said = judged(namespace, run("judged", **compute))
    assert refused in said
    assert bool(refused) == bool(said), said


def test_the_policy_looks_at_every_stage_and_at_stores(judged: Callable[[str, Object], str]) -> None:
    for stage in ("warmStart", "feedbackModel", "synthesis", "policy", "evaluation"):
        body = run("judged")
        body["spec"][stage] = {"compute": {"podTemplate": {"image": "elsewhere/evil"}}}
        if stage == "warmStart":
            body["spec"][stage]["data"] = body["spec"]["data"]["feedback"]
        assert "elsewhere/evil" in judged("team-vision", body), stage
    for uri, refused in (("s3://shared/judges", False), ("s3://sharedtoo/judges", True)):
        body = run("judged")
        body["spec"]["storage"] = {"uri": "s3://own", "secretName": "own", "readFrom": [{"uri": uri}]}
        assert (uri in judged("team-vision", body)) == refused


def test_the_policy_leaves_old_runs_alone(judged: Callable[[str, Object], str], plane: ControlPlane) -> None:
    """Settings that became stricter do not keep a run from being labelled, finished or deleted."""
    client = plane.client()
    policy = client.get(POLICIES, None, "boresight-operator-runs")
    assert policy["spec"]["matchConditions"][0]["name"] == "spec-is-new"
    old = client.create(ALIGNMENT_RUNS, "team-vision", run("old", podTemplate={"image": "other/v1"}))
    client.merge(POLICIES, None, "boresight-operator-runs", _nothing_allowed(policy))
    bad = run("probe", podTemplate={"image": "other/v1"})
    until(lambda: judged("team-vision", bad), "the stricter policy in force", seconds=30)
    labelled = client.merge(ALIGNMENT_RUNS, "team-vision", "old", {"metadata": {"labels": {"a": "b"}}})
    assert labelled["metadata"]["uid"] == old["metadata"]["uid"]
    with pytest.raises(ApiError, match="other/v1"):
        client.merge(ALIGNMENT_RUNS, "team-vision", "old", {"spec": {"seed": 7}})
    client.delete(ALIGNMENT_RUNS, "team-vision", "old")


def _nothing_allowed(policy: Object) -> Object:
    variables = [
        {**v, "expression": v["expression"].replace('"^other/v.$"', '"^none$"')} for v in policy["spec"]["variables"]
    ]
    return {"spec": {"variables": variables}}
