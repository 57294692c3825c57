"""Places in a CRD's schema, and the smallest manifest that has a value at one of them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import yaml
from builders_manifests import a_synthesis, an_alignment_run, an_eval_run

SMALLEST = {"AlignmentRun": an_alignment_run, "EvalRun": an_eval_run, "FeedbackSynthesis": a_synthesis}
SAMPLES = {"uri": "file:///data/x.jsonl", "endpoint": "https://example.com", "learningRate": "1e-4", "key": "a"}
Schema = dict[str, Any]
Document = dict[str, Any]


def schema_of(crd: Document) -> Schema:
    """Of the only version."""
    found: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def rules_of(schema: Schema, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Every CEL rule: (path, rule, message)."""
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path, rule["rule"], rule["message"]
    for name, child in schema.get("properties", {}).items():
        yield from rules_of(child, f"{path}.{name}".lstrip("."))
    for keyword, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(keyword), dict):
            yield from rules_of(schema[keyword], path + mark)


def a_manifest(crd: Document, path: str, value: Any) -> Document:
    """The smallest manifest of the CRD's kind with ``value`` at ``path`` (``spec.data.feedback[].weight``)."""
    kind = crd["spec"]["names"]["kind"]
    document = copy.deepcopy(SMALLEST[kind]())
    if "rewardModel" in path or ".ppo" in path:
        document["spec"]["method"] = {"algorithm": "PPO"}
    if path:
        _place(document, schema_of(crd), re.findall(r"\w+|\[\]|\{\}", path), value)
    return document


def _place(holder: Document, schema: Schema, parts: list[str], value: Any) -> None:
    name, *rest = parts
    below = schema["properties"][name]
    holder[name] = _completed(holder.get(name), below, rest, value)


def _completed(found: Any, schema: Schema, rest: list[str], value: Any) -> Any:
    """What stands at a place so that below it, at ``rest``, there is ``value``."""
    if not rest:
        return _with_required(value, schema)
    if rest[0] == "[]":
        first = found[0] if found else None
        return [_completed(first, schema["items"], rest[1:], value)]
    if rest[0] == "{}":
        return {"a": _completed(None, schema["additionalProperties"], rest[1:], value)}
    result = _with_required(found or {}, schema)
    _place(result, schema, rest, value)
    return result


def _with_required(value: Any, schema: Schema) -> Any:
    """A mapping with the fields that the schema requires of it."""
    if not isinstance(value, dict):
        return value
    missing = [name for name in schema.get("required", ()) if name not in value]
    return {**{name: _sample(name, schema["properties"][name]) for name in missing}, **value}


def _sample(name: str, schema: Schema) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return _with_required({}, schema)
    if kind == "array":
        return [_sample(name, schema["items"])] * schema.get("minItems", 1)
    if kind in {"integer", None}:
        return schema.get("minimum", 1)
    return SAMPLES.get(name, "a")


def load(path: Any) -> Document:
    """A CRD."""
    found: Document = yaml.safe_load(path.read_text())
    return found
