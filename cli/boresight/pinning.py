"""Writing pins into a manifest's text: only the pinned values change, every comment and blank stays where it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import yaml

from .errors import UserError

COMMIT = re.compile(r"^[0-9a-f]{40}$")
FIRST_NAME = re.compile(r"[ \t]+# was (\S+)[ \t]*$")
"""Comment behind a value that replaced a name: ``revision: <commit>  # was main``; ``--update`` resolves that again."""


@dataclass(frozen=True)
class Wanted:
    """What a source is to be pinned to."""

    digest: str | None = None
    revision: str | None = None
    uri: str | None = None
    """For a tag: the artifact that it names."""


@dataclass(frozen=True)
class Place:
    """A source as it stands in the text."""

    uri: str
    revision: str | None
    """As it was before it was pinned: a branch or tag; None for the default branch."""
    files: tuple[str, ...]
    digest: str | None
    line: int


@dataclass(frozen=True)
class Edit:
    """Replace ``text[start:end]``."""

    start: int
    end: int
    replacement: str


Resolve = Callable[[Place], Wanted]


def pinned(text: str, resolve: Resolve, *, recipe: str, update: bool) -> str:
    """``text`` with digest, revision and recipe written in. What is there stays unless ``update``.

    ``resolve`` is asked for every source of the spec, once for each place where it stands. Raises :class:`UserError`.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    spec = _child(root, "spec")
    if not isinstance(root, yaml.MappingNode) or not isinstance(spec, yaml.MappingNode):
        raise UserError("spec: found no mapping, expected a manifest")
    spec_key = next(key for key, value in root.value if value is spec)
    edits = list(_recipe_edits(text, spec_key, spec, recipe, update))
    for mapping in _sources(spec):
        place = _place(text, mapping, update)
        edits += _source_edits(text, mapping, place, resolve(place), update)
    edits.sort(key=lambda e: e.start)  # stable: two at one place keep their order
    for edit in reversed(edits):
        text = text[: edit.start] + edit.replacement + text[edit.end :]
    return text


def _sources(node: yaml.Node, seen: set[int] | None = None) -> Iterator[yaml.MappingNode]:
    """Mappings with a ``uri``, each once however many aliases point at it. ``storage`` is no source."""
    seen = set() if seen is None else seen
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _sources(item, seen)
    elif isinstance(node, yaml.MappingNode):
        if isinstance(_child(node, "uri"), yaml.ScalarNode):
            yield node
        for key, value in node.value:
            if key.value not in {"storage", "compute", "hub"}:
                yield from _sources(value, seen)


def _place(text: str, mapping: yaml.MappingNode, update: bool) -> Place:
    uri, revision, digest = (_scalar(mapping, name) for name in ("uri", "revision", "digest"))
    files = _child(mapping, "files")
    if update and revision is not None and COMMIT.match(revision):
        revision = _first_name(text, mapping, "revision")
    if update and uri is not None and (tag := _first_name(text, mapping, "uri")) is not None:
        uri = tag
    return Place(
        uri=uri or "",
        revision=revision,
        files=tuple(str(item.value) for item in files.value) if isinstance(files, yaml.SequenceNode) else (),
        digest=None if update else digest,
        line=mapping.start_mark.line + 1,
    )


def _recipe_edits(text: str, spec_key: yaml.Node, spec: yaml.MappingNode, recipe: str, update: bool) -> Iterator[Edit]:
    found = _child(spec, "recipe")
    if found is None:
        first = spec.value[0][0].start_mark
        entry = f'recipe: "{recipe}"'
        if spec.flow_style:
            yield Edit(first.index, first.index, f"{entry}, ")
        else:
            end = _line_end(text, spec_key.end_mark.index)
            yield Edit(end, end, f"{_newline(text)}{' ' * first.column}{entry}")
    elif update and found.value != recipe:
        yield _replace(found, f'"{recipe}"')


def _source_edits(text: str, mapping: yaml.MappingNode, place: Place, wanted: Wanted, update: bool) -> Iterator[Edit]:
    uri = _child(mapping, "uri")
    assert uri is not None
    if wanted.uri is not None and wanted.uri != uri.value:
        yield from _rename(text, mapping, uri, wanted.uri, first_name=place.uri)
    for name, value in (("digest", wanted.digest), ("revision", wanted.revision)):
        if value is None:
            continue
        found = _child(mapping, name)
        if found is None:
            yield _insert(text, mapping, uri, f'{name}: "{value}"', place.revision if name == "revision" else None)
        elif name == "revision" and found.value != value:
            yield from _rename(text, mapping, found, f'"{value}"', first_name=place.revision)
        elif update and found.value != value:
            yield _replace(found, f'"{value}"')


def _rename(
    text: str, mapping: yaml.MappingNode, node: yaml.Node, value: str, *, first_name: str | None
) -> Iterator[Edit]:
    """Put ``value`` in the place of a name, which stays behind it as a comment (flow mappings have no room for one)."""
    yield _replace(node, value)
    end = _line_end(text, node.end_mark.index)
    if first_name is not None and not mapping.flow_style and not FIRST_NAME.search(text[node.end_mark.index : end]):
        yield Edit(end, end, f"  # was {first_name}")


def _insert(text: str, mapping: yaml.MappingNode, after: yaml.Node, entry: str, first_name: str | None) -> Edit:
    """Add ``entry`` to ``mapping`` behind the value ``after``."""
    if mapping.flow_style:
        return Edit(after.end_mark.index, after.end_mark.index, f", {entry}")
    column = mapping.value[0][0].start_mark.column
    end = _line_end(text, after.end_mark.index)
    comment = f"  # was {first_name}" if first_name is not None else ""
    return Edit(end, end, f"{_newline(text)}{' ' * column}{entry}{comment}")


def _replace(node: yaml.Node, value: str) -> Edit:
    return Edit(node.start_mark.index, node.end_mark.index, value)


def _first_name(text: str, mapping: yaml.MappingNode, name: str) -> str | None:
    """The name in the comment behind a pinned value."""
    node = _child(mapping, name)
    if node is None:
        return None
    match = FIRST_NAME.search(text[node.end_mark.index : _line_end(text, node.end_mark.index)])
    return match[1] if match else None


def _line_end(text: str, index: int) -> int:
    end = text.find("\n", index)
    end = len(text) if end < 0 else end
    return end - 1 if text[index:end].endswith("\r") else end


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def _scalar(node: yaml.MappingNode, name: str) -> str | None:
    found = _child(node, name)
    return str(found.value) if isinstance(found, yaml.ScalarNode) else None
