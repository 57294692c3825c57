"""Progress, its server, and the stop flag."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.telemetry import metrics
from boresight_trainer.telemetry.progress import Progress
from boresight_trainer.telemetry.server import serve
from boresight_trainer.telemetry.stop import StopFlag
from prometheus_client import CollectorRegistry, generate_latest


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def test_the_file_always_holds_the_end_of_a_phase(tmp_path: Path) -> None:
    clock = Clock()
    progress = Progress(stage="policy", key="k", file=tmp_path / "progress.json", clock=clock)
    progress.phase("train", 10)
    for step in range(1, 11):
        clock.now += 0.01
        progress.advance(step, loss=1 / step)
    document = json.loads((tmp_path / "progress.json").read_text())
    assert document["step"] == document["totalSteps"] == 10
    assert document["loss"] == pytest.approx(0.1)
    assert document["phase"] == "train"


def test_remaining_time_ignores_what_an_earlier_attempt_did() -> None:
    clock = Clock()
    progress = Progress(stage="policy", key="k", clock=clock)
    progress.phase("train", 100, done=90)
    clock.now = 5.0
    progress.advance(95)
    assert progress.document["remainingSeconds"] == pytest.approx(5.0)


def test_log_lines_are_json_and_refuse_what_json_cannot_hold(tmp_path: Path) -> None:
    progress = Progress(stage="policy", key="k", metrics_path=tmp_path / "metrics.jsonl")
    progress.log({"step": 1, "loss": 0.5})
    progress.log({"step": 2, "loss": 0.25})
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    with pytest.raises(ValueError, match="Out of range"):
        progress.log({"step": 3, "loss": float("nan")})


def test_metrics_and_progress_are_served_on_one_port() -> None:
    progress = Progress(stage="policy", key="k", pod_uid="uid-1")
    progress.phase("train", 4)
    progress.log({"step": 1, "loss": 0.125})
    with serve(progress, 0, "127.0.0.1") as port:
        document = json.loads(get(port, "/progress"))
        assert (document["stage"], document["key"], document["podUID"], document["totalSteps"]) == (
            "policy",
            "k",
            "uid-1",
            4,
        )
        assert "boresight_train_loss 0.125" in get(port, "/metrics")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(port, "/secrets")


def test_a_gauge_is_exported_from_its_first_value_on() -> None:
    registry = CollectorRegistry()
    gauge = metrics.Reading("loss", "Mean loss", registry=registry)
    assert b"\nloss" not in generate_latest(registry)
    gauge.set(0.0)
    assert b"\nloss 0.0\n" in generate_latest(registry)


def test_a_process_that_has_trained_nothing_yet_exports_no_number_of_training() -> None:
    """Another process: in this one other tests have set them."""
    script = "\n".join(
        (
            "from prometheus_client import generate_latest",
            "from boresight_trainer.telemetry.metrics import REGISTRY",
            "print(generate_latest(REGISTRY).decode())",
        )
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    names = {line.split()[0].partition("{")[0] for line in shown.splitlines() if line and not line.startswith("#")}
    counters = {"boresight_train_tokens", "boresight_store_retries"}
    assert names == {f"{name}_{kind}" for name in counters for kind in ("total", "created")}


def test_a_taken_port_is_named() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with (
            pytest.raises(StageFailure, match=f"port {port} cannot be used") as caught,
            serve(Progress(stage="policy", key=None), port, "127.0.0.1"),
        ):
            pass
    assert caught.value.failure is FailureClass.INVALID_CONFIG


def test_a_second_request_does_not_extend_the_grace_period() -> None:
    clock = Clock()
    stop = StopFlag(30, clock)
    assert stop.seconds_left() == float("inf")
    stop.request()
    clock.now = 20
    stop.request()
    assert stop.seconds_left() == 10
    with pytest.raises(StageFailure) as caught:
        stop.check(step=7)
    assert (caught.value.failure, caught.value.step) == (FailureClass.PREEMPTED, 7)
