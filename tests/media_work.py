"""What the tests' worker processes do; they import it by name."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from boresight_trainer.media.cache import Arrays
from boresight_trainer.media.errors import MediaError


@dataclass(frozen=True)
class Task:
    """One thing to do: give ``number`` after ``seconds``, or end otherwise."""

    number: int
    seconds: float = 0.0
    ending: str = ""
    size: int = 1


def do(task: Task) -> Arrays:
    """An array full of the task's number, with the process that made it."""
    time.sleep(task.seconds)
    match task.ending:
        case "media error":
            raise MediaError("nonsense", "sense", "think")
        case "bug":
            raise KeyError("a bug of ours")
        case "os error":
            raise FileNotFoundError(2, "No such file or directory", "there")
        case "exit":
            os._exit(3)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "noise":
            print("noise on stdout")
            os.write(1, b"more noise")
    return {"number": np.full(task.size, task.number), "process": np.array(os.getpid())}


@dataclass(frozen=True)
class Touch:
    """Leaves a file for every task that was begun, so that a test can see how far ahead work is."""

    folder: Path

    def __call__(self, task: Task) -> Arrays:
        (self.folder / str(task.number)).touch()
        return do(task)


def with_a_child(task: Task) -> Arrays:
    """Starts a process, names it in a file, and waits for ever, as for an ffmpeg that hangs."""
    import subprocess

    child = subprocess.Popen(["sleep", "600"])
    Path(os.environ["CHILD_FILE"]).write_text(f"{os.getpid()} {child.pid}")
    child.wait()
    return do(task)
