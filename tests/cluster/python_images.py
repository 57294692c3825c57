"""The operator's and the trainer's images in the light form that tests use: with the Python of this machine.

The operator's holds what it requires, copied out of the environment that the tests run in. The trainer's holds Python
alone: torch with its libraries, gigabytes, is mounted from that environment, with our code, read-only.
"""

from __future__ import annotations

import compileall
import importlib.util
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from cluster.images import Image, Layer, busybox, libraries
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = Path(sys.prefix)
SITE = Path(sysconfig.get_path("purelib"))
INTERPRETER = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
PACKAGES = "/opt/boresight"
CODE = "/opt/code"
_NOT_NEEDED = (
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "lib2to3",
    "ensurepip",
)
_NOT_IMPORTED = "kubernetes/aio"
"""The asynchronous half of the Kubernetes client, 41 MB; the operator's Dockerfile leaves it out too."""
_IMPORTED = (
    "from boresight_trainer.forkserver import preload; preload(); "
    "import boresight_trainer.main, transformers.models.llama.modeling_llama"
)
_USER = {"HOME": "/tmp", "USER": "boresight"}


def images() -> tuple[Image, Image]:
    """The operator's and the trainer's."""
    shell, interpreter = busybox(), python()
    operator = Image(
        "boresight-operator",
        (shell, interpreter, requirements("operator"), operator_code()),
        path=(f"{CODE}/bin", "/usr/bin", "/bin"),
        environment={**_USER, "PYTHONPATH": f"{CODE}:{PACKAGES}"},
    )
    path = (str(ENVIRONMENT / "bin"), "/usr/bin", "/bin")
    return operator, Image("boresight-trainer", (shell, interpreter), path=path, environment=_USER)


def mounted() -> Path:
    """What a trainer's pod must see at its own path: the repository, with the environment in it.

    What it imports is compiled now, for a pod could not keep it. Raises RuntimeError if the tests run in an environment
    elsewhere.
    """
    if not ENVIRONMENT.is_relative_to(REPOSITORY):
        raise RuntimeError(f"the tests run in {ENVIRONMENT}, expected an environment below {REPOSITORY}: use make")
    subprocess.run([sys.executable, "-c", _IMPORTED], check=True)
    return REPOSITORY


def python() -> Layer:
    """The interpreter, its library, and the system's libraries that it and torch load."""
    layer = Layer()
    library = Path(sysconfig.get_path("stdlib"))
    layer.file(INTERPRETER)
    for link in _links(ENVIRONMENT / "bin" / "python3"):
        layer.link(str(link), str(link.readlink()))
    layer.tree(library, without=(*_NOT_NEEDED, Path(sysconfig.get_config_var("LIBPL")).name))
    extensions = [path for path in (library / "lib-dynload").glob("*.so") if not path.name.startswith("_tkinter")]
    loading = [INTERPRETER, *extensions, *SITE.glob("torch/lib/libtorch_python.so")]
    for path in sorted(libraries(*loading)):
        if not path.is_relative_to(ENVIRONMENT):
            layer.file(path)
    return layer


def requirements(extra: str) -> Layer:
    """The packages that an extra of ours asks for, and what these ask for."""
    layer = Layer()
    for package in _required(distribution("boresight"), extra):
        for path in _files(package):
            if path.is_relative_to(SITE):
                layer.file(path, f"{PACKAGES}/{path.relative_to(SITE)}")
    return layer


def operator_code() -> Layer:
    """What we wrote, and the command."""
    layer = Layer()
    ours = distribution("boresight")
    for path in _files(ours):
        if path.parent.suffix == ".dist-info":
            layer.file(path, f"{CODE}/{path.relative_to(SITE)}")
    for package in ("crds/boresight_api", "operator/boresight_operator"):
        layer.tree(REPOSITORY / package, f"{CODE}/{Path(package).name}", without=("__pycache__",))
    (command,) = (point for point in ours.entry_points if point.name == "boresight-operator")
    script = f"#!{INTERPRETER}\nimport sys\nfrom {command.module} import {command.attr}\nsys.exit({command.attr}())\n"
    layer.text(f"{CODE}/bin/boresight-operator", script, 0o755)
    return layer


def _links(path: Path) -> Iterator[Path]:
    """Those between a program of the environment and the interpreter, outside the environment."""
    while path.is_symlink():
        path = path.parent / path.readlink()
        if path.is_symlink() and not path.is_relative_to(ENVIRONMENT):
            yield path


def _required(package: Distribution, extra: str = "") -> list[Distribution]:
    """Without itself, by name."""
    found: dict[str, Distribution] = {}
    queue = [(package, extra)]
    while queue:
        asking, chosen = queue.pop()
        for line in asking.requires or ():
            requirement = Requirement(line)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": chosen})
            ours = asking is not package or (requirement.marker is not None and "extra" in str(requirement.marker))
            name = canonicalize_name(requirement.name)
            if wanted and ours and name not in found:
                found[name] = distribution(name)
                queue += [(found[name], each) for each in ("", *requirement.extras)]
    return [found[name] for name in sorted(found)]


def _files(package: Distribution) -> Iterator[Path]:
    """Its files that are there, compiled: where they will run, that cannot be written."""
    for entry in package.files or ():
        path = Path(str(package.locate_file(entry))).resolve()
        if _NOT_IMPORTED in str(path) or not path.is_file() or path.suffix == ".pyc":
            continue
        yield path
        if path.suffix == ".py" and compileall.compile_file(path, quiet=2):
            yield Path(importlib.util.cache_from_source(str(path)))
