"""``boresight run`` with real processes, on the embedded tiny model: end to end, cached, interrupted, resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from boresight.records import RunFolder, RunRecord, State
from boresight_trainer.store.file import FileStore
from builders_cli import a_manifest_file

SHORT = """\
  feedbackModel: {training: {epochs: 1, globalBatch: 16, maxLength: 1024}}
  synthesis:
    sampling: {maxTokens: 12}
    critiqueSampling: {maxTokens: 12}
    refinementSampling: {maxTokens: 12}
    filters: {unparsable: Keep, keepIt: Keep, truncated: Keep, leaked: Keep}  # random weights write no critiques
  evaluation: {sampling: {maxTokens: 12}}
"""


def command(store: Path, *arguments: str) -> tuple[list[str], Mapping[str, str]]:
    environment = {**os.environ, "BORESIGHT_STORE": str(store), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return [sys.executable, "-m", "boresight.main", *arguments], environment


def boresight(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    words, environment = command(store, *arguments)
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)


def record_of(store: Path, name: str) -> RunRecord:
    record = RunFolder(store / "runs" / "default" / name).read()
    assert record is not None
    return record


def digests(store: Path, name: str, stage: str) -> dict[str, str]:
    """File -> digest of the stage's artifact."""
    found = record_of(store, name).stage(stage)
    assert found is not None
    manifest = FileStore(store.as_uri()).manifest(str(found.key))
    assert manifest is not None
    return {file.path: file.digest for file in manifest.files}


def wait_for_step(store: Path, name: str, step: int) -> None:
    """Until a stage of the run has done ``step`` optimizer steps."""
    deadline = time.monotonic() + 240
    attempts = store / "runs" / "default" / name / "attempts"
    while time.monotonic() < deadline:
        for path in attempts.glob("feedback-model-*/progress.json"):
            progress = json.loads(path.read_text())
            if progress["phase"] == "train" and progress["step"] >= step:
                return
        time.sleep(0.02)
    raise AssertionError(f"no stage of {name} reached step {step}")


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been_interrupted(tmp_path: Path) -> None:
    more = "  stopAfter: FeedbackModel\n  feedbackModel: {training: {epochs: 6, globalBatch: 4, maxLength: 1024}}\n"
    path = a_manifest_file(tmp_path, more=more)
    interrupted, straight = tmp_path / "interrupted", tmp_path / "straight"

    words, environment = command(interrupted, "run", str(path))
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        wait_for_step(interrupted, "first", 5)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert f"`boresight run {path}` goes on from here" in shown
    stage = record_of(interrupted, "first").stage("feedback-model")
    assert stage is not None
    assert stage.state is State.INTERRUPTED
    stopped_at = stage.attempts[0].step
    assert stopped_at is not None
    assert stopped_at >= 5

    resumed = boresight(interrupted, "run", str(path))
    assert resumed.returncode == 0, resumed.stderr
    log = (interrupted / "runs/default/first/attempts").glob("feedback-model-*-2/log.txt")
    assert f"resumed at step {stopped_at}" in next(log).read_text()
    assert boresight(straight, "run", str(path)).returncode == 0
    ours, theirs = digests(interrupted, "first", "feedback-model"), digests(straight, "first", "feedback-model")
    weights = [name for name in ours if name.endswith(".safetensors")]
    assert weights
    assert all(ours[name] == theirs[name] for name in weights), "bit-identical on a CPU"
    assert not list((interrupted / "checkpoints").glob("*/*")), "a published stage leaves no checkpoints"


def test_the_smallest_manifest_runs_from_end_to_end_and_then_everything_is_cached(tmp_path: Path) -> None:
    path = a_manifest_file(tmp_path, more=SHORT)
    store = tmp_path / "store"
    first = boresight(store, "run", str(path))
    assert first.returncode == 0, first.stderr
    assert re.search(r"^report: .*report\.html$", first.stdout, re.MULTILINE)
    record = record_of(store, "first")
    assert record.state is State.SUCCEEDED
    assert [stage.name for stage in record.stages] == [
        "prepare",
        "feedback-model",
        "synthesis",
        "policy",
        "evaluation",
    ]
    page = (store / "runs/default/first/report.html").read_text()
    assert all(str(stage.key) in page for stage in record.stages[1:])
    assert "http" not in re.sub(r"http-equiv|https?://www\.w3\.org[^\"]*", "", page.split("<body>")[0])

    second = boresight(store, "run", str(path))
    assert second.returncode == 0, second.stderr
    assert second.stderr.count("cached") >= 4
    assert "importing" not in second.stderr
    assert boresight(store, "artifacts", "verify").stdout.count("ok ") == 4
