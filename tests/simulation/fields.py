"""Server-side apply: who owns which field, what a merge keeps and what it takes away (structured-merge-diff).

A field set is Kubernetes' own ``fieldsV1``: nested mappings with ``f:<field>``, ``k:<json of keys>`` and ``v:<json>``,
where ``{}`` is a leaf and ``.`` marks that the holder itself is owned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .schema import Shape

Fields = dict[str, Any]


def is_leaf(value: Any, shape: Shape) -> bool:
    """Whether ``value`` is owned as one."""
    if shape.atomic:
        return True
    if isinstance(value, Mapping):
        return False
    if isinstance(value, list):
        return not (shape.keys or shape.is_set)
    return True


def item_element(item: Any, shape: Shape) -> str:
    """Path element of an item of a list-map or a set."""
    if shape.is_set:
        return "v:" + json.dumps(item, separators=(",", ":"))
    keys = {key: item[key] for key in sorted(shape.keys) if key in item}
    return "k:" + json.dumps(keys, separators=(",", ":"))


def fields_of(value: Any, shape: Shape) -> Fields:
    """The set of all fields in ``value``, as an apply owns them."""
    found: Fields = {}
    if isinstance(value, Mapping):
        for name, item in value.items():
            below = shape.at(name)
            if is_leaf(item, below) or not item:
                if item or not isinstance(item, list) or is_leaf(item, below):
                    found[f"f:{name}"] = {}
                continue
            found[f"f:{name}"] = fields_of(item, below)
    elif isinstance(value, list):
        for item in value:
            inner = {} if shape.is_set else {".": {}, **fields_of(item, shape.values or Shape())}
            found[item_element(item, shape)] = inner
    return found


def union(a: Fields, b: Fields) -> Fields:
    """Fields of either."""
    return {
        name: union(a[name], b[name]) if name in a and name in b else a.get(name, b.get(name)) for name in {**a, **b}
    }


def without(a: Fields, b: Fields) -> Fields:
    """Fields of ``a`` that are not in ``b``."""
    kept: Fields = {}
    for name, below in a.items():
        if name not in b:
            kept[name] = below
        elif below and (rest := without(below, b[name])):
            kept[name] = rest
    return kept


def leaves(fields: Fields, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Paths of everything owned but the holders themselves."""
    found: set[tuple[str, ...]] = set()
    for name, below in fields.items():
        if name == ".":
            continue
        inner = leaves(below, (*path, name)) if below else set()
        found |= inner or {(*path, name)}
    return found


def merged(live: Any, applied: Any, shape: Shape) -> Any:
    """``applied`` over ``live``: maps field by field, list-maps item by item, all else replaced."""
    if is_leaf(applied, shape) or type(live) is not type(applied):
        return applied
    if isinstance(applied, Mapping):
        names = [*live, *(name for name in applied if name not in live)]
        return {
            name: merged(live[name], applied[name], shape.at(name))
            if name in live and name in applied
            else applied.get(name, live.get(name))
            for name in names
        }
    return _merged_lists(live, applied, shape)


def _merged_lists(live: list[Any], applied: list[Any], shape: Shape) -> list[Any]:
    """Applied items in their order; items that only ``live`` has stay behind the item they followed."""
    old = {item_element(item, shape): item for item in live}
    new = {item_element(item, shape): item for item in applied}
    after: dict[str | None, list[Any]] = {}
    last: str | None = None
    for element, item in old.items():
        if element in new:
            last = element
        else:
            after.setdefault(last, []).append(item)
    result = list(after.get(None, ()))
    below = shape.values or Shape()
    for element, item in new.items():
        result.append(merged(old[element], item, below) if element in old else item)
        result.extend(after.get(element, ()))
    return result


def removed(value: Any, gone: Fields, kept: Fields, shape: Shape) -> Any:
    """``value`` without the fields of ``gone``, but with everything that ``kept`` (other owners) has."""
    if isinstance(value, Mapping):
        result: dict[str, Any] = {}
        for name, item in value.items():
            element = f"f:{name}"
            if element not in gone:
                result[name] = item
                continue
            rest = _removed_item(item, gone[element], kept.get(element), shape.at(name))
            if rest is not None:
                result[name] = rest
        return result
    if isinstance(value, list):
        items = []
        for item in value:
            element = item_element(item, shape)
            if element not in gone:
                items.append(item)
            elif "." in gone[element] and "." not in kept.get(element, {}):
                continue  # nobody else owns the item itself: what others own in it goes too
            elif shape.is_set:
                items.append(item)
            else:
                keys = {f"f:{key}": {} for key in shape.keys}
                rest = without(gone[element], keys)
                items.append(removed(item, rest, kept.get(element, {}), shape.values or Shape()))
        return items
    return value


def _removed_item(item: Any, gone: Fields, kept: Fields | None, shape: Shape) -> Any:
    """None if nothing is left."""
    if is_leaf(item, shape) or not gone:
        return item if kept is not None else None
    rest = removed(item, gone, kept or {}, shape)
    return rest if rest or kept is not None else None


def changed(old: Any, new: Any, shape: Shape) -> Fields:
    """Fields that an update added or gave another value."""
    if is_leaf(new, shape) or type(old) is not type(new):
        return {}
    found: Fields = {}
    if isinstance(new, Mapping):
        for name, item in new.items():
            below = shape.at(name)
            if name not in old:
                found[f"f:{name}"] = {} if is_leaf(item, below) else {".": {}, **fields_of(item, below)}
            elif is_leaf(item, below) or type(item) is not type(old[name]):
                if item != old[name]:
                    found[f"f:{name}"] = {}
            elif inner := changed(old[name], item, below):
                found[f"f:{name}"] = inner
        return found
    before = {item_element(item, shape): item for item in old}
    for item in new:
        element = item_element(item, shape)
        if element not in before:
            found[element] = {} if shape.is_set else {".": {}, **fields_of(item, shape.values or Shape())}
        elif not shape.is_set and (inner := changed(before[element], item, shape.values or Shape())):
            found[element] = inner
    return found


def present(fields: Fields, value: Any, shape: Shape) -> Fields:
    """The part of ``fields`` that ``value`` still has."""
    kept: Fields = {}
    if isinstance(value, Mapping):
        for name, item in value.items():
            element = f"f:{name}"
            if element in fields:
                below = fields[element]
                kept[element] = (
                    present(below, item, shape.at(name)) if below and not is_leaf(item, shape.at(name)) else {}
                )
                if below and not kept[element] and not is_leaf(item, shape.at(name)):
                    del kept[element]
    elif isinstance(value, list):
        for item in value:
            element = item_element(item, shape)
            if element in fields:
                kept[element] = {} if shape.is_set else present(fields[element], item, shape.values or Shape())
    if "." in fields:
        kept["."] = {}
    return kept
