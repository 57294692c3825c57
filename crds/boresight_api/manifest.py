"""From a document to a run: strict, and every fault named at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_snake
from pydantic_core import ErrorDetails

from .base import API_VERSION, DECIMAL_PATTERN, DIGEST_PATTERN, NAME_PATTERN, Contract, list_keys, models_in
from .enums import Task
from .kinds import KINDS, AlignmentRun, EvalRun, FeedbackSynthesis, Run
from .kubernetes import LABEL_KEY_PATTERN, LABEL_VALUE_PATTERN, OBJECT_NAME_PATTERN, QUANTITY_PATTERN
from .problems import ManifestError, Problem, closest
from .sources import LIMIT_PATTERN, SOURCE_URI_PATTERN

TASK_ABBREVIATIONS = {
    "".join(word if word == "To" else word[0] for word in re.findall("[A-Z][a-z]+", task)).replace(
        "To", "2"
    ): task.value
    for task in Task
}
"""``TI2T`` -> ``TextImageToText``, as align-anything names its tasks."""

_FORMS = {
    DECIMAL_PATTERN: 'a decimal such as "0.1" or "2e-5"',
    DIGEST_PATTERN: "sha256: and 64 hexadecimal digits",
    NAME_PATTERN: "lower-case letters, digits and -, not at either end",
    OBJECT_NAME_PATTERN: "the name of an object: lower-case letters, digits, - and .",
    LABEL_KEY_PATTERN: "a label's key such as example.com/name",
    LABEL_VALUE_PATTERN: "a label's value: letters, digits, -, _ and .",
    QUANTITY_PATTERN: 'a quantity such as "64" or 800Gi',
    LIMIT_PATTERN: 'a number of rows, or a share such as "25%"',
    SOURCE_URI_PATTERN: "hf://, s3://, pvc:// or embedded:// with what follows, artifact://<64 hexadecimal digits>, "
    "artifact://tags/<name>, file:///absolute/path, or file:path (relative to the manifest)",
}
"""What a pattern asks for, in words."""


def parse_manifest(document: object) -> Run:
    """The run that ``document`` (YAML or JSON as plain data) describes. ``status`` is left out: it is not a wish.

    Raises :class:`ManifestError` with every fault.
    """
    if not isinstance(document, Mapping):
        raise ManifestError([Problem("", _shown(document), "a mapping with apiVersion, kind, metadata and spec")])
    model = _model_of(document)
    wish = _without_nulls({name: value for name, value in document.items() if name != "status"})
    try:
        run = model.model_validate_json(json.dumps(wish), strict=True)
    except TypeError as error:
        raise ManifestError([Problem("", f"a value that JSON does not have ({error})", "plain data")]) from None
    except ValidationError as error:
        raise ManifestError(problems_of(model, error)) from None
    if twice := list(_twice(run.spec, "spec")):
        raise ManifestError(twice)
    return run


def _without_nulls(value: Any) -> Any:
    """``field: null`` is a field that is not there, as the API server has it."""
    if isinstance(value, Mapping):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _twice(value: object, path: str) -> Iterator[Problem]:
    """Items of named lists that have one name: the API server refuses them too."""
    if not isinstance(value, Contract):
        return
    for name, field in type(value).model_fields.items():
        item, place = getattr(value, name), f"{path}.{field.alias or name}"
        keys, seen = list_keys(field), set()
        for index, member in enumerate(item if isinstance(item, tuple) else ()):
            identity = tuple(getattr(member, to_snake(key)) for key in keys)
            if identity in seen:
                yield Problem(f"{place}[{index}]", f"{', '.join(map(_shown, identity))} twice", "different items")
            if keys:
                seen.add(identity)
            yield from _twice(member, f"{place}[{index}]")
        yield from _twice(item, place)


def rebase(document: Any, folder_uri: str) -> Any:
    """``document`` with every ``uri: file:relative/path`` made absolute below ``folder_uri`` (``file:///...``)."""
    if isinstance(document, Mapping):
        return {
            name: _absolute(value, folder_uri)
            if name == "uri" and isinstance(value, str)
            else rebase(value, folder_uri)
            for name, value in document.items()
        }
    if isinstance(document, list):
        return [rebase(item, folder_uri) for item in document]
    return document


def _absolute(uri: str, folder_uri: str) -> str:
    if not uri.startswith("file:") or uri.startswith("file:/"):
        return uri
    path = uri.removeprefix("file:")
    while path.startswith("./"):
        path = path.removeprefix("./")
    return f"{folder_uri.rstrip('/')}/{path}"


def _model_of(document: Mapping[str, Any]) -> type[AlignmentRun] | type[FeedbackSynthesis] | type[EvalRun]:
    problems = []
    kinds = {model.__name__: model for model in KINDS}
    version, kind = document.get("apiVersion"), document.get("kind")
    if version != API_VERSION:
        problems.append(Problem("apiVersion", _shown(version) if version else "nothing", API_VERSION))
    if kind not in kinds:
        guess = closest(str(kind), kinds)
        advice = f"did you mean {guess}?" if guess else ""
        found = _shown(kind) if kind is not None else "nothing"
        problems.append(Problem("kind", found, "one of " + ", ".join(kinds), advice))
    if problems:
        raise ManifestError(problems)
    return kinds[str(kind)]


def problems_of(model: type[BaseModel], error: ValidationError) -> list[Problem]:
    """What pydantic found wrong with a document of ``model``, in our words: path, found, expected, advice."""
    faults = error.errors(include_url=False)
    places = [fault["loc"] for fault in faults]
    problems = [
        _problem(model, fault)
        for fault in faults
        # A list counts only its valid items: with a faulty one inside it may look too short.
        if fault["type"] != "too_short" or not any(_inside(place, fault["loc"]) for place in places)
    ]
    return list(dict.fromkeys(problems))


def _inside(place: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


_BOUNDS = {
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} character(s)",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} item(s)",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "text",
    "bool_type": "true or false",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}
"""What pydantic's error types ask for, in words."""


def _problem(model: type[BaseModel], fault: ErrorDetails) -> Problem:
    location = tuple(part for part in fault["loc"] if part != "[key]")
    path, value, context = _path(location), fault["input"], fault.get("ctx", {})
    found = _shown(value)
    match fault["type"]:
        case "missing":
            return Problem(path, "nothing", "a value", "add it: it is required")
        case "extra_forbidden":
            return _unknown_field(model, location, path)
        case "enum" | "literal_error":
            return _wrong_word(path, fault, found)
        case "string_pattern_mismatch":
            return Problem(path, found, _FORMS.get(str(context["pattern"]), f"text like {context['pattern']}"))
        case "string_type" if isinstance(value, int | float) and not isinstance(value, bool):
            return Problem(path, found, advice=f'write "{value}" with quotes')
        case "int_type" if isinstance(value, str) and re.fullmatch("[0-9]+", value):
            return Problem(path, f"the text {found}", "a whole number", "leave the quotes out")
        case "value_error":
            return _own_words(path, str(context["error"]))
        case kind if kind in _BOUNDS:
            return Problem(path, found, _BOUNDS[kind].format(**context))
        case _:
            return Problem(path, found, fault["msg"])


def _own_words(path: str, message: str) -> Problem:
    """A fault that a validator of ours put into words: ``[field: ]found ..., expected ...``."""
    field, separator, rest = message.partition(": ")
    if separator and re.fullmatch(r"[A-Za-z0-9.\[\]/_-]+", field):
        path, message = f"{path}.{field}", rest
    found, separator, rest = message.partition(", ")
    if found.startswith("found ") and separator:
        return Problem(path, found.removeprefix("found "), advice=rest)
    return Problem(path, "", advice=message)


def _unknown_field(model: type[BaseModel], location: tuple[int | str, ...], path: str) -> Problem:
    holder = _model_at(model, location[:-1])
    known = [field.alias or name for name, field in holder.model_fields.items()] if holder else []
    guess = closest(str(location[-1]), known)
    expected = f'"{guess}"' if guess else "one of " + ", ".join(known) if known else ""
    return Problem(
        path, "an unknown field", expected, "did you mean that?" if guess else "remove it or correct its name"
    )


def _wrong_word(path: str, fault: ErrorDetails, found: str) -> Problem:
    expected = str(fault.get("ctx", {}).get("expected", ""))
    known = re.findall(r"'([^']*)'", expected)
    word = str(fault["input"])
    guess = (TASK_ABBREVIATIONS.get(word.upper()) if path == "spec.task" else None) or closest(word, known)
    return Problem(path, found, "one of " + ", ".join(known), f"did you mean {guess}?" if guess else "")


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that stands at ``location`` of a document of ``model``."""
    current: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int):
            continue
        fields = {field.alias or name: field for name, field in current.model_fields.items()} if current else {}
        current = next(models_in(fields[part].annotation), None) if part in fields else None
    return current


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".")


def _shown(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{value[:80]}..."' if len(value) > 80 else f'"{value}"'
        case int() | float():
            return f"the number {value}"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__}"
