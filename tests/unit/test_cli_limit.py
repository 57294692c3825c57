"""Limits hold whatever hangs: an API server that never answers, a program that never gives credentials."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from boresight.limit import OutOfTimeError, at_most
from boresight.main import plugin, plugin_main
from builders_http import a_server
from builders_kubeconfig import write_kubeconfig
from builders_manifests import an_eval_run
from click.shell_completion import ShellComplete

SLEEPER = """#!/bin/sh
echo $$ > {pid}
exec sleep 300
"""


@contextmanager
def a_silent_server() -> Iterator[str]:
    """It takes connections, and nothing follows."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def a_run() -> dict[str, Any]:
    run = an_eval_run()
    run["metadata"] |= {"namespace": "team", "uid": "u-1", "creationTimestamp": "2026-11-29T10:00:00Z"}
    return run


def waited(config: Path) -> tuple[int, float]:
    """Exit code and seconds of `wait --timeout 1s`."""
    began = time.monotonic()
    code = plugin_main(["wait", "eval/first", "--timeout", "1s", "--kubeconfig", str(config), "-n", "team"])
    return code, time.monotonic() - began


def test_waiting_ends_in_time_though_the_first_request_hangs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with a_silent_server() as url:
        write_kubeconfig(tmp_path / "config", url, {"token": "t"})
        code, seconds = waited(tmp_path / "config")
    assert (code, 1 <= seconds < 1.5) == (124, True)
    assert capsys.readouterr().err == "not within 1 s: Succeeded: the run could not be read in that time\n"


def test_waiting_ends_in_time_though_a_later_request_hangs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked, over = [0], threading.Event()

    def answer(_: object) -> tuple[int, Any]:
        asked[0] += 1
        if asked[0] > 1:
            over.wait(30)
        return 200, a_run()

    with a_server(answer) as (url, _):
        write_kubeconfig(tmp_path / "config", url, {"token": "t"})
        code, seconds = waited(tmp_path / "config")
        over.set()
    assert (code, 1 <= seconds < 1.5) == (124, True)
    assert "not within 1 s: Succeeded: " in capsys.readouterr().err


def a_slow_program(folder: Path) -> tuple[dict[str, Any], Path]:
    """The user of a kubeconfig whose program sleeps, and the file with its process id."""
    program, pid = folder / "login", folder / "pid"
    program.write_text(SLEEPER.format(pid=pid))
    program.chmod(0o755)
    api = {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never"}
    return {"exec": {**api, "command": str(program)}}, pid


def is_gone(pid: Path) -> bool:
    return subprocess.run(["kill", "-0", pid.read_text().strip()], capture_output=True, check=False).returncode != 0


def test_waiting_ends_in_time_though_a_program_gives_no_credentials(tmp_path: Path) -> None:
    user, pid = a_slow_program(tmp_path)
    write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1", user)
    code, seconds = waited(tmp_path / "config")
    assert (code, 1 <= seconds < 1.5) == (124, True)
    assert is_gone(pid), "it does not go on behind our back"


@pytest.mark.parametrize("what", ["server", "program"])
def test_a_shell_that_completes_is_not_held_up(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boresight.face.COMPLETION_SECONDS", 1.0)
    user, pid = a_slow_program(tmp_path)
    with a_silent_server() as url:
        write_kubeconfig(tmp_path / "config", url, user if what == "program" else {"token": "t"})
        began = time.monotonic()
        words = ["status", "--kubeconfig", str(tmp_path / "config")]
        assert ShellComplete(plugin, {}, "kubectl boresight", "_X").get_completions(words, "be") == []
        assert 1 <= time.monotonic() - began < 1.5
    assert what == "server" or is_gone(pid)


def test_what_is_done_in_time_is_not_disturbed() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with at_most(0.05):
        pass
    time.sleep(0.1)
    with pytest.raises(OutOfTimeError), at_most(0.05):
        time.sleep(5)
    assert signal.getsignal(signal.SIGALRM) is before
