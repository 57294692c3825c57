"""One corpus of manifests goes through our own parser and through the API server: both must say the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from apiserver.client import ApiError, Client, Object
from apiserver.control_plane import ControlPlane
from boresight_api.manifest import parse_manifest
from boresight_api.problems import ManifestError
from boresight_operator.api import RUNS
from builders_manifests import GOLDEN, Refused, refused

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
RESOURCES = {resource.kind: resource for resource in RUNS}
PARSER_ALONE = {"label-key"}
"""The API server accepts what only CEL over every key of a map could refuse; the operator then says Accepted=False."""


def dry_run(client: Client, document: Object, validation: str = "Strict") -> Object:
    """As kubectl sends it: unknown fields are an error."""
    resource = RESOURCES[document["kind"]]
    return client.create(resource, "default", document, dryRun="All", fieldValidation=validation)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_admitted(plane: ControlPlane, path: Path) -> None:
    done = plane.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", str(path))
    assert done.returncode == 0, done.stderr
    done = plane.kubectl("apply", "--dry-run=server", "--server-side", "--validate=strict", "-f", str(path))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", GOLDEN)
def test_what_the_parser_takes_the_server_admits_unchanged(client: Client, name: str) -> None:
    parse_manifest(GOLDEN[name])
    assert dry_run(client, GOLDEN[name])["spec"] == GOLDEN[name]["spec"], (
        "no default, nothing pruned, nothing rewritten"
    )


@pytest.mark.parametrize("case", [case for case in refused() if case.at_admission], ids=lambda case: case.name)
def test_what_the_schema_refuses_the_server_refuses(client: Client, case: Refused) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(case.document)
    with pytest.raises(ApiError) as found:
        dry_run(client, case.document)
    assert found.value.code in {400, 422}, "400: an unknown field under strict validation"


def test_the_differences_are_known(client: Client) -> None:
    """A wrong kind or version is refused, though by no schema; what only our parser refuses is listed above."""
    alone = {case.name: case for case in refused() if not case.at_admission}
    assert set(alone) == PARSER_ALONE | {"kind", "version"}
    for name in PARSER_ALONE:
        assert dry_run(client, alone[name].document)["metadata"]["name"]
    for name in ("kind", "version"):
        document = alone[name].document
        group, _, version = document["apiVersion"].partition("/")
        with pytest.raises(ApiError) as found:
            client.call("POST", f"/apis/{group}/{version}/namespaces/default/{document['kind'].lower()}", document)
        assert found.value.code in {404, 422}


def test_a_float_is_refused_however_it_is_written(plane: ControlPlane) -> None:
    document = json.loads(json.dumps(GOLDEN["beta"]))
    text = yaml.safe_dump(document).replace("beta: '0.3'", "beta: 0.3")
    done = plane.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)
    assert done.returncode != 0
    assert "spec.policy.dpo.beta" in done.stderr
