"""What the API server knows about the shape of an object: which lists merge by key, what is pruned, what is refused.

Read from the same CRD files that are installed; built-in kinds have the few facts that the operator relies on.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).parents[2] / "crds"


@dataclass(frozen=True)
class Shape:
    """How one place of an object merges. ``fields`` are a struct's, ``values`` is a map's or list's item."""

    fields: Mapping[str, Shape] = field(default_factory=dict)
    values: Shape | None = None
    keys: tuple[str, ...] = ()
    """Of a list-map."""
    atomic: bool = False
    is_set: bool = False

    def at(self, name: str) -> Shape:
        """Of a field or a map's value; what no schema describes is deduced: maps are granular, lists atomic."""
        return self.fields.get(name) or self.values or DEDUCED


DEDUCED = Shape()
ATOMIC = Shape(atomic=True)
METADATA = Shape(
    fields={
        "ownerReferences": Shape(keys=("uid",), values=Shape()),
        "finalizers": Shape(is_set=True),
    }
)
SERVICE = Shape(
    fields={
        "metadata": METADATA,
        "spec": Shape(fields={"ports": Shape(keys=("port", "protocol"), values=Shape()), "selector": ATOMIC}),
    }
)
NETWORK_POLICY = Shape(fields={"metadata": METADATA, "spec": Shape(fields={"podSelector": ATOMIC})})
PLAIN = Shape(fields={"metadata": METADATA})


@dataclass(frozen=True)
class Crd:
    """One of our kinds, as its CRD describes it."""

    kind: str
    plural: str
    schema: Mapping[str, Any]
    shape: Shape


@cache
def crds() -> Mapping[str, Crd]:
    """By plural."""
    found = {}
    for path in sorted(CRDS.glob("*.yaml")):
        spec = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["spec"]
        schema = spec["versions"][0]["schema"]["openAPIV3Schema"]
        shape = _shape(schema)
        shape = Shape(fields={**shape.fields, "metadata": METADATA})
        found[spec["names"]["plural"]] = Crd(spec["names"]["kind"], spec["names"]["plural"], schema, shape)
    return found


def _shape(schema: Mapping[str, Any]) -> Shape:
    if schema.get("x-kubernetes-map-type") == "atomic":
        return ATOMIC
    if schema.get("type") == "array":
        kind = schema.get("x-kubernetes-list-type", "atomic")
        if kind == "map":
            return Shape(keys=tuple(schema["x-kubernetes-list-map-keys"]), values=_shape(schema["items"]))
        return Shape(is_set=True) if kind == "set" else ATOMIC
    values = schema.get("additionalProperties")
    return Shape(
        fields={name: _shape(value) for name, value in schema.get("properties", {}).items()},
        values=_shape(values) if isinstance(values, Mapping) else None,
    )


def defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What an object has that lacks it. Only fields of the object itself have defaults that its writers leave out."""
    return {name: copy.deepcopy(below["default"]) for name, below in schema["properties"].items() if "default" in below}


def pruned(value: Any, schema: Mapping[str, Any]) -> Any:
    """``value`` without fields that the schema does not have, and without nulls that it does not allow."""
    if isinstance(value, Mapping):
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            return value
        properties, values = schema.get("properties", {}), schema.get("additionalProperties")
        kept = {}
        for name, item in value.items():
            below = properties.get(name, values if isinstance(values, Mapping) else None)
            if below is not None and not (item is None and not below.get("nullable")):
                kept[name] = pruned(item, below)
        return kept
    if isinstance(value, list):
        return [pruned(item, schema.get("items", {})) for item in value]
    return value


def faults(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """What the schema forbids. CEL is left to the real API server."""
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield f"{path}: Invalid value: must be of type int-or-string"
            return
    elif (expected := schema.get("type")) and not _is(value, expected):
        yield f'{path}: Invalid value: "{type(value).__name__}": {path} in body must be of type {expected}'
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f'{path}: Unsupported value: "{value}"'
    if isinstance(value, str):
        yield from _text_faults(value, schema, path)
    elif isinstance(value, int) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            yield f"{path}: Invalid value: {value}: out of range"
    elif isinstance(value, Mapping):
        yield from _map_faults(value, schema, path)
    elif isinstance(value, list):
        yield from _list_faults(value, schema, path)


def _is(value: Any, expected: str) -> bool:
    if expected in {"integer", "number"}:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "boolean": bool, "object": Mapping, "array": list}[expected])


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _text_faults(value: str, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{path}: Too long: may not be more than {schema['maxLength']} bytes"
    if len(value) < schema.get("minLength", 0):
        yield f'{path}: Invalid value: "{value}": should be at least {schema["minLength"]} chars long'
    if "pattern" in schema and not _compiled(schema["pattern"]).search(value):
        yield f"{path}: Invalid value: \"{value}\": {path} in body should match '{schema['pattern']}'"


def _map_faults(value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}: Required value".lstrip(".")
    if len(value) > schema.get("maxProperties", len(value)):
        yield f"{path}: Too many: {len(value)}: must have at most {schema['maxProperties']} items"
    properties, values = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        below = properties.get(name, values if isinstance(values, Mapping) else None)
        if below is not None:
            yield from faults(item, below, f"{path}.{name}".lstrip("."))


def _list_faults(value: list[Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if len(value) > schema.get("maxItems", len(value)):
        yield f"{path}: Too many: {len(value)}: must have at most {schema['maxItems']} items"
    if len(value) < schema.get("minItems", 0):
        yield f"{path}: Invalid value: {len(value)}: should have at least {schema['minItems']} items"
    keys = schema.get("x-kubernetes-list-map-keys")
    seen = set()
    for index, item in enumerate(value):
        yield from faults(item, schema.get("items", {}), f"{path}[{index}]")
        if keys and isinstance(item, Mapping):
            key = tuple(item.get(name) for name in keys)
            if key in seen:
                yield f"{path}[{index}]: Duplicate value: {key}"
            seen.add(key)
