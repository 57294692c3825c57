"""JSON schemas of Kubernetes' own kinds and of the Prometheus operator's, from the modules that publish them.

kubeconform would fetch such files one by one; here they come with the Go modules, whose sums ``published/go.sum`` pins.
Unknown fields are faults, as with ``kubectl --validate=strict``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from kits.go_programs import Say, cache_root, locked, module_folder

PUBLISHED = Path(__file__).parent / "published"
KUBERNETES = "k8s.io/kubernetes"
PROMETHEUS = "github.com/prometheus-operator/prometheus-operator"
LOCATION = "{{ .ResourceKind }}{{ .KindSuffix }}.json"
"""Names of the files, as kubeconform spells them: ``deployment-apps-v1.json``."""

Schema = dict[str, Any]


def find_or_make(say: Say) -> Path:
    """The folder of the schemas. Raises RuntimeError or FileNotFoundError with what to do about it."""
    folder = cache_root() / "schemas" / _digest()
    with locked(folder):
        if not folder.exists():
            say(
                f"making JSON schemas of Kubernetes' kinds for the tests, once (seconds, after a download), in {folder}"
            )
            _make(folder)
    return folder


def crd_files() -> tuple[Path, ...]:
    """The CRDs of the Prometheus operator that the chart has objects of."""
    folder = module_folder(PROMETHEUS, PUBLISHED) / "example" / "prometheus-operator-crd"
    plurals = ("servicemonitors", "podmonitors", "prometheusrules")
    return tuple(folder / f"monitoring.coreos.com_{plural}.yaml" for plural in plurals)


def _digest() -> str:
    files = (Path(__file__), PUBLISHED / "go.mod", PUBLISHED / "go.sum")
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def _make(folder: Path) -> None:
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    swagger = json.loads((module_folder(KUBERNETES, PUBLISHED) / "api" / "openapi-spec" / "swagger.json").read_text())
    for name, schema in (*_of_swagger(swagger["definitions"]), *map(_of_crd, crd_files())):
        (new / name).write_text(json.dumps(schema))
    new.rename(folder)


# -- Kubernetes' own -------------------------------------------------------------------------------------------------


def _of_swagger(definitions: Mapping[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """Every kind, each with the definitions that it needs."""
    strict = {name: _without_words(definition) for name, definition in definitions.items()}
    strict["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"type": ["string", "number"]}  # as its decoder has it
    for name, definition in definitions.items():
        kinds = definition.get("x-kubernetes-group-version-kind", [])
        if len(kinds) != 1 or "metadata" not in definition.get("properties", {}):
            continue  # lists, options and what exists in many groups
        yield _file_name(**kinds[0]), {**strict[name], "definitions": {n: strict[n] for n in _reached(strict, name)}}


def _without_words(schema: Any) -> Any:
    """Without descriptions; an object takes the fields that it names and no other."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    found = {key: value for key, value in schema.items() if key != "description" and not key.startswith("x-")}
    if "properties" in found:
        found["properties"] = {name: _without_words(value) for name, value in found["properties"].items()}
        found.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = _without_words(found[key])
    return found


def _reached(definitions: Mapping[str, Schema], start: str) -> set[str]:
    found: set[str] = set()
    queue = [start]
    while queue:
        for name in _references(definitions[queue.pop()]):
            if name not in found:
                found.add(name)
                queue.append(name)
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


# -- custom resources ------------------------------------------------------------------------------------------------


def _of_crd(path: Path) -> tuple[str, Schema]:
    spec = yaml.safe_load(path.read_text())["spec"]
    version = next(version for version in spec["versions"] if version["storage"])
    name = _file_name(group=spec["group"], version=version["name"], kind=spec["names"]["kind"])
    schema = _structural(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return name, schema


def _structural(schema: Any) -> Any:
    """OpenAPI 3 as JSON Schema: what is nullable, and integers that may be strings."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    found = {key: value for key, value in schema.items() if key != "description" and not key.startswith("x-")}
    if "properties" in found:
        found["properties"] = {name: _structural(value) for name, value in found["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = _structural(found[key])
    return found


def _file_name(group: str, version: str, kind: str) -> str:
    parts = [kind.lower(), group.partition(".")[0], version]
    return "-".join(part for part in parts if part) + ".json"
