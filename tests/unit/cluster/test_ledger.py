"""What a cluster for tests has started is ended, and nothing else, whoever ends it and whenever."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cluster.ledger import Ledger, Started

SLEEP = ("sleep", "600")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(tmp_path / "ledger.json")
    yield found
    if found.path.exists():
        found.undo()


def start(ledger: Ledger, name: str = "sleeper") -> Started:
    return ledger.start(name, SLEEP, ledger.path.with_name("log"), {"PATH": "/usr/bin:/bin"})


def test_what_was_started_is_ended_by_who_only_has_the_file(ledger: Ledger) -> None:
    started = start(ledger)
    assert started.runs
    again = Ledger.read(ledger.path)
    assert again is not None
    again.undo()
    assert not started.runs
    assert Ledger.read(ledger.path) is None


def test_a_process_that_got_the_number_of_ours_later_is_left_alone(ledger: Ledger) -> None:
    with subprocess.Popen(SLEEP) as stranger:
        ledger.processes.append(Started("sleeper", stranger.pid, ticks=1))
        ledger.write()
        ledger.undo()
        assert stranger.poll() is None
        stranger.kill()


def test_a_corpse_that_nobody_has_waited_for_is_no_process() -> None:
    with subprocess.Popen("true") as child:
        state = ""
        while state != "Z":
            state, *rest = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        assert not Started("brief", child.pid, ticks=int(rest[18])).runs


def test_a_service_that_is_started_again_takes_the_place_of_the_old_one(ledger: Ledger) -> None:
    first, second = start(ledger), start(ledger)
    assert ledger.process("sleeper") == second
    assert ledger.processes == [second]
    ledger.processes.append(replace(first, name="first"))  # so that it is ended too


def test_folders_are_removed_unless_somebody_uses_them(ledger: Ledger, tmp_path: Path) -> None:
    used, unused = tmp_path / "used", tmp_path / "unused"
    for folder in (used, unused):
        folder.mkdir()
    (used / "file").touch()
    ledger.folders = [str(used), str(unused)]
    ledger.write()
    ledger.undo()
    assert used.exists()
    assert not unused.exists()
