"""The examples are manifests that work as they stand."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from boresight_api.documents import load_documents
from boresight_api.manifest import parse_manifest, rebase
from boresight_api.plan import plan

EXAMPLES = Path(__file__).parents[2] / "examples"
OTHERS = {EXAMPLES / "monitoring"}
"""What other programs read, whose own tests try it."""
FILES = sorted(
    path for path in EXAMPLES.rglob("*.yaml") if path.name != "kustomization.yaml" and path.parent not in OTHERS
)


def test_there_are_examples() -> None:
    assert EXAMPLES / "smallest.yaml" in FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_can_be_planned_and_its_local_files_are_there(file: Path) -> None:
    for document in load_documents(file.read_text(encoding="utf-8")):
        run = parse_manifest(rebase(document, file.parent.as_uri()))
        made = plan(run)
        assert made.stages
        for source in made.sources:
            if source.uri.startswith("file:"):
                assert Path(unquote(urlsplit(source.uri).path)).exists(), source.uri
