"""The fork server: what a local run starts its stages with. The server here preloads nothing, so each test is quick."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from boresight_trainer.forkserver import ForkRequest, ProtocolError, parse_request

SERVER = """
import os, signal, sys, time
from pathlib import Path
from boresight_trainer.forkserver import serve

def run_stage(path):
    what = path.read_text()
    if what == "wait":
        stopped = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
        print("waiting", flush=True)
        while not stopped:
            time.sleep(0.01)
        print("checkpoint written")
        return 76
    if what == "raise":
        raise RuntimeError("the recipe broke")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        sys.exit(3)
    if what == "session":
        print("leads its session", os.getsid(0) == os.getpid())
    if what == "threads":
        import torch
        torch.set_num_threads(2)
        a = torch.ones(600, 600, requires_grad=True)
        (a @ a).sum().backward()
        print("threads", torch.get_num_threads(), "sum", a.grad[0, 0].item())
    return 0

sys.exit(serve(Path(sys.argv[1]), run_stage, modules=tuple(sys.argv[2:])))
"""


class Client:
    """A client of the protocol, as the local run is one."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket, folder: Path) -> None:
        self.process = process
        self.connection = connection
        self.lines = connection.makefile("rb")
        self.folder = folder
        self.log = folder / "log.txt"

    def request(self, document: object) -> None:
        self.connection.sendall(json.dumps(document).encode() + b"\n")

    def reply(self) -> dict[str, Any]:
        return json.loads(self.lines.readline())

    def start(self, what: str) -> dict[str, Any]:
        stage = self.folder / "stage.json"
        stage.write_text(what)
        self.request({"stage": str(stage), "log": str(self.log)})
        return self.reply()

    def hang_up(self) -> None:
        self.lines.close()
        self.connection.close()

    def wait_for_log(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in (self.log.read_text() if self.log.exists() else ""):
            assert time.monotonic() < deadline, f"{text!r} never appeared in the log"
            time.sleep(0.01)


@contextmanager
def a_server(*modules: str) -> Iterator[Client]:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: a Unix socket's path has at most 107 bytes
        path = Path(name) / "socket"
        process = subprocess.Popen([sys.executable, "-c", SERVER, str(path), *modules], start_new_session=True)
        connection = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 30
        while True:
            try:
                connection.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        client = Client(process, connection, Path(name))
        assert "ready" in client.reply()
        try:
            yield client
        finally:
            client.hang_up()
            assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("what", "code"),
    [("done", 0), ("exit", 3), ("raise", 70), ("die", -signal.SIGKILL)],
)
def test_the_server_reports_how_a_stage_ended(what: str, code: int) -> None:
    with a_server() as client:
        assert client.start(what)["pid"] > 0
        assert client.reply() == {"exit": code}


def test_a_traceback_is_in_the_stage_log() -> None:
    with a_server() as client:
        client.start("raise")
        client.reply()
        assert "RuntimeError: the recipe broke" in client.log.read_text()


def test_stages_follow_each_other_in_fresh_processes_and_one_log_is_appended_to() -> None:
    with a_server() as client:
        pids = set()
        for _ in range(3):
            pids.add(client.start("session")["pid"])
            assert client.reply() == {"exit": 0}
        assert len(pids) == 3
        assert client.log.read_text() == "leads its session True\n" * 3


def test_terminate_lets_the_stage_leave_its_checkpoint() -> None:
    with a_server() as client:
        client.start("wait")
        client.wait_for_log("waiting")
        client.request({"signal": "TERM"})
        assert client.reply() == {"exit": 76}
        assert client.log.read_text().endswith("checkpoint written\n")


def test_kill_ends_a_stage_that_does_not_listen() -> None:
    with a_server() as client:
        client.start("wait")
        client.wait_for_log("waiting")
        client.request({"signal": "KILL"})
        assert client.reply() == {"exit": -signal.SIGKILL}


def test_a_client_that_vanishes_stops_its_stage_and_the_server() -> None:
    with a_server() as client:
        client.start("wait")
        client.wait_for_log("waiting")
        client.hang_up()
        assert client.process.wait(timeout=30) == 0
        assert client.log.read_text().endswith("checkpoint written\n")


def test_interrupting_the_server_interrupts_nothing() -> None:
    with a_server() as client:
        os.kill(client.process.pid, signal.SIGINT)
        client.start("done")
        assert client.reply() == {"exit": 0}


def test_a_second_stage_at_the_same_time_is_refused_and_the_first_goes_on() -> None:
    with a_server() as client:
        client.start("wait")
        client.wait_for_log("waiting")
        client.request({"stage": "other", "log": str(client.log)})
        assert "running already" in client.reply()["error"]
        client.request({"signal": "TERM"})
        assert client.reply() == {"exit": 76}


def test_a_log_that_cannot_be_opened_is_an_answer_not_a_crash() -> None:
    with a_server() as client:
        client.request({"stage": "x", "log": "/nowhere/log.txt"})
        assert "/nowhere/log.txt" in client.reply()["error"]
        client.start("done")
        assert client.reply() == {"exit": 0}


def test_children_of_a_server_that_imported_torch_compute_on_two_threads() -> None:
    with a_server("torch") as client:
        for _ in range(2):
            client.start("threads")
            assert client.reply() == {"exit": 0}
        assert client.log.read_text() == "threads 2 sum 1200.0\n" * 2


@pytest.mark.parametrize(
    "line", [b"", b"not json", b"[]", b'{"stage": "a"}', b'{"stage": 1, "log": "b"}', b'{"signal": "HUP"}']
)
def test_other_requests_are_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="found"):
        parse_request(line)


def test_requests() -> None:
    assert parse_request(b'{"signal": "TERM"}') is signal.SIGTERM
    assert parse_request(b'{"signal": "KILL"}') is signal.SIGKILL
    assert parse_request(b'{"stage": "/a", "log": "/b"}') == ForkRequest(Path("/a"), Path("/b"))
