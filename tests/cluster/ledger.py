"""What a cluster has changed on this machine, written down as it is done, so that exactly that is undone.

Also after a crash, and by another process: a process is known by its id and the time it was started at.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Started:
    """A process that we started."""

    name: str
    pid: int
    ticks: int
    """When it was started, in the kernel's ticks since boot. With it the id is never another process's."""

    @property
    def runs(self) -> bool:
        """Whether it is still there (and more than a corpse)."""
        found = _stat(self.pid)
        return found is not None and found[0] == self.ticks and found[1] != "Z"

    @property
    def child(self) -> int:
        """Of a process that only entered namespaces and started another in them: that one's id.

        Raises ProcessLookupError if there is none.
        """
        with suppress(FileNotFoundError):
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            if self.runs and children:
                return int(children[0])
        raise ProcessLookupError(f"{self.name} has no process in its namespaces: it has ended, or not started yet")


@dataclass
class Ledger:
    """Everything to undo. The file exists as long as there may be something."""

    path: Path
    processes: list[Started] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    """Network links. Addresses and routes go with them."""
    cgroups: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    """Mount points outside the cluster's own folder. Removed if they are empty."""
    sysctls: dict[str, str] = field(default_factory=dict)
    """Settings of the whole machine, as they were."""

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """None if there is nothing to undo."""
        if not path.exists():
            return None
        found = json.loads(path.read_text())
        return cls(path, **{**found, "processes": [Started(**process) for process in found["processes"]]})

    def write(self) -> None:
        """At once: a crash finds the old file or the new one."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({name: value for name, value in asdict(self).items() if name != "path"}, indent=1))
        new.replace(self.path)

    def process(self, name: str) -> Started:
        """The last one that was started under a name. Raises KeyError."""
        for process in reversed(self.processes):
            if process.name == name:
                return process
        raise KeyError(name)

    def start(self, name: str, command: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> Started:
        """Start a process that outlives us, in a session of its own."""
        with log.open("ab") as output:
            child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
        found = _stat(child.pid)
        assert found is not None, "a child that nobody waits for stays in /proc"
        started = Started(name, child.pid, found[0])
        self.processes = [process for process in self.processes if process.name != name]
        self.processes.append(started)
        self.write()
        return started

    def undo(self) -> None:
        """Raises TimeoutError, with the file kept, if something does not go."""
        for process in reversed(self.processes):
            kill(process)
        wait_gone(self.processes)
        for link in self.links:
            _quietly("ip", "link", "delete", link)
        for name in self.cgroups:
            _remove_cgroup(Path(name))
        for name, value in self.sysctls.items():
            Path("/proc/sys", *name.split(".")).write_text(value)
        for folder in self.folders:
            with suppress(OSError):
                Path(folder).rmdir()
        self.path.unlink()


def kill(process: Started) -> None:
    """SIGKILL, if it is still the one that was started."""
    if process.runs:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def wait_gone(processes: Sequence[Started], seconds: float = 20) -> None:
    """Until none runs. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while left := [process.name for process in processes if process.runs]:
        if time.monotonic() > end:
            raise TimeoutError(f"still running {seconds:g} s after SIGKILL: {', '.join(left)}")
        time.sleep(0.05)


def _remove_cgroup(root: Path) -> None:
    """With all below it, as soon as the last process in it is gone."""
    end = time.monotonic() + 20
    while root.exists():
        for folder, _, _ in os.walk(root, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
        if time.monotonic() > end:
            raise TimeoutError(f"processes are left in the control group {root}")
        time.sleep(0.05)


def _stat(pid: int) -> tuple[int, str] | None:
    """Start time in ticks, and state; None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[19]), fields[0]


def _quietly(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=False)
