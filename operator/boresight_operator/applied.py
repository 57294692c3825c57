"""Whether an object holds exactly what a field manager applied: tells what became of an apply that got no answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .api import Object


def holds(stored: Object, body: Object, manager: str, subresource: str | None) -> bool:
    """True if what ``manager`` owns of ``stored`` by apply is ``body``, apart from metadata, order, and what is empty.

    So a field that an older apply owned and ``body`` leaves out, or one that somebody took from us, makes it False.
    """
    for entry in stored.get("metadata", {}).get("managedFields", ()):
        if (entry.get("manager"), entry.get("operation"), entry.get("subresource") or None) == (
            manager,
            "Apply",
            subresource,
        ):
            owned = _owned(stored, entry.get("fieldsV1") or {})
            return _content(owned) == _content(body)
    return False


def _content(document: Object) -> str:
    content = {name: value for name, value in document.items() if name not in {"apiVersion", "kind", "metadata"}}
    return _canonical(_plain(content))


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """Lists in one order, and without what is empty: nobody owns anything of an empty list or mapping."""
    if isinstance(value, Mapping):
        return {name: plain for name, item in value.items() if (plain := _plain(item)) not in ({}, [])}
    if isinstance(value, (list, tuple)):
        return sorted((_plain(item) for item in value), key=_canonical)
    return value


def _owned(value: Any, fields: Mapping[str, Any]) -> Any:
    """The part of ``value`` that ``fields`` (FieldsV1, structured-merge-diff's form) names."""
    paths = {path: inner for path, inner in fields.items() if path != "."}
    if not paths:
        return value if "." not in fields else _empty(value)
    if isinstance(value, list):
        return [part for path, inner in paths.items() for part in _items(value, path, inner)]
    if not isinstance(value, Mapping):
        return value
    names = {path.removeprefix("f:"): inner for path, inner in paths.items()}
    return {name: _owned(value[name], inner) for name, inner in names.items() if name in value}


def _empty(value: Any) -> Any:
    """Only the thing itself is owned, nothing in it."""
    return type(value)() if isinstance(value, (dict, list)) else value


def _items(items: list[Any], path: str, fields: Mapping[str, Any]) -> list[Any]:
    """The items of a list that ``path`` selects: ``k:{keys}`` of a list-map, ``v:value`` of a set."""
    selector, _, wanted = path.partition(":")
    value = json.loads(wanted)
    if selector == "v":
        return [item for item in items if item == value]
    return [
        _owned(item, fields)
        for item in items
        if isinstance(item, Mapping) and all(item.get(name) == part for name, part in value.items())
    ]
