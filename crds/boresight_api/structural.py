"""From a contract model to a structural schema (KEP-1693's OpenAPI subset): no $ref, no unions with null, no const."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Contract, models_of
from .descriptions import describe, describe_field

Schema = dict[str, Any]

_KEPT = (
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)
"""Keywords that pass through."""

_DROPPED = {"title", "default", "description", "x-boresight-class", "x-boresight-neutral"}
_BY_NAME = {"const", "items", "additionalProperties", "patternProperties", "propertyNames"}
"""Keywords that are handled one by one. Anything else is an error of whoever wrote the model."""


def structural_schema(model: type[Contract]) -> Schema:
    """The structural schema of ``model``. Raises TypeError for what Kubernetes cannot express."""
    document = model.model_json_schema(mode="validation", by_alias=True)
    models = {found.__name__: found for found in models_of(model)}
    return _Transformer(document.get("$defs", {}), models).model(model, document)


class _Transformer:
    def __init__(self, definitions: Mapping[str, Schema], models: Mapping[str, type[Contract]]) -> None:
        self._definitions = definitions
        self._models = models

    def model(self, model: type[Contract], schema: Schema) -> Schema:
        """An object with its properties described, in the order of the model's fields."""
        names = {field.alias or name: name for name, field in model.model_fields.items()}
        properties = {}
        for alias, name in names.items():
            value = self._value(schema["properties"][alias], alias)
            properties[alias] = {"description": describe_field(model, name), **value}
        result: Schema = {"type": "object", "description": describe(model)}
        if required := schema.get("required"):
            result["required"] = list(required)
        if validations := schema.get("x-kubernetes-validations"):
            result["x-kubernetes-validations"] = validations
        return {**result, "properties": properties}

    def _value(self, schema: Schema, name: str) -> Schema:
        """A property; ``name`` only for messages."""
        schema = self._without_union(schema, name)
        if "$ref" in schema:
            return self._reference(schema)
        result = {keyword: schema[keyword] for keyword in _KEPT if keyword in schema}
        if "const" in schema:
            result |= {"type": "string", "enum": [schema["const"]]}
        if unknown := set(schema) - set(_KEPT) - _DROPPED - _BY_NAME:
            raise TypeError(f"{name}: {', '.join(sorted(unknown))} cannot be said in a structural schema")
        if result.get("type") == "integer":
            result["format"] = "int64"
        if "items" in schema:
            result["items"] = self._items(schema, name)
        if result.get("type") == "object":
            result |= self._map(schema, name)
        return result

    def _without_union(self, schema: Schema, name: str) -> Schema:
        """``X | None`` is X: an absent field is a field that is not there."""
        if "anyOf" not in schema:
            return schema
        options = [option for option in schema["anyOf"] if option != {"type": "null"}]
        if len(options) != 1:
            raise TypeError(f"{name}: a union cannot be said in a structural schema")
        return {**options[0], **{keyword: value for keyword, value in schema.items() if keyword != "anyOf"}}

    def _reference(self, schema: Schema) -> Schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        target = self._definitions[name]
        if name not in self._models:
            return self._value(target, name)
        result = self.model(self._models[name], target)
        del result["description"]  # the field's own says what it is here
        return result

    def _items(self, schema: Schema, name: str) -> Schema:
        items = self._value(schema["items"], f"{name}[]")
        for key in schema.get("x-kubernetes-list-map-keys", ()):
            target = self._definitions[schema["items"]["$ref"].removeprefix("#/$defs/")]
            if key not in target.get("required", ()):
                items["properties"][key]["default"] = target["properties"][key]["default"]
        return items

    def _map(self, schema: Schema, name: str) -> Schema:
        """A map from names to values. Kubernetes has no schema for names, so their rules are CEL."""
        values = schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), None)
        if not isinstance(values, dict):
            raise TypeError(f"{name}: an object without a model")
        result: Schema = {"additionalProperties": self._value(values, f"{name}{{}}")}
        names = schema.get("propertyNames", {})
        if "$ref" in names:
            names = self._definitions[names["$ref"].removeprefix("#/$defs/")]
        if "enum" in names:
            allowed = ", ".join(f"'{value}'" for value in names["enum"])
            message = f"names are {', '.join(names['enum'])}"
            result["x-kubernetes-validations"] = [{"rule": f"self.all(name, name in [{allowed}])", "message": message}]
        return result
