"""``boresight compare`` of a manifest as Git has had it: its results are found by the keys of its plan."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from boresight.local.attempt import AttemptFolder, Process
from boresight.local.display import LineDisplay
from boresight.local.run import run_manifest
from boresight.main import main
from boresight_api.execution import Stage
from boresight_api.outcome import Outcome, OutcomeStatus
from boresight_trainer.store.file import FileStore
from builders_cli import FakeLauncher, FakeProcess, a_manifest, a_results_document, leave, publish

Ask = Callable[..., tuple[int, str, str]]
BETA = '  policy: {{dpo: {{beta: "{beta}"}}}}\n'


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=ann", "-c", "user.email=ann@example.com"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def measuring(share: float) -> FakeLauncher:
    """A launcher whose evaluation measures this."""

    def evaluate(stage: Stage, folder: AttemptFolder) -> Process:
        def act() -> None:
            store = FileStore(stage.execution.storage)
            shares = {"policy": (share, share - 0.1, share + 0.1)}
            publish(store, stage, {"results.json": json.dumps(a_results_document(shares))})
            artifact = {"uri": store.artifact_uri(stage.key), "digest": store.digest(stage.key)}
            leave(folder, Outcome(status=OutcomeStatus.SUCCEEDED, stage=stage.name, key=stage.key, artifact=artifact))

        return FakeProcess(act=act)

    return FakeLauncher(behaviour={"evaluation": evaluate})


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command in a repository whose run was committed and run with beta 0.1, then with 0.3."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BORESIGHT_STORE", str(tmp_path / "store"))
    repository = tmp_path / "repository"
    for beta, share in (("0.1", 0.5), ("0.3", 0.6)):
        run_manifest(
            a_manifest(repository / "runs", more=BETA.format(beta=beta)),
            FileStore((tmp_path / "store").as_uri()),
            make_display=lambda width: LineDisplay(width, write=lambda _: None),
            make_launcher=lambda _, share=share: measuring(share),  # type: ignore[misc]
        )
        git(repository, "init", "-q")
        git(repository, "add", "-A")
        git(repository, "commit", "-qm", beta)
    monkeypatch.chdir(repository)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["compare", *arguments, "-o", "json"])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def shares(out: str) -> dict[str, float]:
    """By column."""
    row = next(row for row in json.loads(out) if row["name"] == "promptShare" and row["candidate"] == "policy")
    return {name: value for name, value in row.items() if isinstance(value, float)}


@pytest.mark.parametrize(
    "names",
    [
        ("HEAD~1:runs/first.yaml", "HEAD:runs/first.yaml"),
        ("HEAD~1:runs/first.yaml", "runs/first.yaml"),
        ("HEAD~1:runs/first.yaml", "first"),
        ("HEAD~1:./runs/first.yaml", "first"),
    ],
)
def test_an_edit_is_compared_with_what_was_before_it(ask: Ask, names: tuple[str, str]) -> None:
    code, out, err = ask(*names)
    assert (code, err) == (0, "")
    assert shares(out) == {names[0]: 0.5, names[1]: 0.6}


def test_from_a_folder_below_gits_words_mean_what_they_mean_there(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("runs")
    for words in ("HEAD~1:runs/first.yaml", "HEAD~1:./first.yaml"):
        assert shares(ask(words, "first")[1])[words] == 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("HEAD:runs/second.yaml", "path 'runs/second.yaml' does not exist in 'HEAD'"),
        ("v9:runs/first.yaml", "invalid object name 'v9'"),
        ("second.yaml", "found no text there"),
    ],
)
def test_what_git_does_not_have_is_said(ask: Ask, words: str, message: str) -> None:
    code, _, err = ask(words, "first")
    assert code == 1
    assert message in err


def test_what_was_never_run_or_is_another_run_is_said(ask: Ask) -> None:
    file = Path("runs/first.yaml")
    text = file.read_text()
    file.write_text(text.replace("0.3", "0.7"))
    code, _, err = ask("runs/first.yaml", "HEAD:runs/first.yaml")
    assert code == 1
    assert "it was never run to its end" in err
    file.write_text(text.replace("name: first", "name: other"))
    assert "runs/first.yaml: found no run other in file://" in ask("runs/first.yaml", "first")[2]
    file.write_text(text.replace("embedded://tiny", "hf://Qwen/Qwen2.5-0.5B-Instruct"))
    assert "runs/first.yaml: its keys are not known" in ask("runs/first.yaml", "first")[2]
