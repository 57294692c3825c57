"""The CRDs as kubectl and the API server have them: cost, pruning, defaults, named lists, columns, names, explain."""

from __future__ import annotations

import copy
import json

import pytest
from apiserver.client import CRDS, ApiError, Client, Object
from apiserver.control_plane import ControlPlane
from apiserver.crds import CRD_FILES, condition
from apiserver.schema_paths import load
from boresight_api.crd import DEFINITIONS, Definition
from boresight_operator.api import ALIGNMENT_RUNS, RUNS
from builders_manifests import a_synthesis, an_alignment_run, an_eval_run

FILES = {document["spec"]["names"]["kind"]: document for document in map(load, CRD_FILES)}
SMALLEST = {"AlignmentRun": an_alignment_run, "EvalRun": an_eval_run, "FeedbackSynthesis": a_synthesis}
KINDS = [definition.kind.__name__ for definition in DEFINITIONS]


def copies(kind: str, count: int) -> Object:
    """A CRD whose schema holds the spec's schema of ``kind`` several times over, without descriptions."""
    crd = copy.deepcopy(FILES[kind])
    spec = _mute(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
    names = {"kind": "Copies", "listKind": "CopiesList", "plural": "copies", "singular": "copies"}
    schema = {"type": "object", "properties": {f"spec{number}": spec for number in range(count)}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    body = {"group": "boresight.dev", "scope": "Namespaced", "names": names, "versions": [version]}
    return {**crd, "metadata": {"name": "copies.boresight.dev"}, "spec": body}


def _mute(schema: Object) -> Object:
    result = {name: value for name, value in schema.items() if name != "description"}
    if "properties" in result:
        result["properties"] = {name: _mute(child) for name, child in result["properties"].items()}
    for keyword in ("items", "additionalProperties"):
        if isinstance(result.get(keyword), dict):
            result[keyword] = _mute(result[keyword])
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_ten_times_its_rules_are_within_the_cost_limit(client: Client, kind: str) -> None:
    """So each CRD's estimated cost is under a tenth of what the API server allows one."""
    client.create(CRDS, None, copies(kind, 10), dryRun="All")


def test_the_cost_limit_is_one_that_can_be_reached(client: Client) -> None:
    """The control of the test above: one careless rule of a kind that we could have written is over it."""
    crd = copies("AlignmentRun", 1)
    careless = {"rule": "self.all(a, self.all(b, a == b || a.size() != b.size()))", "message": "careless"}
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    lines = {"type": "array", "maxItems": 1000, "items": {"type": "string"}, "x-kubernetes-validations": [careless]}
    schema["properties"]["lines"] = lines
    with pytest.raises(ApiError, match="exceeds budget"):
        client.create(CRDS, None, crd, dryRun="All")


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_structural_and_established(client: Client, kind: str) -> None:
    crd = client.get(CRDS, None, FILES[kind]["metadata"]["name"])
    assert condition(crd, "Established") == "True"
    assert condition(crd, "NamesAccepted") == "True"
    assert condition(crd, "NonStructuralSchema") in {None, "False"}


@pytest.mark.parametrize("resource", RUNS, ids=lambda resource: resource.kind)
def test_nothing_is_defaulted_and_unknown_fields_are_pruned(client: Client, namespace: str, resource) -> None:  # type: ignore[no-untyped-def]
    document = SMALLEST[resource.kind]()
    with_unknown = copy.deepcopy(document)
    with_unknown["spec"]["task2"] = "x"
    with_unknown["spec"]["model" if "model" in document["spec"] else "candidate"]["deep"] = {"er": 1}
    stored = client.create(resource, namespace, with_unknown, fieldValidation="Ignore")
    assert stored["spec"] == document["spec"]
    assert stored["status"] == {"observedGeneration": -1}
    with pytest.raises(ApiError, match="unknown field"):
        client.create(resource, namespace, {**with_unknown, "metadata": {"name": "b"}}, fieldValidation="Strict")


def test_a_status_is_written_through_its_subresource_alone(client: Client, namespace: str) -> None:
    stored = client.create(ALIGNMENT_RUNS, namespace, {**an_alignment_run(), "status": {"percent": 3}})
    assert stored["status"] == {"observedGeneration": -1}
    written = client.merge(
        ALIGNMENT_RUNS, namespace, "first", {"status": {"percent": 3}, "spec": {"seed": 9}}, "status"
    )
    assert (written["status"], written["spec"].get("seed")) == ({"observedGeneration": -1, "percent": 3}, None)
    assert written["metadata"]["generation"] == stored["metadata"]["generation"]


def test_two_managers_share_the_status_without_touching_each_other(client: Client, namespace: str) -> None:
    client.create(ALIGNMENT_RUNS, namespace, an_alignment_run())
    stage = {"name": "policy", "state": "Running", "attempt": 1}
    progress = {"name": "policy", "attempt": 1, "podUID": "u", "step": 3, "totalSteps": 9}
    ours = {"stage": "policy", "stages": [stage], "conditions": [a_condition("Succeeded")]}
    theirs = {
        "percent": 33,
        "progress": [{**progress, "updatedTime": "2026-01-01T00:00:00Z"}],
        "conditions": [a_condition("ProgressAvailable")],
    }
    apply_status(client, namespace, ours, "boresight")
    both = apply_status(client, namespace, theirs, "boresight-progress")
    assert {c["type"] for c in both["conditions"]} == {"Succeeded", "ProgressAvailable"}
    left = apply_status(client, namespace, {}, "boresight-progress")
    assert (left["stages"], left["conditions"], "percent" in left) == ([stage], [a_condition("Succeeded")], False)


@pytest.mark.parametrize(
    ("field", "item"),
    [
        ("stages", {"name": "policy", "state": "Running"}),
        ("sources", {"id": "0" * 16, "name": "model", "uri": "file:///m"}),
        (
            "conditions",
            {"type": "Succeeded", "status": "True", "reason": "X", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ),
        ("results", {"suite": "Holdout", "name": "loss", "candidate": "policy", "baseline": "none", "value": "1"}),
    ],
)
def test_named_lists_hold_a_name_once(client: Client, namespace: str, field: str, item: Object) -> None:
    client.create(ALIGNMENT_RUNS, namespace, an_alignment_run())
    with pytest.raises(ApiError, match="Duplicate value") as found:
        client.merge(ALIGNMENT_RUNS, namespace, "first", {"status": {field: [item, item]}}, "status")
    assert found.value.code == 422


@pytest.mark.usefixtures("no_operator")
def test_kubectl_shows_the_columns(plane: ControlPlane, client: Client, namespace: str) -> None:
    client.create(ALIGNMENT_RUNS, namespace, an_alignment_run(compute={"queueName": "team-vision"}))
    succeeded = {**a_condition("Succeeded"), "reason": "Running"}
    scalars = {
        "feedback": "Language",
        "algorithm": "DPO",
        "stage": "policy",
        "percent": 62,
        "keyMetric": "winRate 0.61",
    }
    more = {"deviceSeconds": 91200, "remainingSeconds": 840, "conditions": [succeeded]}
    client.merge(ALIGNMENT_RUNS, namespace, "first", {"status": scalars | more}, "status")
    lines = rows(plane.kubectl("get", "arun", "-n", namespace).stdout)
    assert lines[0] == ["NAME", "TASK", "FEEDBACK", "ALGORITHM", "STATUS", "STAGE", "PROGRESS", "AGE"]
    assert lines[1][:7] == ["first", "TextToText", "Language", "DPO", "Running", "policy", "62"]
    wide = plane.kubectl("get", "arun", "-n", namespace, "-o", "wide").stdout
    for word in ("KEY METRIC", "QUEUE", "DEVICE-SECONDS", "REMAINING", "winRate 0.61", "team-vision", "91200", "840"):
        assert word in wide
    client.delete(ALIGNMENT_RUNS, namespace, "first")


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.plural)
def test_short_names_and_the_category_find_the_kind(
    plane: ControlPlane, client: Client, namespace: str, definition: Definition
) -> None:
    kind = definition.kind.__name__
    resource = next(resource for resource in RUNS if resource.kind == kind)
    client.create(resource, namespace, SMALLEST[kind]())
    for name in (definition.short_name, definition.plural, kind.lower(), "boresight"):
        done = plane.kubectl("get", name, "-n", namespace, "-o", "name")
        assert done.stdout.strip() == f"{kind.lower()}.boresight.dev/first", done.stderr


def test_explain_shows_what_the_models_say(plane: ControlPlane) -> None:
    shown = plane.kubectl("explain", "alignmentrun.spec.policy.dpo").stdout
    assert "beta" in shown
    assert "FIELDS" in shown
    for plural in ("alignmentruns", "feedbacksyntheses", "evalruns"):
        done = plane.kubectl("explain", plural, "--recursive")
        assert done.returncode == 0, done.stderr
        assert "DESCRIPTION" in done.stdout
        assert "<empty>" not in done.stdout.partition("FIELDS")[0]


def test_what_is_stored_again_without_change_is_no_write(client: Client, namespace: str) -> None:
    client.create(ALIGNMENT_RUNS, namespace, an_alignment_run())
    status = {"stage": "policy", "conditions": [a_condition("Succeeded")]}
    first = apply_object(client, namespace, status, "boresight")
    again = apply_object(client, namespace, status, "boresight")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_each_crd_fits_into_kubectl_apply(plane: ControlPlane) -> None:
    for path in CRD_FILES:
        done = plane.kubectl("apply", "--dry-run=server", "-f", str(path))
        assert done.returncode == 0, done.stderr
        assert len(json.dumps(load(path))) < 262_144


def a_condition(kind: str) -> Object:
    return {
        "type": kind,
        "status": "Unknown",
        "reason": "Running",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def apply_object(client: Client, namespace: str, status: Object, manager: str) -> Object:
    body = {
        "apiVersion": "boresight.dev/v1alpha1",
        "kind": "AlignmentRun",
        "metadata": {"name": "first"},
        "status": status,
    }
    found: Object = client.call(
        "PATCH",
        ALIGNMENT_RUNS.path(namespace, "first", "status"),
        body,
        query={"fieldManager": manager, "force": "true"},
        content_type="application/apply-patch+yaml",
    )
    return found


def apply_status(client: Client, namespace: str, status: Object, manager: str) -> Object:
    found: Object = apply_object(client, namespace, status, manager)["status"]
    return found


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines()]


@pytest.mark.usefixtures("no_operator")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_the_operator_has_not_seen_says_so(client: Client, namespace: str, kind: str) -> None:
    """In the answer to whoever made it and to whoever reads it; a status that comes with the manifest is dropped."""
    resource = next(resource for resource in RUNS if resource.kind == kind)
    lie = {"observedGeneration": 1, "conditions": []}
    made = client.create(resource, namespace, {**SMALLEST[kind](), "status": lie})
    name = made["metadata"]["name"]
    applied = client.merge(resource, namespace, name, {"metadata": {"labels": {"team": "one"}}})
    for found in (made, client.get(resource, namespace, name), applied, *client.list(resource, namespace)):
        assert found["status"] == {"observedGeneration": -1}
