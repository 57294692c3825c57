"""The CRDs: what Kubernetes' API conventions ask, for every field of every kind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from boresight_api.base import models_of
from boresight_api.crd import DEFINITIONS, MAX_BYTES, Definition, crd, main, render
from boresight_api.documents import load_yaml
from boresight_api.podtemplate import PodTemplate
from boresight_api.status import RunStatus
from boresight_api.structural import structural_schema

CRDS = Path(__file__).parents[2] / "crds"
Schema = dict[str, Any]
NATIVE_BOOLEANS = {"optional", "readOnly"}
"""Booleans of Kubernetes' own types, under Kubernetes' own names."""


def schema_of(definition: Definition) -> Schema:
    found: Schema = crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema below ``schema``, itself included, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(keyword), dict):
            yield from nodes(schema[keyword], f"{path}{mark}")


NODES = [
    (f"{definition.plural}{path}", node)
    for definition in DEFINITIONS
    for path, node in nodes(schema_of(definition))
    if path != ".metadata"  # Kubernetes' own; a CRD must not describe it
]


def faults(broken: Any) -> list[str]:
    """Paths of the nodes for which ``broken`` holds."""
    return [path for path, node in NODES if broken(path, node)]


def test_the_lint_sees_all_fields() -> None:
    assert len(NODES) > 1000


def test_there_are_no_floats() -> None:
    assert faults(lambda path, node: node.get("type") == "number" or node.get("format") in {"float", "double"}) == []


def test_every_string_is_bounded() -> None:
    def unbounded(path: str, node: Schema) -> bool:
        return node.get("type") == "string" and "maxLength" not in node and "enum" not in node

    assert faults(unbounded) == []


def test_every_integer_is_bounded_and_has_64_bits() -> None:
    def unbounded(path: str, node: Schema) -> bool:
        return node.get("type") == "integer" and not {"minimum", "maximum", "format"} <= set(node)

    assert faults(unbounded) == []
    assert faults(lambda path, node: node.get("maximum", 0) > 2**53) == [], "JSON numbers are exact up to 2**53"


def test_every_list_and_map_is_bounded() -> None:
    assert faults(lambda path, node: node.get("type") == "array" and "maxItems" not in node) == []
    assert faults(lambda path, node: "additionalProperties" in node and "maxProperties" not in node) == []


def test_decimals_are_integers_or_bounded_strings() -> None:
    def loose(path: str, node: Schema) -> bool:
        return bool(node.get("x-kubernetes-int-or-string")) and not {"pattern", "maxLength"} <= set(node)

    assert faults(loose) == []
    assert faults(lambda path, node: "type" not in node and not node.get("x-kubernetes-int-or-string")) == []


def test_every_field_has_a_description() -> None:
    def mute(path: str, node: Schema) -> bool:
        return not path.endswith(("[]", "{}")) and not re.fullmatch(r"\S.*[.:]", node.get("description", ""))

    assert faults(mute) == []


def test_names_are_camel_case() -> None:
    names = {name for _, node in NODES for name in node.get("properties", {})}
    assert [name for name in names if not re.fullmatch(r"[a-z][a-zA-Z0-9]*", name)] == []


def test_durations_say_their_unit() -> None:
    names = {name for _, node in NODES for name in node.get("properties", {})}
    assert [n for n in names if re.search(r"(?i)(timeout|duration|interval|ttl)$", n)] == []


def test_no_state_of_an_object_is_called_phase() -> None:
    """Kubernetes' conventions advise against it. What a stage says it is at is no state that anybody acts on."""
    found = {path.partition(".")[2] for path, node in NODES if "phase" in node.get("properties", {})}
    assert found == {"status.progress[]"}


def test_booleans_are_suspend_and_kubernetes_own() -> None:
    found = {path.rpartition(".")[2] for path, node in NODES if node.get("type") == "boolean"}
    assert found == {"suspend"} | NATIVE_BOOLEANS
    native = {name for model in models_of(PodTemplate) for name in model.model_fields}
    assert {"optional", "read_only"} <= native


def test_enums_are_of_pascal_case_words() -> None:
    values = {value for path, node in NODES if "podTemplate" not in path for value in node.get("enum", ())}
    assert [value for value in values if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", value)] == []


def test_unknown_fields_are_nowhere_preserved() -> None:
    text = json.dumps([node for _, node in NODES])
    assert "x-kubernetes-preserve-unknown-fields" not in text
    assert faults(lambda path, node: "additionalProperties" in node and "properties" in node) == []


def test_the_schema_is_structural() -> None:
    text = json.dumps([node for _, node in NODES])
    for keyword in (
        '"$ref"',
        '"anyOf"',
        '"oneOf"',
        '"allOf"',
        '"const"',
        '"prefixItems"',
        '"propertyNames"',
        '"title"',
    ):
        assert keyword not in text, keyword


def test_no_default_but_in_the_names_of_list_items_and_of_a_status_that_nobody_has_written() -> None:
    found = faults(lambda path, node: "default" in node)
    assert {path.partition(".")[2] for path in found} == {"status.results[].baseline", "status"}


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.plural)
def test_a_run_that_nobody_has_looked_at_says_so_in_words_of_the_contract(definition: Definition) -> None:
    """kstatus, and with it Flux, takes an object without status for one that is Current."""
    default = schema_of(definition)["properties"]["status"]["default"]
    assert RunStatus.model_validate(default) == RunStatus(observed_generation=-1)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.plural)
def test_conditions_are_as_the_api_conventions_say(definition: Definition) -> None:
    conditions = schema_of(definition)["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert set(conditions["items"]["required"]) == {"type", "status", "reason", "lastTransitionTime"}
    assert "observedGeneration" in conditions["items"]["properties"]


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("stages", ["name"]),
        ("progress", ["name"]),
        ("sources", ["id"]),
        ("results", ["suite", "name", "candidate", "baseline"]),
    ],
)
def test_lists_of_the_status_are_named_lists(field: str, names: list[str]) -> None:
    for definition in DEFINITIONS:
        found = schema_of(definition)["properties"]["status"]["properties"][field]
        assert (found["x-kubernetes-list-type"], found["x-kubernetes-list-map-keys"]) == ("map", names)


def test_names_of_list_items_are_required_or_have_a_default() -> None:
    def nameless(path: str, node: Schema) -> bool:
        items = node.get("items", {})
        return any(
            key not in items.get("required", ()) and "default" not in items["properties"][key]
            for key in node.get("x-kubernetes-list-map-keys", ())
        )

    assert faults(nameless) == []


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.plural)
def test_kubectl_finds_and_shows_the_kind(definition: Definition) -> None:
    spec = crd(definition)["spec"]
    short = {"alignmentruns": "arun", "feedbacksyntheses": "fsyn", "evalruns": "eval"}[definition.plural]
    assert (spec["names"]["shortNames"], spec["names"]["categories"]) == ([short], ["boresight"])
    columns = {column["name"]: column for column in spec["versions"][0]["additionalPrinterColumns"]}
    assert columns["Status"]["jsonPath"] == '.status.conditions[?(@.type=="Succeeded")].reason'
    method = ["Feedback", "Algorithm"] if definition.plural == "alignmentruns" else []
    always = [name for name, column in columns.items() if not column.get("priority")]
    assert always == ["Task", *method, "Status", "Stage", "Progress", "Age"]
    assert [name for name in columns if name not in always] == ["Key Metric", "Queue", "Device-Seconds", "Remaining"]
    assert spec["versions"][0]["subresources"] == {"status": {}}


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.plural)
def test_columns_point_at_fields(definition: Definition) -> None:
    for column in crd(definition)["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = re.sub(r"\[[^]]*\]", "[]", column["jsonPath"])
        if path.startswith(".metadata"):
            continue
        found = dict(nodes(schema_of(definition)))[path]
        assert column["type"] == found["type"]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.plural)
def test_each_crd_stays_below_what_kubectl_apply_can_carry(definition: Definition) -> None:
    assert len(render(definition).encode()) < MAX_BYTES


def test_rules_have_messages_and_quote_nothing_that_grows() -> None:
    rules = [rule for _, node in NODES for rule in node.get("x-kubernetes-validations", ())]
    assert rules
    assert [rule for rule in rules if not rule.get("message")] == []
    names = [rule["rule"] for rule in schema_of(DEFINITIONS[0])["x-kubernetes-validations"]]
    assert names[0] == "size(self.metadata.name) <= 63"


def test_the_files_are_what_the_models_say() -> None:
    assert main(["--check", str(CRDS)]) == 0


def test_a_stale_file_is_noticed_and_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(tmp_path)]) == 1
    assert "run `make crds`" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    for definition in DEFINITIONS:
        text = (tmp_path / definition.file_name).read_text()
        assert load_yaml(text) == crd(definition), "to kubectl and Helm"
        assert yaml.safe_load(text) == crd(definition), "to PyYAML"
    (tmp_path / DEFINITIONS[0].file_name).write_text("{}")
    assert main(["--check", str(tmp_path)]) == 1


def test_what_kubernetes_cannot_say_is_refused_when_it_is_written() -> None:
    from boresight_api.base import Contract, operational

    class Union(Contract):
        """A model."""

        value: int | str = operational()
        """Either."""

    class Tuple(Contract):
        """A model."""

        value: tuple[int, str] = operational()
        """Both."""

    for model in (Union, Tuple):
        with pytest.raises(TypeError, match="cannot be said in a structural schema"):
            structural_schema(model)
