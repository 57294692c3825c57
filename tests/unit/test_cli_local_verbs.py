"""``watch``, ``wait``, ``logs``, ``suspend``, ``resume``, ``retry`` on this machine, and exported runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import boresight
import pytest
from boresight.commands.completion import complete_for_kubectl
from boresight.errors import UserError
from boresight.local import lock
from boresight.local.attempt import AttemptFolder, Process
from boresight.local.display import LineDisplay
from boresight.local.run import run_manifest
from boresight.main import COMMANDS, main, plugin, plugin_main
from boresight.records import RunFolder
from boresight_api.execution import Stage
from boresight_api.outcome import FailureClass
from boresight_trainer.store.file import FileStore
from boresight_trainer.store.layout import log_name
from builders_cli import FakeLauncher, FakeProcess, a_manifest, fails, succeeds
from builders_kubeconfig import write_kubeconfig

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Ask:
    """Run a command against a store of its own; gives exit code, stdout and stderr."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BORESIGHT_STORE", str(tmp_path / "store"))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        shown = capfdbinary.readouterr()
        return code, shown.out.decode(), shown.err.decode()

    return run


def a_run(tmp_path: Path, name: str = "first", launcher: FakeLauncher | None = None, more: str = "") -> RunFolder:
    return run_manifest(
        a_manifest(tmp_path, name, more),
        FileStore((tmp_path / "store").as_uri()),
        make_display=lambda width: LineDisplay(width, write=lambda _: None),
        make_launcher=lambda _: launcher or FakeLauncher(),
    ).folder


def says(text: str) -> Callable[[Stage, AttemptFolder], Process]:
    """A stage that succeeds and leaves a log."""

    def behave(stage: Stage, folder: AttemptFolder) -> Process:
        folder.log.write_text(text)
        return succeeds(stage, folder)

    return behave


def test_wait_and_watch_of_a_run_that_is_over(tmp_path: Path, ask: Ask) -> None:
    a_run(tmp_path, "good")
    a_run(tmp_path, "bad", FakeLauncher({"policy": fails(FailureClass.DIVERGED, "step 3: nan")}), "  seed: 7\n")
    assert ask("wait", "good")[0] == 0
    assert ask("wait", "bad", "--for", "stage=synthesis")[:2] == (0, "default/bad: stage=synthesis\n")
    code, _, err = ask("wait", "bad")
    assert code == 1
    assert "Succeeded is out of reach: AlignmentRun default/bad: Failed" in err
    assert "policy: attempt 1: Diverged: step 3: nan" in err
    code, out, _ = ask("watch", "good")
    assert code == 0
    assert "policy: Succeeded" in out.splitlines()
    assert ask("watch", "bad")[0] == 1


def test_wait_gives_up_in_time(tmp_path: Path, ask: Ask) -> None:
    folder = a_run(tmp_path, launcher=FakeLauncher({"policy": fails(FailureClass.ERROR, "no")}))
    text = folder.record_path.read_text()
    folder.record_path.write_text(text.replace('"state": "Failed"', '"state": "Running"'))
    with lock.hold(folder.lock_path, "another process"):
        code, _, err = ask("wait", "first", "--timeout", "0.2s")
    assert code == 124
    assert "not within 0.2 s: Succeeded: AlignmentRun default/first: Running" in err
    assert ask("wait", "first")[0] == 1, "nobody works on it"
    assert ask("wait", "first", "--timeout", "soon")[0] == 2


def test_a_run_that_was_lost_between_two_stages_is_interrupted(tmp_path: Path, ask: Ask) -> None:
    folder = a_run(tmp_path, launcher=FakeLauncher({"policy": fails(FailureClass.ERROR, "no")}))
    document = json.loads(folder.record_path.read_text())
    del document["endedAt"]
    document["stages"][3] |= {"state": "Pending", "attempts": []}
    folder.record_path.write_text(json.dumps(document))
    assert "default/first: Interrupted" in ask("status", "first")[1]


def test_logs_of_stages_and_attempts(tmp_path: Path, ask: Ask) -> None:
    a_run(tmp_path, launcher=FakeLauncher({"policy": says("a policy\n"), "evaluation": says("an evaluation\n")}))
    assert ask("logs", "first")[:2] == (0, "an evaluation\n")
    assert ask("logs", "first", "--stage", "policy", "--follow")[1] == "a policy\n"
    assert "has no attempt 2 (attempts: 1)" in ask("logs", "--stage", "policy", "--attempt", "2")[2]
    assert "expected 0: on this machine a stage is one process" in ask("logs", "--rank", "1")[2]
    assert "give one of them" in ask("logs", "--previous", "--attempt", "1")[2]


def test_a_log_is_followed_until_its_attempt_ends(tmp_path: Path, ask: Ask) -> None:
    out: list[tuple[int, str, str]] = []

    def follow(stage: Stage, folder: AttemptFolder) -> Process:
        folder.log.write_text("begins\n")
        reader = threading.Thread(target=lambda: out.append(ask("logs", "first", "--follow")))

        def act() -> None:
            reader.start()
            time.sleep(0.3)
            with folder.log.open("a") as log:
                log.write("ends\n")
            succeeds(stage, folder).wait(0)

        return FakeProcess(act=act)

    a_run(tmp_path, launcher=FakeLauncher({"evaluation": follow}))
    for _ in range(100):
        if out:
            break
        time.sleep(0.05)
    assert out[0][:2] == (0, "begins\nends\n")


def test_suspend_asks_the_process_at_work(tmp_path: Path, ask: Ask) -> None:
    folder = a_run(tmp_path)
    assert "no process works on it" in ask("suspend", "first")[2]
    script = f"""
import os, sys, time
from pathlib import Path
from boresight.local import lock
with lock.hold(Path({str(folder.lock_path)!r}), f"default/first (process {{os.getpid()}})"):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    code, out, _ = ask("suspend", "first")
    assert code == 0
    assert f"process {process.pid} takes a checkpoint and ends" in out
    assert process.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("verb", ["resume", "retry"])
def test_resume_and_retry_run_the_manifest_again(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    a_run(tmp_path, launcher=FakeLauncher({"policy": fails(FailureClass.ERROR, "no")}))
    again = FakeLauncher()
    monkeypatch.setattr("boresight.local.launch.ProcessLauncher", lambda _: again)
    code, out, _ = ask(verb, "first")
    assert code == 0
    assert again.started == ["prepare", "policy", "evaluation"]
    assert "report: " in out


def test_an_exported_run_is_shown_with_a_store_of_ones_own(tmp_path: Path, ask: Ask) -> None:
    a_run(tmp_path, launcher=FakeLauncher())
    record = boresight.run("first", store=str(tmp_path / "store")).record
    stages = [{"name": "prepare", "state": "Succeeded", "attempt": 1}]
    stages += [{"name": s.name, "key": s.key, "state": "Succeeded", "attempt": 1} for s in record.stages[1:]]
    run = {
        **dict(record.manifest),
        "metadata": {"name": "first", "namespace": "team", "uid": "u-1", "creationTimestamp": "2026-11-29T10:00:00Z"},
        "status": {"stages": stages, "conditions": []},
    }
    (tmp_path / "run.json").write_text(json.dumps(run))
    exported = ["--object", str(tmp_path / "run.json")]
    assert ask("status", *exported)[1].startswith("AlignmentRun team/first: ")
    assert json.loads(ask("results", *exported, "-o", "json")[1])
    code, page, _ = ask("report", *exported, "-o", "-")
    assert code == 0
    assert page.rstrip().endswith("</html>")
    assert "team/first" in page
    FileStore((tmp_path / "store").as_uri()).write(log_name("u-1", "policy", 1, "0"), b"kept\n")
    assert ask("logs", *exported, "--stage", "policy")[1] == "kept\n"
    assert "found no such log" in ask("logs", *exported, "--stage", "evaluation")[2]
    assert "found run first, expected other" in ask("status", "other", *exported)[2]
    (tmp_path / "run.json").write_text("[]")
    assert "found no run" in ask("status", *exported)[2]


def test_no_escape_sequence_of_an_object_reaches_a_terminal(tmp_path: Path, ask: Ask) -> None:
    file = tmp_path / "run.json"
    stage = {"name": "policy", "state": "Running", "metrics": [{"name": "loss\x1b]0;y\a", "value": "1"}]}
    file.write_text(json.dumps({"metadata": {"name": "first\x1b]0;x\a"}, "status": {"stages": [stage]}}))
    for words in (("status",), ("status", "other"), ("logs", "--stage", "x")):
        code, out, err = ask(*words, "--object", str(file))
        assert "first\ufffd]0;x\ufffd" in out + err, code
        assert "\x1b" not in out + err
        assert "\a" not in out + err


def test_pins_of_an_earlier_run(tmp_path: Path, ask: Ask) -> None:
    a_run(tmp_path)
    file = tmp_path / "first.yaml"
    code, out, _ = ask("pin", str(file), "--from-run", "first")
    assert code == 0
    assert "keys of 4 stages are known" in out
    keys = [stage.key for stage in boresight.run("first", store=str(tmp_path / "store")).record.stages[1:]]
    assert [stage["key"] for stage in json.loads(ask("plan", str(file), "-o", "json")[1])["stages"]] == keys
    (tmp_path / "feedback.jsonl").write_text("{}\n")
    assert "everything is pinned already" in ask("pin", str(file), "--from-run", "first")[1]


def test_plan_says_what_a_change_costs_here(tmp_path: Path, ask: Ask) -> None:
    a_run(tmp_path)
    file = str(tmp_path / "first.yaml")
    assert "nothing that default/first has done would be done again" in ask("plan", file)[1]
    path = Path(file)
    path.write_text(path.read_text() + '  policy: {dpo: {beta: "0.3"}}\n')
    out = ask("plan", file)[1]
    assert [line.split()[1] for line in out.splitlines() if line.startswith("again:")] == ["policy:", "evaluation:"]


def test_python_users_name_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(UserError, match="found no kubeconfig"):
        boresight.run("first", "team", cluster=True)


def test_on_a_terminal_the_tree_is_shown_live(tmp_path: Path) -> None:
    a_run(tmp_path)
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "boresight.main", "watch", "first", "--store", str(tmp_path / "store")]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=env, check=False)
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "AlignmentRun default/first: Succeeded" in shown
    assert [name for name in ("prepare", "synthesis", "policy") if f"{name} " not in shown] == []
    assert "policy: Succeeded" not in shown, "that is the plain form"


def test_a_list_of_a_cluster_imports_nothing_heavy(tmp_path: Path) -> None:
    config = tmp_path / "config"
    write_kubeconfig(config, "http://127.0.0.1:1", {"token": "t"})
    program = (
        "import sys; from boresight.main import plugin_main;"
        f"code = plugin_main(['list', '--kubeconfig', {str(config)!r}]);"
        "print(code, sorted({'pydantic', 'rich', 'minio', 'kubernetes', 'requests', 'torch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "75 []\n"
    assert "http://127.0.0.1:1 (context one) does not answer: Connection refused" in done.stderr


def test_kubectl_is_told_what_completes() -> None:
    assert complete_for_kubectl(plugin, ["sta"])[0].startswith("status\t")
    assert complete_for_kubectl(plugin, ["status", "--output", "j"]) == ["json", ":4"]
    assert complete_for_kubectl(plugin, ["plan", ""]) == [":0"], "files are kubectl's shell's business"
    assert complete_for_kubectl(plugin, [])[-1] == ":4"


def test_the_two_faces_have_the_same_commands(ask: Ask, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    here = ask("--help")[1]
    assert plugin_main(["--help"]) == 0
    there = capfdbinary.readouterr().out.decode()
    assert all(f"\n  {name} " in here and f"\n  {name} " in there for name in COMMANDS)
