"""Where etcd, kube-apiserver, kube-controller-manager and kubectl are: ``KUBEBUILDER_ASSETS``, the cache, or built.

``python tests/apiserver/assets.py`` (``make apikit``) builds them. They are one Go program (``kit/``), made once
from the Go module proxy: 4 to 6 minutes on two cores, 3 GB in Go's build cache (which can be emptied), 130 MB stay.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
KIT = Path(__file__).parent / "kit"
REMEDY = "install Go 1.24 or newer (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder that holds " + ", ".join(
    NAMES
)

Say = Callable[[str], None]


def kubernetes_version() -> str:
    """As ``go.mod`` pins it, such as ``v1.34.4``."""
    found = re.search(r"^\s+k8s\.io/kubernetes (v\S+)", (KIT / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise ValueError(f"{KIT / 'go.mod'}: found no requirement of k8s.io/kubernetes")
    return found[1]


def cache_folder() -> Path:
    """One folder for each content of ``kit/``, so that a change of it is built anew and no two mix."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((KIT / name).read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "boresight" / "apikit" / f"{kubernetes_version()}-{digest.hexdigest()[:8]}"


def find_or_build(say: Say) -> Path:
    """The folder with the four programs. Raises FileNotFoundError or RuntimeError with what to do about it."""
    if named := os.environ.get("KUBEBUILDER_ASSETS"):
        folder = Path(named)
        if missing := _missing(folder):
            raise FileNotFoundError(
                f"KUBEBUILDER_ASSETS={folder}: found no {', '.join(missing)}; unset it to build them"
            )
        return folder
    folder = cache_folder()
    with _locked(folder.with_name(folder.name + ".lock")):  # of two that start at once, one builds and the other waits
        if _missing(folder):
            _build(folder, say)
    return folder


def _missing(folder: Path) -> list[str]:
    return [name for name in NAMES if not os.access(folder / name, os.X_OK)]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(folder: Path, say: Say) -> None:
    if shutil.which("go") is None:
        raise FileNotFoundError(f"the API server of the tests is built with Go, and there is no `go`: {REMEDY}")
    started = time.monotonic()
    say(f"building a Kubernetes {kubernetes_version()} API server for the tests, once (4 to 6 minutes), into {folder}")
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=readonly", "GOWORK": "off"}
    total = len(_go(["list", "-deps", "."], environment).splitlines())
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    command = ["go", "build", "-v", "-trimpath", "-ldflags", _linker_flags(), "-o", str(new / "apikit"), "."]
    _watch(command, environment, total, started, say)
    for name in NAMES:
        (new / name).symlink_to("apikit")
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    say(f"built in {time.monotonic() - started:.0f} s; Go's build cache can be emptied with `go clean -cache`")


def _go(arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(["go", *arguments], cwd=KIT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"go {' '.join(arguments)}: {done.stderr.strip()}; {REMEDY}")
    return done.stdout


def _watch(command: list[str], environment: dict[str, str], total: int, started: float, say: Say) -> None:
    """Run the build; it names each package as it compiles it."""
    lines: list[str] = []
    said = time.monotonic()
    with subprocess.Popen(command, cwd=KIT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            lines.append(line.rstrip())
            if time.monotonic() - said >= 15:
                said = time.monotonic()
                say(f"  {len(lines)} of at most {total} packages after {said - started:.0f} s")
    if process.returncode:
        raise RuntimeError("go build failed:\n" + "\n".join(lines[-20:]) + f"\n{REMEDY}")


def _linker_flags() -> str:
    """Without a version the API server calls itself v0.0.0, which kubectl refuses. No dates: all builds are alike."""
    version = kubernetes_version()
    facts = {"gitVersion": version, "gitMajor": "1", "gitMinor": version.split(".")[1], "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s", "-w", *(f"-X {package}.{k}={v}" for package in packages for k, v in facts.items())])


def main() -> int:
    """Build if need be, and print the folder."""
    try:
        print(find_or_build(lambda line: print(line, file=sys.stderr, flush=True)))
    except (FileNotFoundError, RuntimeError) as error:
        print(f"apikit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
