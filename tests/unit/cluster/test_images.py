"""Archives of images: the same from the same files, each layer once, and what Docker's format asks for."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest
from cluster.images import Image, Layer, base, libraries, write_archive


def a_layer(folder: Path, content: str = "hello") -> Layer:
    folder.mkdir(exist_ok=True)
    (folder / "program").write_text(content)
    (folder / "program").chmod(0o755)
    (folder / "data").write_text("data")
    os.utime(folder / "program", (1_000, 1_000))
    os.utime(folder / "data", (1_000, 1_000))
    layer = base()
    layer.tree(folder, "opt/deep/place")
    layer.link("bin/program", "../opt/deep/place/program")
    return layer


def members(layer: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(layer.tar)) as archive:
        return {entry.name: entry for entry in archive.getmembers()}


def test_the_same_files_make_the_same_image_and_others_another(tmp_path: Path) -> None:
    one, same, other = (
        Image("x", (a_layer(tmp_path / name, content),)) for name, content in (("a", "1"), ("b", "1"), ("c", "2"))
    )
    assert one.reference == same.reference
    assert one.reference != other.reference
    for image, name in ((one, "one.tar"), (same, "same.tar")):
        write_archive([image], tmp_path / name)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "same.tar").read_bytes()


def test_how_a_container_starts_is_part_of_the_image(tmp_path: Path) -> None:
    layer = a_layer(tmp_path / "a")
    assert Image("x", (layer,)).tag != Image("x", (layer,), entrypoint=("/bin/program",)).tag


def test_folders_above_a_file_are_there_and_everybody_may_enter_them(tmp_path: Path) -> None:
    found = members(a_layer(tmp_path / "a"))
    assert [found[name].mode for name in ("opt", "opt/deep", "opt/deep/place")] == [0o755] * 3
    assert found["opt/deep/place/program"].mode == 0o755
    assert found["opt/deep/place/data"].mode == 0o644
    assert found["tmp"].mode == 0o1777
    assert found["bin/program"].linkname == "../opt/deep/place/program"
    assert {entry.uid for entry in found.values()} == {0}


def test_a_compiled_file_stays_valid_because_its_source_keeps_its_time(tmp_path: Path) -> None:
    assert members(a_layer(tmp_path / "a"))["opt/deep/place/program"].mtime == 1_000


def test_folders_that_are_not_wanted_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "test").mkdir(parents=True)
    (source / "test" / "much").touch()
    (source / "real").mkdir()
    (source / "real" / "file").touch()
    (source / "alias").symlink_to("real")
    layer = Layer()
    layer.tree(source, "x", without=("test",))
    found = members(layer)
    assert set(found) == {"x", "x/alias", "x/real", "x/real/file"}
    assert found["x/alias"].linkname == "real"


def test_an_archive_of_two_images_holds_their_common_layer_once_under_its_digest(tmp_path: Path) -> None:
    layer = a_layer(tmp_path / "a")
    images = [Image("one", (layer,)), Image("two", (layer,), user="0:0")]
    write_archive(images, tmp_path / "images.tar")
    with tarfile.open(tmp_path / "images.tar") as archive:
        names = archive.getnames()
        (manifest_file,) = (archive.extractfile(name) for name in names if name == "manifest.json")
        assert manifest_file is not None
        manifest = json.load(manifest_file)
        digest = hashlib.sha256(layer.tar).hexdigest()
        assert names.count(f"{digest}.tar") == 1
        for entry, image in zip(manifest, images, strict=True):
            assert entry["RepoTags"] == [image.reference]
            assert entry["Layers"] == [f"{digest}.tar"]
            configuration = archive.extractfile(entry["Config"])
            assert configuration is not None
            text = configuration.read()
            assert entry["Config"] == f"{hashlib.sha256(text).hexdigest()}.json"
            assert json.loads(text)["rootfs"]["diff_ids"] == [f"sha256:{digest}"]


def test_the_libraries_of_a_program_are_found_with_the_loader() -> None:
    names = {path.name for path in libraries(Path(sys.executable).resolve())}
    assert any(name.startswith("libc.so") for name in names)
    assert any(name.startswith("ld-") for name in names)


def test_a_script_has_no_libraries(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert libraries(script) == set()


def test_a_library_that_is_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "ldd"
    fake.write_text("#!/bin/sh\necho '\tlibabsent.so.1 => not found'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(RuntimeError, match=r"libabsent\.so\.1"):
        libraries(Path("/bin/true"))
