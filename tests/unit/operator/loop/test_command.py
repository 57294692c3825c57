"""The command, its logs, and what it says when it cannot start."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from boresight_operator import logs, main


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No kubeconfig, no service account, no settings; logging as it was."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for word in ("KUBECONFIG", "--config", "BORESIGHT_OPERATOR_", "storage", "Exit codes", "/metrics"):
        assert word in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["--version"])
    assert capsys.readouterr().out.startswith("boresight-operator ")


def test_settings_that_cannot_be_used_are_named_and_nothing_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BORESIGHT_OPERATOR_CONFIG", "")
    config = tmp_path / "config.yaml"
    config.write_text("workers: many\nlistIntervalSeconds: 0\n")
    assert main.main(["--config", str(config)]) == main.UNUSABLE
    error = capsys.readouterr().err
    assert "workers" in error
    assert "listIntervalSeconds" in error
    assert "Traceback" not in error


def test_without_credentials_it_says_where_they_are_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == main.UNUSABLE
    error = capsys.readouterr().err
    assert "KUBECONFIG" in error
    assert "Traceback" not in error


def test_a_line_of_the_log_is_json_with_run_and_stage() -> None:
    stream = io.StringIO()
    logs.configure("INFO", lambda: 1_800_000_000.0, stream)
    logger = logging.getLogger("boresight_operator.test")
    logger.warning("it is %s", "so\nand so", extra={"run": "team/AlignmentRun/first", "stage": "policy"})
    logger.debug("not this")
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {
            "time": "2027-01-15T08:00:00Z",
            "level": "WARNING",
            "logger": "boresight_operator.test",
            "message": "it is so\nand so",
            "run": "team/AlignmentRun/first",
            "stage": "policy",
        }
    ]


def test_an_error_keeps_the_end_of_its_traceback() -> None:
    stream = io.StringIO()
    logs.configure("INFO", lambda: 0.0, stream)
    try:
        raise ValueError("here")
    except ValueError:
        logging.getLogger("boresight_operator.test").exception("failed")
    line = json.loads(stream.getvalue())
    assert line["error"].endswith("ValueError: here")


def test_a_long_message_is_cut() -> None:
    stream = io.StringIO()
    logs.configure("INFO", lambda: 0.0, stream)
    logging.getLogger("boresight_operator.test").warning("x" * 100_000)
    assert len(stream.getvalue()) < 5_000


def test_importing_the_operator_costs_less_than_96_mib() -> None:
    """Imports alone are most of what an idle operator takes. Torch and the trainer are not among them."""
    code = (
        "import sys, boresight_operator.main\n"
        "pages = int(open('/proc/self/statm').read().split()[1])\n"
        "heavy = {'torch', 'transformers', 'boresight_trainer', 'rich', 'numpy'} & set(sys.modules)\n"
        "print(pages * 4096 / 2**20, sorted(heavy))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    mib, _, heavy = out.partition(" ")
    assert float(mib) < 96
    assert heavy.strip() == "[]"
