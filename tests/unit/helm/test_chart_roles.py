"""Who may do what: the operator what its rules files say and where it works, people what their own roles say."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from builders_chart import VALUES
from kits.chart import CHART, NAMESPACE, Helm, Object, Rendering

SUBJECT = {"kind": "ServiceAccount", "name": "boresight-operator", "namespace": NAMESPACE}


def rules(name: str) -> Any:
    return yaml.safe_load((CHART / "files" / f"rules-{name}.yaml").read_text())


def granted(rendering: Rendering, namespace: str | None) -> list[Any]:
    """Rules that the operator's ServiceAccount has at a scope, through roles and their bindings."""
    kind = "Role" if namespace else "ClusterRole"
    found = []
    for binding in rendering.all(f"{kind}Binding"):
        if binding["metadata"].get("namespace") == namespace and SUBJECT in binding["subjects"]:
            assert binding["roleRef"]["kind"] == kind
            found += _role(rendering, kind, namespace, binding["roleRef"]["name"])["rules"]
    return found


def _role(rendering: Rendering, kind: str, namespace: str | None, name: str) -> Object:
    (found,) = (
        role
        for role in rendering.all(kind)
        if (role["metadata"].get("namespace"), role["metadata"]["name"]) == (namespace, name)
    )
    return found


def test_an_operator_of_the_cluster_has_its_rules_everywhere_and_its_lease_at_home(helm: Helm) -> None:
    rendering = helm.render()
    assert granted(rendering, None) == [*rules("runs"), *rules("cluster")]
    assert granted(rendering, NAMESPACE) == rules("own")


def test_an_operator_of_two_namespaces_has_its_rules_there_alone(helm: Helm) -> None:
    rendering = helm.render(VALUES["two-namespaces"])
    assert granted(rendering, "team-vision") == granted(rendering, "team-audio") == rules("runs")
    assert granted(rendering, None) == rules("cluster")
    assert granted(rendering, NAMESPACE) == rules("own")


def test_an_operator_of_its_own_namespace_needs_nothing_of_the_cluster(helm: Helm) -> None:
    rendering = helm.render(VALUES["no-cluster-role"])
    assert rendering.all("ClusterRole") == rendering.all("ClusterRoleBinding") == []
    assert sorted(granted(rendering, NAMESPACE), key=str) == sorted([*rules("own"), *rules("runs")], key=str)


def test_two_operators_of_one_namespace_want_one_role(helm: Helm) -> None:
    """So Helm refuses the second release: the object belongs to the first (tests/apiserver shows it)."""
    for values in ({}, {"settings": {"watchNamespaces": ["team-vision"]}}):
        names = [
            {
                (o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"])
                for o in rendering.objects
                if _of_runs(o)
            }
            for rendering in (helm.render(values, release=name) for name in ("one", "two"))
        ]
        assert names[0] == names[1] != set()


def _of_runs(item: Object) -> bool:
    return item["kind"] in {"Role", "ClusterRole"} and rules("runs")[0] in item["rules"]


@pytest.mark.parametrize("values", [VALUES["defaults"], VALUES["two-namespaces"]])
def test_no_rule_has_a_wildcard_or_reads_secrets(helm: Helm, values: Any) -> None:
    for role in [*helm.render(values).all("ClusterRole"), *helm.render(values).all("Role")]:
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "secrets" not in rule["resources"]


def test_people_s_roles_grow_from_view_to_edit_to_admin(helm: Helm) -> None:
    rendering = helm.render(crds=True)
    verbs: dict[str, set[str]] = {"view": set(), "edit": set(), "admin": set()}
    for target in verbs:
        for role in rendering.all("ClusterRole"):
            if role["metadata"]["labels"].get(f"rbac.authorization.k8s.io/aggregate-to-{target}") == "true":
                (rule,) = role["rules"]
                assert rule["apiGroups"] == ["boresight.dev"]
                assert rule["resources"] == ["alignmentruns", "feedbacksyntheses", "evalruns"]  # and no status
                verbs[target] |= set(rule["verbs"])
    assert verbs["view"] == {"get", "list", "watch"}
    assert verbs["edit"] == verbs["view"] | {"create", "update", "patch", "delete"}
    assert verbs["admin"] == verbs["edit"] | {"deletecollection"}


def test_with_roles_of_somebody_else_the_chart_makes_none(helm: Helm) -> None:
    rendering = helm.render(VALUES["bring-your-own"], crds=True)
    assert not [o for o in rendering.objects if "Role" in o["kind"]]
    assert rendering.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "ours"
    assert not rendering.all("ServiceAccount")


def test_only_the_operator_s_own_pods_get_its_token(helm: Helm) -> None:
    rendering = helm.render()
    assert rendering.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert rendering.one("Pod")["spec"]["automountServiceAccountToken"] is False
    assert rendering.one("Deployment")["spec"]["template"]["spec"]["automountServiceAccountToken"] is True
