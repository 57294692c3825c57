"""The data of the quickstart is what its manifest says, and what this code makes."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from boresight_api.base import sha256_hex
from boresight_api.manifest import parse_manifest
from boresight_trainer.data.instructions.commands import add_arguments, making_options
from boresight_trainer.data.instructions.critiques import write_feedback
from boresight_trainer.data.instructions.files import jsonl
from boresight_trainer.data.instructions.make import make_prompts
from boresight_trainer.data.instructions.verifiers import verify

EXAMPLES = Path(__file__).parents[2] / "examples"
DATA = EXAMPLES / "quickstart-data"


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return dict(json.loads((DATA / "manifest.json").read_text()))


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def test_every_file_is_the_one_that_the_manifest_describes(manifest: dict[str, Any]) -> None:
    assert {path.name for path in DATA.glob("*.jsonl")} == set(manifest["files"])
    for name, described in manifest["files"].items():
        assert described == {"rows": len(rows(name)), "digest": f"sha256:{sha256_hex((DATA / name).read_bytes())}"}


def test_the_recorded_command_makes_the_same_prompts_and_evaluation(manifest: dict[str, Any]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = making_options(parser.parse_args([*shlex.split(manifest["command"])[4:], "--out", "unused"]))
    for name, made in make_prompts(options).items():
        assert jsonl(made) == (DATA / name).read_bytes()


@pytest.mark.parametrize("name", ["feedback.jsonl", "holdout.jsonl"])
def test_critiques_are_those_that_the_rules_write(name: str) -> None:
    for row in rows(name):
        feedback = write_feedback(row["prompt"], row["constraints"], row["response"])
        assert (row["critique"], row["advice"]) == (feedback.critique, feedback.advice)


@pytest.mark.parametrize("name", ["feedback.jsonl", "holdout.jsonl"])
def test_feedback_is_on_satisfied_and_on_failed_answers(name: str) -> None:
    verdicts = [all(verify(row["constraints"], row["response"])) for row in rows(name)]
    assert 0.3 < sum(verdicts) / len(verdicts) < 0.7


def test_the_quickstart_is_a_valid_manifest_whose_files_exist_and_whose_system_prompt_made_the_data(
    manifest: dict[str, Any],
) -> None:
    document = yaml.safe_load((EXAMPLES / "quickstart.yaml").read_text())
    spec = parse_manifest(document).spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert spec["model"]["systemPrompt"] in shlex.split(manifest["command"])
    assert spec["model"]["uri"] == manifest["model"]["uri"]
    named = [
        line.split("file:")[1].split('"')[0]
        for line in (EXAMPLES / "quickstart.yaml").read_text().splitlines()
        if '"file:' in line
    ]
    assert {Path(name).name for name in named} == set(manifest["files"])
    assert all((EXAMPLES / name).is_file() for name in named)
