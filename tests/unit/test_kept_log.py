"""Logs of pods in the store: what is kept, how much of it, and what happens when the store is away."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from pathlib import Path

import pytest
from boresight_api.execution import Execution, RunReference, Stage
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.main import run_stage
from boresight_trainer.recipes.prepare import run_prepare
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.kept_log import Recent, keeping, kept, rank_of
from boresight_trainer.store.layout import log_name
from boresight_trainer.telemetry.logs import set_up
from builders_manifests import an_alignment_run
from builders_manifests import planned as pipeline

RUN = RunReference(kind="AlignmentRun", namespace="team", name="first", uid="0c8a-uid")
POD = {"BORESIGHT_POD_UID": "pod-1"}


def execution(folder: Path, **fields: object) -> Execution:
    return Execution(storage=folder.as_uri(), attempt=3, outcome_file=str(folder / "outcome.json"), **fields)


def kept_at(folder: Path, stage: str = "policy", rank: str = "0") -> str | None:
    content = FileStore(folder.as_uri()).read(log_name(RUN.uid, stage, 3, rank))
    return None if content is None else content.decode()


def test_records_prints_and_errors_are_kept_and_still_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with keeping(execution(tmp_path), RUN, "policy", POD):
        set_up()
        logging.getLogger("x").warning("a record")
        print("a print")
        print("an error", file=sys.stderr)
    log = kept_at(tmp_path)
    assert log is not None
    record, *rest = log.splitlines()
    assert json.loads(record)["message"] == "a record"
    assert rest == ["a print", "an error"]
    shown = capsys.readouterr()
    assert shown.out == "a print\n"
    assert shown.err == f"{record}\nan error\n"
    print("afterwards")
    assert kept_at(tmp_path) == log


def test_a_local_run_keeps_nothing_here(tmp_path: Path) -> None:
    with keeping(execution(tmp_path), RUN, "policy", {}):
        print("a print")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "fields", "rank"),
    [
        ({}, {}, "0"),
        ({"JOB_COMPLETION_INDEX": "2"}, {"part": "Shard", "shards": 4}, "2"),
        ({"NODE_RANK": "1", "JOB_COMPLETION_INDEX": "1"}, {}, "1"),
        ({}, {"part": "Merge", "shards": 4}, "merge"),
    ],
)
def test_every_process_of_an_attempt_has_a_log_of_its_own(
    tmp_path: Path, environment: dict[str, str], fields: dict[str, object], rank: str
) -> None:
    assert rank_of(execution(tmp_path, **fields), environment) == rank


def test_the_newest_whole_lines_stay() -> None:
    recent = Recent(limit=1000)
    for number in range(500):
        recent.add(f"line {number:03}\n")
    note, *lines = recent.content().decode().splitlines()
    assert 740 <= len(recent.content()) <= 1000 + len(note) + 1
    assert lines[-1] == "line 499"
    assert lines == [f"line {number:03}" for number in range(500 - len(lines), 500)]
    dropped = 9 * (500 - len(lines))
    assert json.loads(note)["message"] == f"the first {dropped} bytes of this log were not kept"
    assert recent.size == 4500


def test_one_line_without_an_end_is_bounded_too() -> None:
    recent = Recent(limit=1000)
    for _ in range(50):
        recent.add("x" * 100)
    assert len(recent.content()) < 1100


def test_what_was_said_reaches_the_store_while_the_stage_goes_on() -> None:
    arrived = threading.Event()
    written: list[bytes] = []

    def write(content: bytes) -> None:
        written.append(content)
        arrived.set()

    with kept(write, every=0.01):
        print("begun")
        assert arrived.wait(5)
    assert written == [b"begun\n"], "and what has not changed is not written again"


def test_a_store_that_is_away_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def write(_: bytes) -> None:
        raise StageFailure(FailureClass.INFRASTRUCTURE, "store: could not write")

    with kept(write):
        print("begun")
    assert "the log is not in the store yet: store: could not write" in caplog.text


def test_a_store_that_hangs_delays_the_end_for_a_while_and_no_longer() -> None:
    hang = threading.Event()
    began = time.monotonic()
    with kept(lambda _: hang.wait(30) and None, patience=0.05):
        print("begun")
    assert time.monotonic() - began < 10
    hang.set()


def test_a_stage_and_prepare_keep_their_logs_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BORESIGHT_POD_UID", "pod-1")
    planned = pipeline(an_alignment_run()).stages[0]
    stage = Stage(
        run=RUN,
        name=planned.name,
        recipe_version=planned.recipe_version,
        key="0" * 64,
        config=planned.config,
        execution=execution(tmp_path / "store"),
    )
    document = tmp_path / "stage.json"
    document.write_text(stage.model_dump_json(by_alias=True, exclude_none=True))
    assert run_stage(document) == 64
    log = kept_at(tmp_path / "store", stage.name)
    assert log is not None
    assert "found key 0000" in json.loads(log.splitlines()[-1])["message"]
    prepare = {
        "run": RUN.model_dump(by_alias=True),
        "manifest": {"kind": "Nothing"},
        "execution": execution(tmp_path / "store").model_dump(by_alias=True, exclude_none=True),
    }
    document.write_text(json.dumps(prepare))
    assert run_prepare(document) == 64
    assert "InvalidConfig" in (kept_at(tmp_path / "store", "prepare") or "")
