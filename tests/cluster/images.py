"""Images without a registry: docker-archives, the same bytes from the same files, that nodes import."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

REGISTRY = "boresight.test"
"""Of a top-level domain that no name server knows (RFC 2606)."""
_CREATED = "1970-01-01T00:00:00Z"


class Layer:
    """Files of an image. Folders above them come by themselves, readable to everybody."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[tarfile.TarInfo, bytes | Path]] = {}

    def folder(self, path: str, mode: int = 0o755) -> None:
        """An empty folder."""
        self._add(path, tarfile.DIRTYPE, b"", mode)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._add(path, tarfile.SYMTYPE, b"", 0o777, target)

    def text(self, path: str, content: str, mode: int = 0o644) -> None:
        """A file that is written here."""
        self._add(path, tarfile.REGTYPE, content.encode(), mode)

    def file(self, source: Path, path: str | None = None) -> None:
        """A copy of a file, by default at its own path; executable if the source is."""
        mode = 0o755 if os.access(source, os.X_OK) else 0o644
        self._add(path or str(source), tarfile.REGTYPE, source, mode)
        # Python takes a compiled file that lies beside only with the time that its source had.
        self._entries[(path or str(source)).strip("/")][0].mtime = int(source.stat().st_mtime)

    def tree(self, source: Path, path: str | None = None, *, without: Iterable[str] = ()) -> None:
        """A copy of a folder and what is below it, without folders of some names."""
        skipped = set(without)
        target = path or str(source)
        for folder, folders, files in os.walk(source):
            folders[:] = sorted(set(folders) - skipped)
            place = Path(target) / Path(folder).relative_to(source)
            for name in sorted([*files, *(each for each in folders if (Path(folder) / each).is_symlink())]):
                found = Path(folder) / name
                if found.is_symlink():
                    self.link(str(place / name), str(found.readlink()))
                else:
                    self.file(found, str(place / name))

    @cached_property
    def tar(self) -> bytes:
        """The layer, as it is unpacked."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for _, (entry, content) in sorted(self._entries.items()):
                data = content.read_bytes() if isinstance(content, Path) else content
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()

    def _add(self, path: str, kind: bytes, content: bytes | Path, mode: int, link: str = "") -> None:
        name = path.strip("/")
        for parent in list(Path(name).parents)[:-1]:
            if str(parent) not in self._entries:
                self._entries[str(parent)] = (_entry(str(parent), tarfile.DIRTYPE, 0o755), b"")
        self._entries[name] = (_entry(name, kind, mode, link), content)


@dataclass(frozen=True)
class Image:
    """Layers, and how a container of them starts."""

    name: str
    layers: Sequence[Layer]
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    path: Sequence[str] = ("/usr/local/bin", "/usr/bin", "/bin")
    """Folders of programs."""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = "65532:65532"

    @property
    def reference(self) -> str:
        """Its tag says what it consists of: an image of one name never changes."""
        return f"{self.repository}:{self.tag}"

    @property
    def repository(self) -> str:
        """The name without the tag."""
        return f"{REGISTRY}/{self.name}"

    @property
    def tag(self) -> str:
        """Twelve digits."""
        return hashlib.sha256(self.configuration).hexdigest()[:12]

    @cached_property
    def configuration(self) -> bytes:
        """As the image format has it (OCI image configuration)."""
        environment = {"PATH": ":".join(self.path), **self.environment}
        document: dict[str, Any] = {
            "architecture": _architecture(),
            "os": "linux",
            "created": _CREATED,
            "config": {
                "Env": [f"{name}={value}" for name, value in environment.items()],
                "Entrypoint": list(self.entrypoint) or None,
                "Cmd": list(self.command) or None,
                "User": self.user,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}" for layer in self.layers]},
            "history": [{"created": _CREATED} for _ in self.layers],
        }
        return json.dumps(document, sort_keys=True).encode()


def write_archive(images: Iterable[Image], path: Path) -> None:
    """One docker-archive of all images; a layer that several have is in it once."""
    files: dict[str, bytes] = {}
    manifest = []
    for image in images:
        layers = {f"{_digest(layer)}.tar": layer.tar for layer in image.layers}
        configuration = f"{hashlib.sha256(image.configuration).hexdigest()}.json"
        files |= {**layers, configuration: image.configuration}
        manifest.append({"Config": configuration, "RepoTags": [image.reference], "Layers": list(layers)})
    files["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            entry = _entry(name, tarfile.REGTYPE, 0o644)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def base() -> Layer:
    """A root that has users, and a place to write."""
    layer = Layer()
    for name in ("dev", "etc", "proc", "sys"):
        layer.folder(name)
    layer.folder("tmp", 0o1777)
    users = "root:x:0:0:root:/:/bin/sh\nboresight:x:65532:65532:boresight:/home/boresight:/bin/sh\n"
    layer.text("etc/passwd", users)
    layer.text("etc/group", "root:x:0:\nboresight:x:65532:\n")
    return layer


def busybox() -> Layer:
    """A shell and what one calls from it."""
    program = program_path("busybox")
    layer = with_libraries(base(), program)
    layer.file(program, "bin/busybox")
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        if name != "busybox":
            layer.link(f"bin/{name}", "busybox")
    return layer


def program_path(name: str) -> Path:
    """Of a program of this machine. Raises FileNotFoundError."""
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return Path(found).resolve()


def with_libraries(layer: Layer, *programs: Path) -> Layer:
    """The programs' shared libraries too, at their paths."""
    for library in sorted(libraries(*programs)):
        layer.file(library)
    return layer


def libraries(*programs: Path) -> set[Path]:
    """Shared libraries that the loader would load, and the loader. Raises RuntimeError if one is nowhere."""
    found: set[Path] = set()
    for program in programs:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for line in listed.splitlines():  # none of a static program
            if "not found" in line:
                raise RuntimeError(f"{program}: {line.strip()}")
            found |= {Path(word) for word in line.split() if word.startswith("/")}
    return found


def _digest(layer: Layer) -> str:
    return hashlib.sha256(layer.tar).hexdigest()


def _entry(name: str, kind: bytes, mode: int, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, link
    return entry


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
