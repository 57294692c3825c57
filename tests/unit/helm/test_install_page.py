"""docs/install.md: every set of values in it is one that the chart and the operator take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from boresight_operator.settings import CONFIG_VARIABLE, load_settings
from kits.chart import CHART, Helm

PAGE = (CHART.parents[1] / "docs" / "install.md").read_text()
VALUES = re.findall(r"```yaml\n# values\.yaml\n(.*?)```", PAGE, re.DOTALL)


def test_every_yaml_on_the_page_is_values() -> None:
    assert len(VALUES) == PAGE.count("```yaml") >= 6


@pytest.mark.parametrize("text", VALUES, ids=[str(number) for number in range(len(VALUES))])
def test_values_on_the_page_install(helm: Helm, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rendering = helm.render(yaml.safe_load(text), crds=True)
    (tmp_path / "settings.yaml").write_text(rendering.settings)
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "settings.yaml"))
    load_settings()


def test_all_of_them_together_install(helm: Helm) -> None:
    together: dict[str, Any] = {}
    for text in VALUES:
        together = _merged(together, yaml.safe_load(text))
    together["settings"]["namespaces"] = {}  # those of tenants are not among the watched ones of another section
    assert helm.render(together).all("CronJob")


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _merged(merged.get(key) or {}, value) if isinstance(value, dict) else value
    return merged
