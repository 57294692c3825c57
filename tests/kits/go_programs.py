"""Programs that the tests need and that are written in Go: built once from the Go module proxy into a cache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Say = Callable[[str], None]
REMEDY = "install Go 1.24 or newer (https://go.dev/dl)"


@dataclass(frozen=True)
class GoProgram:
    """A main package, and the folder whose ``go.mod`` and ``go.sum`` pin it (and hold its source, if it is ours)."""

    name: str
    """Of the executable, and of its folder in the cache."""
    folder: Path
    module: str
    """The module whose version is the program's."""
    takes: str
    """What a build costs, for who waits for it."""
    package: str = "."
    """A path in :attr:`folder`, if it is ours."""
    linker_flags: str = "-s -w"
    """``{version}`` stands for the version."""
    called: tuple[str, ...] = ()
    """Further names that it is called by; it looks which one it was."""
    tags: str = ""
    """Go's build constraints that hold, with commas between them."""

    @property
    def version(self) -> str:
        """As ``go.mod`` pins it, such as ``v1.34.4``."""
        found = re.search(rf"^\s*(?:require )?{re.escape(self.module)} (v\S+)", self._go_mod.read_text(), re.MULTILINE)
        if not found:
            raise ValueError(f"{self._go_mod}: found no requirement of {self.module}")
        return found[1]

    @property
    def cache(self) -> Path:
        """One folder for each content of :attr:`folder` and way to build it: a change is built anew and no two mix."""
        digest = hashlib.sha256(" ".join(filter(None, (self.package, self.linker_flags, self.tags))).encode())
        for path in (self._go_mod, self.folder / "go.sum", *self._sources):
            digest.update(path.read_bytes())
        return cache_root() / self.name / f"{self.version}-{digest.hexdigest()[:8]}"

    @property
    def built(self) -> bool:
        """Whether it is in the cache."""
        return not missing(self.cache, (self.name, *self.called))

    def find_or_build(self, say: Say) -> Path:
        """The folder with the executable. Raises FileNotFoundError or RuntimeError with what to do about it."""
        folder = self.cache
        with locked(folder):
            if not self.built:
                self._build(folder, say)
        return folder

    @property
    def _sources(self) -> list[Path]:
        """Those of its main package that are ours."""
        return sorted((self.folder / self.package).glob("*.go")) if self.package.startswith(".") else []

    @property
    def _go_mod(self) -> Path:
        return self.folder / "go.mod"

    def _build(self, folder: Path, say: Say) -> None:
        if shutil.which("go") is None:
            raise FileNotFoundError(f"{self.name} is built with Go, and there is no `go`: {REMEDY}")
        started = time.monotonic()
        say(f"building {self.name} {self.version} for the tests, once ({self.takes}), into {folder}")
        total = len(run_go(["list", "-deps", f"-tags={self.tags}", self.package], self.folder).splitlines())
        new = folder.with_name(folder.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        flags = self.linker_flags.format(version=self.version)
        options = ["-v", "-trimpath", f"-tags={self.tags}", "-ldflags", flags, "-o", str(new / self.name)]
        self._watch(["go", "build", *options, self.package], total, started, say)
        for name in self.called:
            (new / name).symlink_to(self.name)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
        say(f"built in {time.monotonic() - started:.0f} s; Go's build cache can be emptied with `go clean -cache`")

    def _watch(self, command: list[str], total: int, started: float, say: Say) -> None:
        """Run the build; it names each package as it compiles it."""
        lines: list[str] = []
        said = time.monotonic()
        with subprocess.Popen(
            command, cwd=self.folder, env=_environment(), stderr=subprocess.PIPE, text=True
        ) as process:
            for line in process.stderr or ():
                lines.append(line.rstrip())
                if time.monotonic() - said >= 15:
                    said = time.monotonic()
                    say(f"  {len(lines)} of at most {total} packages after {said - started:.0f} s")
        if process.returncode:
            raise RuntimeError(f"go build of {self.name} failed:\n" + "\n".join(lines[-20:]) + f"\n{REMEDY}")


def cache_root() -> Path:
    """The user's, for everything that the tests build."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "boresight"


def missing(folder: Path, names: tuple[str, ...]) -> list[str]:
    """Those of the programs that a folder lacks."""
    return [name for name in names if not os.access(folder / name, os.X_OK)]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Of two that start at once, one builds the folder and the other waits."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_go(arguments: list[str], folder: Path) -> str:
    """What a ``go`` command prints. Raises RuntimeError with what it says."""
    done = subprocess.run(
        ["go", *arguments], cwd=folder, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"go {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}; {REMEDY}")
    return done.stdout


def module_folder(name: str, folder: Path) -> Path:
    """Where the source of a module lies, downloaded if need be, in the version of ``folder/go.mod``."""
    return Path(json.loads(run_go(["mod", "download", "-json", name], folder))["Dir"])


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly", "GOWORK": "off"}
