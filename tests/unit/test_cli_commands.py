"""The commands as a user meets them: what they print, their exit codes, their errors."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boresight
import pytest
import yaml
from boresight.errors import UserError
from boresight.files import replace_text
from boresight.local.display import BarDisplay, LineDisplay, figures
from boresight.local.run import run_manifest
from boresight.main import COMMANDS, describe, main
from boresight.results import compare, parse_results, rows_of
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.store.file import FileStore
from builders_cli import FakeLauncher, a_manifest, a_manifest_file, a_results_document, fails
from builders_data import a_feedback_row, write_jsonl
from rich.console import Console

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command against a store of its own; gives exit code, stdout and stderr."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BORESIGHT_STORE", str(tmp_path / "store"))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def a_finished_run(tmp_path: Path, name: str = "first", more: str = "", launcher: FakeLauncher | None = None) -> None:
    run_manifest(
        a_manifest(tmp_path, name, more),
        FileStore((tmp_path / "store").as_uri()),
        make_display=lambda width: LineDisplay(width, write=lambda _: None),
        make_launcher=lambda _: launcher or FakeLauncher(),
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(ask: Ask, command: str) -> None:
    code, out, _ = ask(command, "--help")
    assert code == 0
    assert out.startswith("Usage: boresight")
    assert len(out.splitlines()) > 5


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; from boresight.main import main; main(['--help']);"
        "print([m for m in ('pydantic', 'yaml', 'rich', 'torch', 'numpy', 'boresight_api.base') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(f"  {command} " in done.stdout for command in COMMANDS)


def test_planning_and_the_python_interface_need_neither_torch_nor_numpy(tmp_path: Path) -> None:
    path = a_manifest_file(tmp_path)
    script = (
        f"import sys, boresight; from boresight.main import main; main(['plan', {str(path)!r}]);"
        "print([m for m in ('torch', 'transformers', 'numpy', 'rich') if m in sys.modules])"
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path), "BORESIGHT_STORE": str(tmp_path / "store"), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["lst"], 2, 'Did you mean "list"?'),
        (["plan", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["status"], 1, "start one with `boresight run FILE`"),
        (["status", "x", "--store", "s3://bucket/y"], 1, "found s3://bucket/y, expected a folder"),
        (["artifacts", "show", "xyz"], 1, "expected artifact://<key>"),
        (["artifacts", "show", "abcdef"], 1, "no key begins with abcdef"),
        (["artifacts", "show", "artifact://" + "a" * 64], 1, "is not in file://"),
        (["list", "--store", "file:relative"], 1, "found file:relative, expected a folder or file:///absolute/path"),
        (["list", "--store", __file__], 1, "test_cli_commands.py, expected a folder"),
        (["compare", "one"], 1, "expected at least two"),
        (["compare", "a/results.json", "b/results.json"], 1, "a/results.json: found no such file"),
    ],
)
def test_mistakes_get_one_message_and_no_traceback(ask: Ask, arguments: list[str], code: int, words: str) -> None:
    found, out, err = ask(*arguments)
    assert found == code
    assert words in err
    assert "Traceback" not in out + err


def test_debug_shows_where_an_error_came_from(ask: Ask) -> None:
    code, _, err = ask("--debug", "status")
    assert code == 1
    assert "Traceback" in err


def test_our_own_failures_keep_their_exit_code(monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    def broken(*_: object) -> None:
        raise StageFailure(FailureClass.MISSING_INPUT, "artifact x is gone")

    monkeypatch.setattr("boresight.records.RunRecords.find", broken)
    assert ask("status")[::2] == (77, "error: artifact x is gone\n")


def test_a_bug_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    def broken(*_: object) -> None:
        raise KeyError("oops")

    monkeypatch.setattr("boresight.records.RunRecords.find", broken)
    code, _, err = ask("status")
    assert code == 1
    assert "KeyError: 'oops' (this is a bug of Boresight; --debug shows where it happened)" in err


def test_a_full_disk_names_the_file_and_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: Ask) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match=r"r\.json") as caught:
            replace_text(tmp_path / "r.json", "x")
    assert list(tmp_path.iterdir()) == []
    message, code = describe(caught.value)
    assert code == 75
    assert message.startswith(f"{tmp_path}/r.json: No space left on device, expected a place that can be written to; ")


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.symlink_to(os.devnull)
    replace_text(device, "x")
    assert device.is_symlink()
    assert device.is_char_device()


@pytest.mark.parametrize("command", ["list", "completion bash", "list --help", "data check {data}"])
def test_a_reader_that_stops_early_is_not_an_error(tmp_path: Path, command: str) -> None:
    data = write_jsonl(tmp_path / "d.jsonl", [a_feedback_row(0)])
    words = command.format(data=data).split()
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "boresight.main", *words],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "BORESIGHT_STORE": str(tmp_path)},
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_colours_are_left_out_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    colours = []
    monkeypatch.setattr("click.echo", lambda *_, color=None, **__: colours.append(color))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["status", "--store", "s3://x"])
    monkeypatch.setenv("NO_COLOR", "1")
    main(["status", "--store", "s3://x"])
    assert colours == [None, False]


def test_a_manifest_with_faults_names_every_one_of_them(tmp_path: Path, ask: Ask) -> None:
    path = a_manifest_file(tmp_path, more="  polcy: {}\n  policy: {training: {learningRate: 2e-5}}\n")
    code, _, err = ask("plan", str(path))
    assert code == 64
    assert 'spec.polcy: found an unknown field, expected "policy"' in err
    assert "spec.policy.training.learningRate: found the number 2e-05" in err


def test_a_missing_data_file_is_named(tmp_path: Path, ask: Ask) -> None:
    path = a_manifest_file(tmp_path)
    (tmp_path / "feedback.jsonl").unlink()
    code, _, err = ask("plan", str(path))
    assert code == 65
    assert "feedback.jsonl: found no such file" in err


def test_plan_shows_keys_and_what_is_cached(tmp_path: Path, ask: Ask) -> None:
    path = a_manifest_file(tmp_path)
    code, out, _ = ask("plan", str(path))
    assert code == 0
    assert out.count("to run") == 4
    a_finished_run(tmp_path)
    code, out, _ = ask("plan", str(path), "-o", "json")
    plan = json.loads(out)
    assert [stage["state"] for stage in plan["stages"]] == ["Cached"] * 4
    assert plan["stages"][2]["reads"] == ["synthesis"]
    assert plan["stages"][2]["config"]["dpo"]["beta"] == "0.1"


def test_plan_says_after_prepare_for_what_it_cannot_know(tmp_path: Path, ask: Ask) -> None:
    path = a_manifest_file(tmp_path)
    path.write_text(path.read_text().replace("embedded://tiny", "hf://acme/model"))
    code, out, _ = ask("plan", str(path))
    assert code == 0
    assert out.count("after prepare") == 4
    assert out.count("to run unless cached") == 4


def test_plan_as_yaml_is_the_resolved_manifest_with_the_same_plan(tmp_path: Path, ask: Ask) -> None:
    path = a_manifest_file(tmp_path)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(ask("plan", str(path), "-o", "yaml")[1])
    assert yaml.safe_load(resolved.read_text())["spec"]["policy"]["dpo"]["loss"] == "Sigmoid"
    assert ask("plan", str(path), "-o", "json")[1] == ask("plan", str(resolved), "-o", "json")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--name", "helpful", "--model", "hf://Qwen/Qwen2.5-0.5B-Instruct", "--data", "/x/my data.jsonl"],
        ["--data", "hf://datasets/PKU-Alignment/align-anything"],
    ],
)
def test_init_writes_a_manifest_that_is_one(ask: Ask, arguments: list[str]) -> None:
    from boresight_api.documents import load_yaml
    from boresight_api.manifest import parse_manifest

    code, out, _ = ask("init", *arguments)
    assert code == 0
    parse_manifest(load_yaml(out))


def test_init_refuses_what_the_api_refuses(ask: Ask) -> None:
    code, out, err = ask("init", "--task", "TI2T")
    assert (code, out) == (1, "")
    assert "did you mean TextImageToText?" in err


def test_init_says_what_this_release_cannot_run(ask: Ask) -> None:
    code, out, err = ask("init", "--task", "TextToImage")
    assert code == 0
    assert "task: TextToImage" in out
    assert "this release cannot run it yet: spec.task" in err


def test_one_damaged_record_hides_no_other(tmp_path: Path, ask: Ask) -> None:
    a_finished_run(tmp_path, "good")
    a_finished_run(tmp_path, "bad")
    damaged = tmp_path / "store/runs/default/bad/run.json"
    damaged.write_text("{")
    code, out, err = ask("list", "-o", "csv")
    assert code == 1
    assert [row["name"] for row in csv.DictReader(io.StringIO(out))] == ["good"]
    assert str(damaged) in err
    assert ask("status")[0] == 0


def test_a_store_that_moved_is_read_where_it_is(tmp_path: Path, ask: Ask) -> None:
    a_finished_run(tmp_path)
    (tmp_path / "store").rename(tmp_path / "moved")
    code, out, _ = ask("results", "--store", str(tmp_path / "moved"))
    assert (code, "promptShare" in out) == (0, True)
    assert ask("report", "--store", str(tmp_path / "moved"))[0] == 0
    assert (tmp_path / "moved/runs/default/first/report.html").exists()
    assert not (tmp_path / "store").exists()


def test_list_and_status_show_what_became_of_runs(tmp_path: Path, ask: Ask) -> None:
    a_finished_run(tmp_path, "good")
    a_finished_run(
        tmp_path, "bad", "  seed: 7\n", FakeLauncher({"policy": fails(FailureClass.DIVERGED, "step 3: nan")})
    )
    rows = {row["name"]: row for row in json.loads(ask("list", "-o", "json")[1])}
    assert rows["good"]["status"] == "Succeeded"
    assert (rows["bad"]["status"], rows["bad"]["stage"]) == ("Failed", "policy")
    assert "policy: attempt 1: Diverged: step 3: nan" in ask("status", "bad")[1]
    code, out, _ = ask("status", "good")
    assert code == 0
    assert out.count("Succeeded") == 6
    assert json.loads(ask("status", "good", "-o", "json")[1])["name"] == "good"


def test_results_in_every_format(tmp_path: Path, ask: Ask) -> None:
    a_finished_run(tmp_path)
    as_json = json.loads(ask("results", "-o", "json")[1])
    as_csv = list(csv.DictReader(io.StringIO(ask("results", "-o", "csv")[1])))
    assert len(as_json) == len(as_csv)
    gain = next(r for r in as_json if r["name"] == "promptShareDifference" and r["baseline"] == "warm-start")
    assert (gain["value"], gain["low"], gain["high"], gain["n"]) == (0.09, 0.02, 0.16, 160)
    assert "kind=json" in ask("results", "--slices")[1]


def test_results_of_an_unfinished_evaluation_say_so(tmp_path: Path, ask: Ask) -> None:
    a_finished_run(tmp_path, launcher=FakeLauncher({"policy": fails(FailureClass.ERROR, "no")}))
    code, _, err = ask("results")
    assert code == 1
    assert "stage evaluation of run first is Pending: there is no artifact yet" in err


def test_compare_puts_results_side_by_side(tmp_path: Path, ask: Ask) -> None:
    for name, value in (("one", 0.5), ("two", 0.6)):
        (tmp_path / name).mkdir()
        shares = {"policy": (value, value - 0.1, value + 0.1)}
        (tmp_path / name / "results.json").write_text(json.dumps(a_results_document(shares)))
    code, out, _ = ask("compare", str(tmp_path / "one/results.json"), str(tmp_path / "two/results.json"), "-o", "json")
    rows = json.loads(out)
    assert code == 0
    score = next(row for row in rows if row["name"] == "promptShare")
    assert (score["one"], score["two"], score["two interval"]) == (0.5, 0.6, "[0.500, 0.700]")


def test_the_results_next_to_a_report_can_be_compared(tmp_path: Path, ask: Ask) -> None:
    a_finished_run(tmp_path)
    assert ask("report", "first", "-o", str(tmp_path / "page/report.html"))[0] == 0
    code, out, _ = ask("compare", "first", str(tmp_path / "page/results.json"), "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert rows
    assert all(row["first"] == row["page"] for row in rows)


def test_compare_refuses_what_was_measured_differently() -> None:
    one, two = (parse_results(a_results_document(comparison=f"sha256:{c * 64}")) for c in "ab")
    with pytest.raises(UserError, match="prompts, decoding settings or engine differ"):
        compare([("one", one), ("two", two)])


def test_unfit_suites_are_marked() -> None:
    found = parse_results(a_results_document(unfit=("planted winners found 55%, expected 80%",)))
    assert not any(row["fit"] for row in rows_of(found))


def test_artifacts_are_listed_shown_and_verified(tmp_path: Path, ask: Ask) -> None:
    a_finished_run(tmp_path)
    rows = json.loads(ask("artifacts", "ls", "-o", "json")[1])
    assert {row["kind"] for row in rows} == {"Model", "Pairs", "Evaluation"}
    key = next(row["key"] for row in rows if row["stage"] == "policy")
    code, out, _ = ask("artifacts", "show", key[:10])
    assert code == 0
    assert key in out.splitlines()[0]
    assert json.loads(ask("artifacts", "show", key, "--json")[1])["stage"] == "policy"
    assert ask("artifacts", "verify")[1].count("ok ") == 4
    (tmp_path / "store" / "artifacts" / key / "weights.txt").write_text("other!")
    code, out, err = ask("artifacts", "verify")
    assert code == 1
    assert "weights.txt: found" in out
    assert "1 artifact of 4 cannot be used" in err


def test_completion_scripts_name_the_command(ask: Ask) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_BORESIGHT_COMPLETE" in ask("completion", shell)[1]


def test_python_users_open_runs_and_artifacts(tmp_path: Path) -> None:
    a_finished_run(tmp_path)
    store = str(tmp_path / "store")
    run = boresight.run("first", store=store)
    assert run.stages == ("feedback-model", "synthesis", "policy", "evaluation")
    assert run.results().find("Verifiable", "promptShare", "policy").value == 0.57
    policy = run.artifact("policy")
    assert boresight.open(f"artifact://{policy.key}", store=store).manifest == policy.manifest
    assert (policy.path() / "weights.txt").read_text() == "policy"
    assert policy.metrics() == []
    with pytest.raises(UserError, match="JSONL files: none"):
        policy.rows()
    with pytest.raises(UserError, match='no stage "polcy"; it has feedback-model'):
        run.artifact("polcy")


def test_a_corrupted_artifact_is_not_opened(tmp_path: Path) -> None:
    a_finished_run(tmp_path)
    policy = boresight.run("first", store=str(tmp_path / "store")).artifact("policy")
    (policy.store.path(policy.key) / "weights.txt").write_text("POLICY")
    with pytest.raises(StageFailure, match=r"weights\.txt: found sha256:.*, expected sha256:"):
        policy.path()


def test_lines_for_logs_come_at_starts_phases_and_now_and_then() -> None:
    now = [0.0]
    lines: list[str] = []
    display = LineDisplay(6, write=lines.append, clock=lambda: now[0])
    display.begin("policy")
    for second in range(70):
        now[0] = float(second)
        display.update(
            {"phase": "train", "step": second, "totalSteps": 70, "loss": 0.5, "remainingSeconds": 70 - second}
        )
    display.end("✓", "done")
    assert lines == [
        "  policy  started",
        "  policy  train 0/70  loss 0.500  1 min 10 s left",
        "  policy  train 30/70  loss 0.500  40 s left",
        "  policy  train 60/70  loss 0.500  10 s left",
        "✓ policy  done",
    ]


def test_bars_leave_one_line_a_stage_and_nothing_that_a_terminal_would_obey() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=False, width=200)
    with BarDisplay(6, console) as display:
        display.note("run default/first \x1b[2J[bold]")
        display.begin("policy")
        display.update({"phase": "train", "step": 3, "totalSteps": 9, "loss": 0.5, "remainingSeconds": 12})
        display.update({"phase": "start", "step": 0, "totalSteps": 0})
        display.end("✓", "9 s  [red]\x07")
        display.begin("eval")
        display.end("=", "cached")
    lines = [line.rstrip() for line in screen.getvalue().splitlines() if line.strip()]
    assert lines == ["run default/first \ufffd[2J[bold]", "✓ policy  9 s  [red]\ufffd", "= eval    cached"]


def test_a_bar_shows_phase_steps_figures_and_the_time_left() -> None:
    screen = io.StringIO()
    with BarDisplay(6, Console(file=screen, force_terminal=True, width=200)) as display:
        display.begin("policy")
        display.update({"phase": "train", "step": 3, "totalSteps": 9, "loss": 0.5, "remainingSeconds": 12})
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"policy\s+train\s+.*3/9\s+loss 0\.500\s+0:00:0\d\s+12 s left", shown)


def test_figures_show_what_there_is() -> None:
    assert figures({}) == ""
    assert figures({"tokensPerSecond": 1234.5, "loss": 0.6931, "step": 3}) == "1,234 tokens/s  loss 0.693"
