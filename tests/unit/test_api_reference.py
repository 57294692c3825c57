"""The reference page is what the models say, and every link on it leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from boresight_api.base import models_of
from boresight_api.crd import DEFINITIONS
from boresight_api.kinds import KINDS
from boresight_api.reference import main, page

FILE = Path(__file__).parents[2] / "docs" / "api.md"


def test_the_page_is_what_the_models_say() -> None:
    assert main(["--check", str(FILE)]) == 0


def test_a_stale_page_is_noticed_and_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "api.md"
    assert main(["--check", str(file)]) == 1
    assert "run `make crds`" in capsys.readouterr().err
    assert main([str(file)]) == 0
    assert main(["--check", str(file)]) == 0


def test_every_link_leads_to_a_heading() -> None:
    text = page()
    headings = {re.sub(r"[^a-z0-9-]", "", h.lower().replace(" ", "-")) for h in re.findall(r"^#+ (.*)$", text, re.M)}
    assert set(re.findall(r"\(#([^)]*)\)", text)) - headings == set()


def test_every_field_is_on_the_page() -> None:
    text = page()
    rows = set(re.findall(r"^\| \**`([^`]*)`\** \|", text, re.M))
    wanted = {
        field.alias or name
        for kind in KINDS
        for model in models_of(kind)
        if model not in KINDS and model.__name__ != "ObjectMeta"
        for name, field in model.model_fields.items()
    }
    assert wanted - rows == set()


def test_every_kind_has_a_section() -> None:
    assert [d.kind.__name__ for d in DEFINITIONS] == re.findall(r"^## (\w+)$", page(), re.M)[:3]
