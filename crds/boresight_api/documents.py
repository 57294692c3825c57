"""YAML as kubectl and Helm read it (sigs.k8s.io/yaml: YAML 1.1 with its own numbers, then JSON), duplicates refused.

So ``2e-5`` is a number here although YAML 1.1 (and PyYAML) calls it text, ``1e5`` and ``1.0`` are whole numbers,
``0o17`` and ``017`` are 15, ``1_000`` is 1000, ``1:30`` is text, and ``y``, ``no`` and ``On`` are booleans. What holds
here holds for ``kubectl apply``; a table of cases with kubectl's answers is a test.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from .problems import ManifestError, Problem

MAX_NODES = 100_000
"""Of one document, aliases expanded: a manifest has hundreds."""

_PLAIN = "!plain"
_PREFIX = "tag:yaml.org,2002:"
_BOOLEANS = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NULLS = ("", "~", "null", "Null", "NULL")
_TAGGED: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INTEGERS = (
    (re.compile(r"([-+]?)0[xX]([0-9a-fA-F]+)"), 16),
    (re.compile(r"([-+]?)0[bB]([01]+)"), 2),
    (re.compile(r"([-+]?)0[oO]?([0-7]+)"), 8),
    (re.compile(r"([-+]?)([1-9][0-9]*|0)"), 10),
)


class _Loader(yaml.SafeLoader):
    """Marks what stands without quotes and without a tag, instead of guessing its type."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]


def load_yaml(text: str) -> dict[str, Any]:
    """The one mapping in ``text``. Raises :class:`ManifestError`, naming the line."""
    documents = load_documents(text)
    if len(documents) != 1:
        advice = "separate files are clearer" if documents else "`boresight init` writes the smallest manifest"
        found = f"{len(documents)} documents" if documents else "nothing"
        raise ManifestError([Problem("", found, "one document", advice)])
    return documents[0]


def load_documents(text: str) -> list[dict[str, Any]]:
    """All mappings in ``text``, which ``---`` separates; empty documents are skipped. Raises :class:`ManifestError`."""
    documents = []
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            value = _Reader().value(node)
            if value is None:
                continue
            if not isinstance(value, dict):
                raise _fault(node, f"a {type(value).__name__}", "a mapping")
            documents.append(value)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ManifestError(
            [Problem(line, error.problem or "no YAML", "YAML", "check indentation and quotes")]
        ) from None
    except yaml.YAMLError as error:
        raise ManifestError([Problem("", f"no YAML ({' '.join(str(error).split())})")]) from None
    return documents


def dump_yaml(document: Mapping[str, Any]) -> str:
    """YAML in which everybody reads the same: PyYAML alone leaves ``n`` and ``2e-5`` without quotes, which are text to
    itself, and ``false`` and a number to kubectl and Helm."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Quotes what would be read as something else than text."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if _plain(text) == text else "'"
    return dumper.represent_scalar(f"{_PREFIX}str", text, style=style)


_Dumper.add_representer(str, _represent_text)


class _Reader:
    """Turns the nodes of one document into plain data."""

    def __init__(self) -> None:
        self._count = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        self._count += 1
        if self._count > MAX_NODES:
            raise _fault(node, f"more than {MAX_NODES} values", "a manifest")
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if id(node) in self._open:
            raise _fault(node, "an anchor that contains itself", "data without cycles")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                _refuse_tag(node, "seq")
                return [self.value(item) for item in node.value]
            return self._mapping(node)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node) -> dict[str, Any]:
        _refuse_tag(node, "map")
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag == _PLAIN and key_node.value == "<<":
                entries = [entry for merged in self._merged(value_node) for entry in merged.items()]
            else:
                entries = [(_key(key_node), self.value(value_node))]
            for key, value in entries:
                if key in result:
                    raise _fault(key_node, f'"{key}" twice in one mapping', "each name once")
                result[key] = value
        return result

    def _merged(self, node: yaml.Node) -> list[dict[str, Any]]:
        value = self.value(node)
        mappings = value if isinstance(value, list) else [value]
        if not all(isinstance(mapping, dict) for mapping in mappings):
            raise _fault(node, "something else", "a mapping, or a list of them, after <<")
        return mappings


def _scalar(node: yaml.ScalarNode) -> Any:
    text = str(node.value)
    kind = node.tag.removeprefix(_PREFIX)
    if kind == "str":
        return text
    value = _plain(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise _fault(node, f"the number {text}", "a finite number")
    if kind == _PLAIN:
        return value
    if kind not in _TAGGED:
        raise _fault(node, f"the tag {node.tag}", "no tags")
    if not isinstance(value, _TAGGED[kind]):
        raise _fault(node, f'"{text}" with the tag !!{kind}', "a value of that kind")
    return value


def _plain(text: str) -> bool | int | float | str | None:
    """A scalar without quotes, as go-yaml v2 resolves it; a float that JSON would print whole is an integer."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _NOT_FINITE.fullmatch(text):
        return math.nan
    if text[0] not in "0123456789+-.":
        return text
    digits = text.replace("_", "")
    for pattern, base in _INTEGERS:
        if match := pattern.fullmatch(digits):
            number = int(match[1] + match[2], base)
            if -(2**63) <= number < 2**64:
                return number
    if not _FLOAT.fullmatch(digits) or math.isinf(real := float(digits)):
        return text
    return int(real) if real.is_integer() and abs(real) < 1e21 else real


def _key(node: yaml.Node) -> str:
    """A key as JSON has it: text."""
    if not isinstance(node, yaml.ScalarNode):
        raise _fault(node, "a list or mapping as a name", "text")
    value = _scalar(node)
    match value:
        case None:
            raise _fault(node, "null as a name", "text")
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)


def _refuse_tag(node: yaml.Node, kind: str) -> None:
    if node.tag != _PREFIX + kind:
        raise _fault(node, f"the tag {node.tag}", "no tags")


def _fault(node: yaml.Node, found: str, expected: str) -> ManifestError:
    return ManifestError([Problem(f"line {node.start_mark.line + 1}", found, expected)])
