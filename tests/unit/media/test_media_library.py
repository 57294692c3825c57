"""What rows may name: files of their source that its digest covers, members of archives there, bytes of their own."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from boresight_trainer.data.records import MediaReference, Modality
from boresight_trainer.media.errors import MediaError
from boresight_trainer.media.headers import ImageHeader
from boresight_trainer.media.library import Content, MediaLibrary, digest_of
from boresight_trainer.media.limits import Limits
from boresight_trainer.media.paths import SourcePaths
from boresight_trainer.store.digests import DigestCache
from builders_media import a_picture


def a_library(folder: Path, limits: Limits | None = None) -> MediaLibrary:
    return MediaLibrary(folder / "kept", limits=limits, digests=DigestCache(folder / "digests"))


def entered(
    tmp_path: Path, *paths: str, root: Path | None = None, folder: str = "", limits: Limits | None = None
) -> list[bytes | str]:
    """The content of each path, or the complaint about it."""
    library = a_library(tmp_path, limits)
    found = library.enter([(folder, path) for path in paths], SourcePaths(root or tmp_path / "data"))
    return [_shown(library, found[folder, path]) for path in paths]


def _shown(library: MediaLibrary, found: Content | MediaError) -> bytes | str:
    if isinstance(found, MediaError):
        return str(found)
    content = library.open(found.digest).read_bytes()
    assert found == Content("sha256:" + hashlib.sha256(content).hexdigest(), len(content))
    return content


def a_folder(tmp_path: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "data"


def test_content_is_one_thing_under_all_its_names(tmp_path: Path) -> None:
    root = a_folder(tmp_path, {"a.png": b"1", "b/c.png": b"1", "d.png": b"2"})
    library = a_library(tmp_path)
    found = library.enter([("", "a.png"), ("", "b/c.png"), ("", "d.png")], SourcePaths(root))
    assert found["", "a.png"] == found["", "b/c.png"] != found["", "d.png"]
    assert not (tmp_path / "kept").exists()  # files are used where they lie


def test_a_path_is_seen_from_the_rows_file_then_from_the_source(tmp_path: Path) -> None:
    a_folder(tmp_path, {"part/a.png": b"part", "a.png": b"root", "b.png": b"b"})
    assert entered(tmp_path, "a.png", "b.png", folder="part") == [b"part", b"b"]
    assert entered(tmp_path, "a.png", "./part/a.png") == [b"root", b"part"]


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("http://host/a.png", "found a URL, expected a path beside the data: download it first"),
        ("ftp://host/a.png", "found a URL"),
        ("data:image/png;base64,AAAA", "found a URL"),
        ("concat:a.png|b.png", "found a URL"),
        ("pipe:0", "found a URL"),
        ("file:a.png", "found a URL"),
        ("//host/share/a.png", "found a URL"),
        ("/etc/passwd", "found an absolute path, expected one relative to the data: put the file beside"),
        ("~/a.png", "found an absolute path"),
        ("../secret", "found a path that leads upwards, expected one below the data"),
        ("b/../../secret", "found a path that leads upwards"),
        (".hidden", "found a name with a dot first, expected one that the source's digest covers"),
        ("b/.git/a.png", "found a name with a dot first"),
        ("a.png\0.txt", "found a character that paths may not have"),
        ("..\\secret", "found a character that paths may not have"),
        ("", "found no path"),
        ("b", "found no regular file"),
        ("pipe", "found no regular file"),
        ("nowhere.png", "found no such file, expected a file below data: correct the path, or put the file there"),
        ("a.png/b", "found no such file"),
        ("x" * 300, "found no such file"),
        ("out.png", "found a link that leads out of the source"),
        ("out/secret", "found a path through a link to a folder"),
        ("in/c.png", "found a path through a link to a folder"),
        ("gone.png", "found a link that leads out of the source|found no regular file"),
    ],
)
def test_nothing_is_read_that_the_source_does_not_cover(tmp_path: Path, path: str, complaint: str) -> None:
    root = a_folder(tmp_path, {"a.png": b"1", "b/c.png": b"1", ".hidden": b"h", "b/.git/a.png": b"h"})
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "out.png").symlink_to(tmp_path / "secret")
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "b")
    (root / "gone.png").symlink_to(root / "nowhere")
    os.mkfifo(root / "pipe")
    (found,) = entered(tmp_path, path)
    assert isinstance(found, str)
    assert any(found.startswith(one) for one in complaint.split("|"))


def test_a_link_to_a_file_of_the_source_is_that_file(tmp_path: Path) -> None:
    root = a_folder(tmp_path, {"b/c.png": b"1"})
    (root / "a.png").symlink_to("b/c.png")
    assert entered(tmp_path, "a.png") == [b"1"]


def test_a_source_that_is_one_file_covers_no_other(tmp_path: Path) -> None:
    a_folder(tmp_path, {"rows.jsonl": b"", "a.png": b"1"})
    (found,) = entered(tmp_path, "a.png", root=tmp_path / "data/rows.jsonl")
    assert isinstance(found, str)
    assert "single file rows.jsonl, whose digest covers no other" in found
    assert "name the folder as the uri" in found


def test_only_what_files_name_is_covered_by_their_digest(tmp_path: Path) -> None:
    root = a_folder(tmp_path, {"rows.jsonl": b"", "a.png": b"1"})
    a_zip(root / "photos.zip", {"b.png": b"2"})
    library, paths = a_library(tmp_path), SourcePaths(root, ("rows.jsonl", "photos.zip"))
    found = library.enter([("", "a.png"), ("", "photos/b.png")], paths)
    assert _shown(library, found["", "photos/b.png"]) == b"2"
    assert "found a file that `files` does not name" in str(found["", "a.png"])


def test_content_that_changes_after_it_was_read_is_not_given_out(tmp_path: Path) -> None:
    root = a_folder(tmp_path, {"a.png": b"1", "b.png": b"2"})
    library = a_library(tmp_path)
    found = library.enter([("", "a.png"), ("", "b.png")], SourcePaths(root))
    (root / "a.png").write_bytes(b"another")
    (root / "b.png").unlink()
    for content in found.values():
        assert isinstance(content, Content)
        with pytest.raises(MediaError, match=r"\.png changed since the rows were read"):
            library.open(content.digest)


def test_bytes_of_rows_are_kept_by_their_digest(tmp_path: Path) -> None:
    library, digest = a_library(tmp_path), digest_of(b"1")
    assert digest not in library
    with pytest.raises(KeyError):
        library.open(digest)
    for _ in range(2):
        library.keep(b"1", digest)
    assert digest in library
    assert library.open(digest).read_bytes() == b"1"


def test_headers_are_read_once_and_kept(tmp_path: Path) -> None:
    root = a_folder(tmp_path, {"b.txt": b"text"})
    content = a_picture(root / "a.png").read_bytes()
    library = a_library(tmp_path)
    references = {}
    for name in ("a.png", "b.txt"):
        found = library.enter([("", name)], SourcePaths(root))["", name]
        assert isinstance(found, Content)
        references[name] = MediaReference(Modality.IMAGE, digest=found.digest, size=found.size)
    errors = library.inspect(references.values())
    assert list(errors) == [references["b.txt"]]
    assert "found text ('text')" in str(errors[references["b.txt"]])
    assert library.header(references["a.png"]) == ImageHeader(40, 30, 1, 1, "RGB")
    assert references["a.png"].size == len(content)
    with pytest.raises(KeyError):
        library.header(references["b.txt"])
    (root / "a.png").unlink()
    assert library.inspect([references["a.png"]]) == {}


# -- archives --------------------------------------------------------------------------------------------------------


def a_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def a_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def an_archive(path: Path, members: Mapping[str, bytes]) -> Path:
    return (a_zip if path.suffix == ".zip" else a_tar)(path, members)


ARCHIVES = pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz"])


@ARCHIVES
@pytest.mark.parametrize("path", ["photos{}/a/b.png", "photos/a/b.png"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_members_are_named_below_their_archive(tmp_path: Path, suffix: str, path: str, prefix: str) -> None:
    root = a_folder(tmp_path, {"part/x": b""})
    an_archive(root / f"part/photos{suffix}", {f"{prefix}a/b.png": b"1", "c.png": b"2"})
    assert entered(tmp_path, path.format(suffix), folder="part") == [b"1"]
    assert entered(tmp_path, f"part/{path.format(suffix)}") == [b"1"]


@ARCHIVES
def test_an_archive_may_hold_the_folder_that_it_is_named_like(tmp_path: Path, suffix: str) -> None:
    an_archive(a_folder(tmp_path, {"x": b""}) / f"photos{suffix}", {"photos/b.png": b"1", "c.png": b"2"})
    assert entered(tmp_path, "photos/b.png", "photos/c.png") == [b"1", b"2"]


@ARCHIVES
def test_only_members_that_rows_name_are_unpacked(tmp_path: Path, suffix: str) -> None:
    members = {"a.png": b"1", "b.png": b"2", "../../c.png": b"3", "/d.png": b"4"}
    an_archive(a_folder(tmp_path, {"x": b""}) / f"photos{suffix}", members)
    found = entered(tmp_path, "photos/a.png", "photos/nowhere.png")
    assert found[0] == b"1"
    assert f"found no such member of photos{suffix}" in str(found[1])
    assert [path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()] == [b"1"]
    assert not list(tmp_path.glob("*.png"))


@ARCHIVES
def test_a_folder_beside_the_archive_comes_first(tmp_path: Path, suffix: str) -> None:
    an_archive(a_folder(tmp_path, {"photos/a.png": b"lies there"}) / f"photos{suffix}", {"a.png": b"packed"})
    assert entered(tmp_path, "photos/a.png", f"photos{suffix}/a.png") == [b"lies there", b"packed"]


@ARCHIVES
def test_members_have_limits(tmp_path: Path, suffix: str) -> None:
    an_archive(a_folder(tmp_path, {"x": b""}) / f"photos{suffix}", {"bomb.png": bytes(1 << 20), "a.png": b"1"})
    bomb, small = entered(tmp_path, "photos/bomb.png", "photos/a.png", limits=Limits(bytes=1000))
    assert "found 1048576 bytes, expected at most 1000" in str(bomb)
    assert small == b"1"


def test_a_member_that_is_longer_than_its_archive_says_is_not_unpacked(tmp_path: Path) -> None:
    path = a_zip(a_folder(tmp_path, {"x": b""}) / "photos.zip", {"a.png": bytes(100_000)})
    content = path.read_bytes()
    path.write_bytes(content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    (found,) = entered(tmp_path, "photos/a.png", limits=Limits(bytes=1000))
    assert isinstance(found, str)
    assert "photos.zip" in found
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]


def test_links_in_archives_are_not_followed(tmp_path: Path) -> None:
    root = a_folder(tmp_path, {"x": b""})
    with tarfile.open(root / "photos.tar", "w") as archive:
        for name, kind, target in (("soft.png", tarfile.SYMTYPE, "/etc/passwd"), ("hard.png", tarfile.LNKTYPE, "a")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("pipe.png"))
    for found in entered(tmp_path, "photos/soft.png", "photos/hard.png"):
        assert "found a link in photos.tar, expected a file" in str(found)


@ARCHIVES
def test_a_damaged_archive_gives_what_is_whole(tmp_path: Path, suffix: str) -> None:
    noise = {f"{number}.png": os.urandom(50_000) for number in range(3)}
    path = an_archive(a_folder(tmp_path, {"x": b""}) / f"photos{suffix}", noise)
    content = bytearray(path.read_bytes())
    if suffix == ".zip":
        content[60_000] ^= 1
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    found = entered(tmp_path, *(f"photos/{name}" for name in noise))
    assert found[0] == noise["0.png"]
    assert f"found a damaged archive (photos{suffix}" in str(found[1])


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100])
def test_what_only_looks_like_an_archive_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    a_folder(tmp_path, {f"photos{suffix}": content})
    (found,) = entered(tmp_path, "photos/a.png")
    assert "found a damaged archive" in str(found)


def test_an_encrypted_member_is_named_so(tmp_path: Path) -> None:
    path = a_zip(a_folder(tmp_path, {"x": b""}) / "photos.zip", {"a.png": b"1"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    (found,) = entered(tmp_path, "photos/a.png")
    assert "found an encrypted member of photos.zip" in str(found)
