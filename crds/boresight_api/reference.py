"""The reference page, generated: ``python -m boresight_api.reference FILE`` writes it, ``--check FILE`` compares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from .base import DECIMAL_PATTERN, Contract, FieldClass, field_class, models_in
from .descriptions import describe, describe_field
from .kinds import KINDS
from .outcome import ExitCode
from .runnable import NOT_YET
from .structural import structural_schema

INTRODUCTION = """\
# API reference: `boresight.dev/v1alpha1`

Generated from the models in `crds/boresight_api` by `make crds`; do not edit. `kubectl explain alignmentrun.spec` says
the same. What a run is for is in the [README](../README.md); this page says what each field means.

Three kinds: [AlignmentRun](#alignmentrun) aligns a model, [FeedbackSynthesis](#feedbacksynthesis) makes preference
pairs, [EvalRun](#evalrun) measures models side by side. All three become stages; a stage whose key is in the store is
not run again.

How to read the tables:

- **Key**: a field marked ● says *what* is computed and enters the key of the stages that read it; changing it runs them
  again. A field without the mark says *where and how* (or, as `uri` and `revision`, where to look for what `digest`
  identifies); changing it runs nothing again.
- A field in **bold** is required; every other has the default that its text names. Defaults that decide a result belong
  to the recipe version (`spec.recipe`), not to the schema; `boresight plan FILE -o yaml` prints them filled in.
- A *decimal* is an integer or text: `1`, `"0.1"`, `"2e-5"`. Numbers with a point or an exponent need quotes: the API
  has no floating-point numbers.
- Unknown fields are refused.
"""


def page() -> str:
    """The whole page as Markdown."""
    shown: set[type[Contract]] = set()
    parts = [INTRODUCTION]
    for kind in KINDS:
        parts.append(f"## {kind.__name__}\n\n{describe(kind)}\n")
        parts += _sections(_spec_of(kind), shown, heading=f"{kind.__name__}.spec")
    status = KINDS[0].model_fields["status"].annotation
    parts.append(
        "## Status\n\nOf all three kinds: a view of the store and the cluster. Nobody writes it but Boresight.\n"
    )
    parts += _sections(next(models_in(status)), shown, heading="status")
    parts += [_exit_codes(), f"## What this release does not run yet\n\n{NOT_YET}"]
    return "\n".join(parts)


def _spec_of(kind: type[Contract]) -> type[Contract]:
    return next(models_in(kind.model_fields["spec"].annotation))


def _sections(root: type[Contract], shown: set[type[Contract]], heading: str) -> Iterator[str]:
    """A table for ``root`` and for each model below it that has none yet, in the order in which they are met."""
    queue = [root]
    for model in queue:
        if model in shown:
            continue
        shown.add(model)
        title = heading if model is root else model.__name__
        yield f"### {title}\n\n{describe(model)}\n\n{_table(model)}\n"
        queue += [inner for field in _fields(model).values() for inner in models_in(field.annotation)]


def _fields(model: type[Contract]) -> dict[str, FieldInfo]:
    """The fields of ``model`` in the order of interest: required, semantic, operational."""

    def interest(item: tuple[str, FieldInfo]) -> int:
        return 0 if item[1].is_required() else 1 if field_class(item[1]) is FieldClass.SEMANTIC else 2

    return dict(sorted(model.model_fields.items(), key=interest))


def _table(model: type[Contract]) -> str:
    schema = structural_schema(model)
    lines = ["| Field | Type | Key | Meaning |", "|---|---|---|---|"]
    for name, field in _fields(model).items():
        alias = field.alias or name
        shown = f"**`{alias}`**" if alias in schema.get("required", ()) else f"`{alias}`"
        key = "●" if field_class(field) is FieldClass.SEMANTIC else ""
        kind = _type(schema["properties"][alias], next(models_in(field.annotation), None))
        lines.append(f"| {shown} | {kind} | {key} | {_cell(describe_field(model, name))} |")
    return "\n".join(lines)


def _type(schema: dict[str, Any], model: type[Contract] | None) -> str:
    """The type of a field in a few words; a model is a link to its table."""
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'], model)}"
    if "additionalProperties" in schema:
        return f"map to {_type(schema['additionalProperties'], None)}"
    if model is not None:
        return f"[{model.__name__}](#{model.__name__.lower()})"
    if "enum" in schema:
        return " \\| ".join(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return _decimal(schema) if schema["pattern"] == DECIMAL_PATTERN else "integer or text"
    if schema["type"] == "integer":
        return f"integer, {_number(schema['minimum'])} to {_number(schema['maximum'])}"
    return {"string": "text", "boolean": "true \\| false"}[schema["type"]]


def _decimal(schema: dict[str, Any]) -> str:
    messages = [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]
    return ", ".join(["decimal", *(message.removeprefix("expected a number ") for message in messages)])


def _number(value: int) -> str:
    return f"{value:,}" if value < 2**31 - 1 else "2³¹-1" if value == 2**31 - 1 else "2⁵³"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _exit_codes() -> str:
    lines = ["## Exit codes", "", "Of a stage's process, and of `boresight run`.", ""]
    lines += ["| Code | Failure class |", "|---|---|"]
    lines += [f"| {code.value} | {code.failure_class.value if code.failure_class else 'done'} |" for code in ExitCode]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with ``--check`` say whether it differs."""
    parser = argparse.ArgumentParser(prog="python -m boresight_api.reference", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file differs")
    options = parser.parse_args(arguments)
    text = page()
    if not options.check:
        options.file.write_text(text, encoding="utf-8")
        return 0
    if options.file.exists() and options.file.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{options.file}: not what the models say; run `make crds`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
