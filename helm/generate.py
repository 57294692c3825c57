"""Writes what of the chart is not written by hand: the CRDs, and the schema of ``settings`` in ``values.schema.json``.

``python helm/generate.py`` writes, ``--check`` compares (``make crds`` and ``make lint``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boresight_api.crd import DEFINITIONS, render
from boresight_operator.settings import Settings
from pydantic.alias_generators import to_camel

CHART = Path(__file__).parent / "boresight"
OF_THE_POD = {"pod_name", "identity", "lease_namespace"}
"""Settings that each pod has for itself."""

Schema = dict[str, Any]


def generated() -> Iterator[tuple[Path, str]]:
    """Files and what they should hold."""
    for definition in DEFINITIONS:
        yield CHART / "files" / "crds" / definition.file_name, render(definition)
    path = CHART / "values.schema.json"
    yield path, json.dumps(_with_settings(json.loads(path.read_text(encoding="utf-8"))), indent=2) + "\n"


def _with_settings(values: Schema) -> Schema:
    """The schema of the values with that of the settings in its place. Draft 7, for older releases of Helm."""
    settings = _plain(Settings.model_json_schema(by_alias=True))
    definitions = settings.pop("definitions")
    fields = {name: field for name, field in settings["properties"].items() if name not in OF_THE_POD}
    settings["properties"] = {to_camel(name): field for name, field in fields.items()}
    settings["properties"]["namespaces"] = {
        **settings["properties"]["namespaces"],
        "additionalProperties": {"$ref": "#/definitions/NamespaceSettings"},
    }
    settings["properties"]["namespaces"].pop("patternProperties")
    settings["properties"]["metricsPort"]["minimum"] = 1  # the Service has to know it
    words = {"type": "object", "additionalProperties": {"type": "string"}}
    definitions = {"Words": words, **definitions}
    return {**values, "properties": {**values["properties"], "settings": settings}, "definitions": definitions}


def _plain(schema: Any) -> Any:
    """Without titles and defaults (the operator knows them), and with the names of draft 7."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema.replace("#/$defs/", "#/definitions/") if isinstance(schema, str) else schema
    if "$ref" in schema:
        return {"$ref": _plain(schema["$ref"])}
    found = {}
    for key, value in schema.items():
        if key in {"properties", "$defs", "patternProperties"}:
            found["definitions" if key == "$defs" else key] = {name: _plain(item) for name, item in value.items()}
        elif key not in {"title", "default", "description", "examples"}:
            found[key] = _plain(value)
    return found


def main() -> int:
    """Write, or with ``--check`` say which files differ."""
    parser = argparse.ArgumentParser(prog="python helm/generate.py", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    check = parser.parse_args().check
    stale = []
    for path, text in generated():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(CHART.parent).as_posix())
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check and stale:
        sys.stderr.write(f"helm: {', '.join(stale)}: not what the models say; run `make crds`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
