"""``kubectl boresight`` as a user meets it: words in; exit code, stdout and stderr out."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from boresight.main import plugin_main

PROGRAM = Path(sys.executable).parent / "kubectl-boresight"


@dataclass(frozen=True)
class Said:
    """What a command left."""

    code: int
    out: str
    err: str

    def __contains__(self, words: str) -> bool:
        """Whether it said that, to whichever stream, in whatever lines."""
        return " ".join(words.split()) in " ".join((self.out + self.err).split())


class _Output(io.TextIOWrapper):
    """A stream of text with bytes below it, as stdout is."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        """All of it."""
        below = self.buffer
        assert isinstance(below, io.BytesIO)
        return below.getvalue().decode()


@dataclass(frozen=True)
class Plugin:
    """The command with one kubeconfig and one namespace."""

    kubeconfig: Path
    namespace: str

    def __call__(self, *words: str, namespace: bool = True) -> Said:
        """In this process."""
        out, err = _Output(), _Output()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = plugin_main(self._words(*words, namespace=namespace))
        return Said(code, out.text, err.text)

    def ok(self, *words: str) -> str:
        """What it prints. Raises AssertionError if it fails."""
        said = self(*words)
        assert said.code == 0, said
        return said.out

    def start(self, *words: str) -> Background:
        """As a process of its own."""
        command = [str(PROGRAM), *self._words(*words, namespace=True)]
        env = {"PATH": os.environ["PATH"], "HOME": str(Path.cwd())}
        pipe = subprocess.PIPE
        return Background(
            subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env, preexec_fn=_heeds_ctrl_c)
        )

    def _words(self, *words: str, namespace: bool) -> list[str]:
        where = ["--kubeconfig", str(self.kubeconfig), *(["-n", self.namespace] if namespace else [])]
        return [*words, *where]


def _heeds_ctrl_c() -> None:
    """What a shell starts in the background, such as these tests, ignores it, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Background:
    """A command that goes on beside the test. Use as a context manager."""

    process: subprocess.Popen[str]

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def first_news(self) -> str:
        """The first line on stderr that was not read yet, once it comes."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self, seconds: float = 30) -> Said:
        """How it ended. Raises subprocess.TimeoutExpired."""
        out, err = self.process.communicate(timeout=seconds)
        return Said(self.process.returncode, out, err)
