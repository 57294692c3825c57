"""Rows whose media are known by content: everything a recipe reads is a digest, and a row with bad media is invalid."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boresight_api.enums import DataFormat
from boresight_api.outcome import FailureClass, StageFailure
from boresight_trainer.data.mixture import Rows, load_demonstrations, load_feedback, load_preferences, load_prompts
from boresight_trainer.data.records import Modality, references_of
from boresight_trainer.data.selection import content_of
from boresight_trainer.media.headers import AudioHeader, ImageHeader
from boresight_trainer.media.library import MediaLibrary, digest_of
from boresight_trainer.store.digests import DigestCache, file_digest
from builders_data import a_comparison, an_input, loaded, write_jsonl, write_parquet
from builders_media import a_picture, a_video, a_wav, cut, tone
from PIL import Image


@pytest.fixture
def library(tmp_path: Path) -> MediaLibrary:
    return MediaLibrary(tmp_path / "kept", digests=DigestCache(tmp_path / "digests"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with two pictures and a sound."""
    folder = tmp_path / "data"
    folder.mkdir()
    a_picture(folder / "a.png")
    a_picture(folder / "b.jpg", (20, 10))
    a_wav(folder / "c.wav", [tone(440, 1, 16_000)], 16_000)
    return folder


def named(rows: Rows[Any]) -> list[list[str]]:
    return [[str(reference.digest) for reference in references_of(record)] for record in rows.train]


def test_every_reference_is_a_digest_with_a_header(data: Path, library: MediaLibrary) -> None:
    write_jsonl(data / "rows.jsonl", [{"prompt": "x", "images": ["a.png", "b.jpg"], "audios": "c.wav"}])
    rows = loaded(partial(load_prompts, library=library), an_input(data))
    assert named(rows) == [[file_digest(data / name) for name in ("a.png", "b.jpg", "c.wav")]]
    picture, _, sound = rows.train[0].media
    assert picture.size == (data / "a.png").stat().st_size
    assert library.open(str(picture.digest)) == data / "a.png"
    assert library.header(picture) == ImageHeader(40, 30, 1, 1, "RGB")
    header = library.header(sound)
    assert isinstance(header, AudioHeader)
    assert header.samples == 16_000


def test_a_turn_keeps_the_places_of_its_media(data: Path, library: MediaLibrary) -> None:
    parts = [{"type": "text", "text": "see "}, {"type": "image", "image": "a.png"}, {"type": "text", "text": "this"}]
    write_jsonl(data / "rows.jsonl", [{"messages": [{"role": "user", "content": parts}]}])
    (prompt,) = loaded(partial(load_prompts, library=library), an_input(data)).train
    assert [(turn.content, [placed.offset for placed in turn.media]) for turn in prompt.messages] == [("see this", [4])]


def test_bytes_in_rows_are_kept_and_those_of_rows_that_are_not_read_are_not(
    tmp_path: Path, data: Path, library: MediaLibrary
) -> None:
    contents = [a_picture(tmp_path / f"{n}.png", (10 + n, 10)).read_bytes() for n in range(20)]
    cells = [{"bytes": content, "path": None} if n % 2 else content for n, content in enumerate(contents)]
    write_parquet(data / "odd.parquet", [{"prompt": f"x{n}", "images": [cells[n]]} for n in range(1, 20, 2)])
    write_parquet(data / "even.parquet", [{"prompt": f"x{n}", "images": cells[n]} for n in range(0, 20, 2)])
    value = an_input(data, files=("odd.parquet", "even.parquet"), limit=5)
    rows = loaded(partial(load_prompts, library=library), value)
    wanted = {str(digest) for digests in named(rows) for digest in digests}
    assert len(wanted) == 5
    assert wanted <= {digest_of(content) for content in contents}
    kept = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert {file_digest(path) for path in kept} == wanted
    assert all(library.open(digest) in kept for digest in wanted)


def test_answers_have_media_too(data: Path, library: MediaLibrary) -> None:
    rows = [a_comparison(1, image_1="a.png", image_2="b.jpg", overall_image=2, prompt="x")]
    folder = data / "text-to-image"
    folder.mkdir()
    write_jsonl(folder / "train.jsonl", rows)
    (data / "b.jpg").rename(folder / "b.jpg")  # one beside the rows, one beside the subsets
    value = an_input(data, format=DataFormat.ALIGN_ANYTHING, subset="text-to-image")
    a, b = file_digest(data / "a.png"), file_digest(folder / "b.jpg")
    assert named(loaded(partial(load_preferences, library=library), value)) == [[b, a]]
    assert named(loaded(partial(load_demonstrations, library=library), value)) == [[b]]
    assert named(loaded(partial(load_feedback, library=library), value)) == [[a], [b]]


def test_archives_beside_the_rows_hold_their_media(data: Path, library: MediaLibrary) -> None:
    with zipfile.ZipFile(data / "photos.zip", "w") as archive:
        archive.write(data / "a.png", "1/a.png")
    write_jsonl(data / "rows.jsonl", [{"prompt": "x", "images": "photos/1/a.png"}])
    for files in ((), ("rows.jsonl", "photos.zip")):
        rows = loaded(partial(load_prompts, library=library), an_input(data, files=files))
        assert named(rows) == [[file_digest(data / "a.png")]]


def test_archives_alone_are_no_rows(data: Path) -> None:
    (data / "photos.zip").touch()
    with pytest.raises(StageFailure, match=r"files: found archives alone \(photos.zip\), expected a file of rows"):
        loaded(load_prompts, an_input(data, files=("photos.zip",)))


BAD: Mapping[str, tuple[dict[str, Any], str]] = {
    "missing": ({"images": "nowhere.png"}, 'image: found "nowhere.png": no such file, expected a file below data'),
    "wrong kind": ({"images": "c.wav"}, r'image: found "c.wav": audio \(WAV\), expected an image; put it where audio'),
    "URL": ({"images": "https://host/a.png"}, 'image: found "https://host/a.png": a URL, expected a path beside'),
    "one of several": ({"images": ["a.png", "nowhere.png"]}, 'found "nowhere.png"'),
    "sound": ({"audios": "a.png"}, r'audio: found "a.png": an image \(PNG\), expected audio'),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_row_with_a_medium_that_cannot_be_used_is_invalid(data: Path, library: MediaLibrary, kind: str) -> None:
    row, complaint = BAD[kind]
    write_jsonl(data / "rows.jsonl", [{"prompt": "x"}, {"prompt": "y", **row}, {"prompt": "z", "images": "a.png"}])
    load = partial(load_prompts, library=library)
    rows = loaded(load, an_input(data), max_invalid_percent=40)
    assert [record.text for record in rows.train] == ["x", "z"]
    (counts,) = rows.sources
    assert (counts.valid, counts.invalid) == (2, 1)
    with pytest.raises(StageFailure, match=f"rows.jsonl row 2: .*{complaint}") as stopped:
        loaded(load, an_input(data), max_invalid_percent=30)
    assert stopped.value.failure is FailureClass.INVALID_DATA


def test_damage_behind_a_good_header_makes_a_row_invalid_if_the_library_is_thorough(data: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(7).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(data / "cut.jpg")
    frames = np.stack([np.roll(noise, step, axis=0) for step in range(40)])
    a_video(data / "cut.mp4", frames, options=("-pix_fmt", "yuv420p", "-movflags", "+faststart"))
    rows = [{"prompt": "x", "images": "cut.jpg"}, {"prompt": "y", "videos": "cut.mp4"}, {"prompt": "z"}]
    write_jsonl(data / "rows.jsonl", rows)
    for name in ("cut.jpg", "cut.mp4"):
        cut(data / name, 0.6)

    def invalid(thorough: bool) -> list[str]:
        library = MediaLibrary(tmp_path / "kept", digests=DigestCache(tmp_path / "digests"), thorough=thorough)
        load = partial(load_prompts, library=library)
        return [str(row) for row in loaded(load, an_input(data), max_invalid_percent=100).invalid]

    assert invalid(thorough=False) == []
    picture, video = invalid(thorough=True)
    assert picture.startswith('rows.jsonl row 1: image: found "cut.jpg": a damaged image (JPEG: ')
    assert video.startswith('rows.jsonl row 2: video: found "cut.mp4": no picture at ')


def test_a_medium_may_be_bad_as_one_kind_and_good_as_another(data: Path, library: MediaLibrary) -> None:
    write_jsonl(data / "rows.jsonl", [{"prompt": "x", "images": "c.wav"}, {"prompt": "y", "audios": "c.wav"}])
    rows = loaded(partial(load_prompts, library=library), an_input(data), max_invalid_percent=50)
    assert [[one.modality for one in record.media] for record in rows.train] == [[Modality.AUDIO]]


def test_bad_bytes_in_a_row_are_named_so(data: Path, library: MediaLibrary) -> None:
    write_parquet(data / "rows.parquet", [{"prompt": "x", "images": b"no picture"}])
    with pytest.raises(StageFailure, match=r"rows.parquet row 1: image: found bytes in the row: text \('no picture'\)"):
        loaded(partial(load_prompts, library=library), an_input(data))


def test_the_holdout_is_what_it_is_without_a_library(data: Path, library: MediaLibrary) -> None:
    write_jsonl(data / "rows.jsonl", [{"prompt": f"x{n}", "images": "a.png"} for n in range(50)])
    by_content = loaded(partial(load_prompts, library=library), an_input(data), percent=20)
    as_written = loaded(load_prompts, an_input(data), percent=20)
    assert [record.id for record in by_content.holdout] == [record.id for record in as_written.holdout]
    assert content_of(by_content.holdout[0]) != content_of(as_written.holdout[0])


def test_rows_without_media_are_the_same_with_a_library(data: Path, library: MediaLibrary) -> None:
    write_jsonl(data / "rows.jsonl", [{"prompt": f"x{n}"} for n in range(5)])
    assert loaded(partial(load_prompts, library=library), an_input(data)) == loaded(load_prompts, an_input(data))


def test_a_source_of_one_file_may_not_name_others(data: Path, library: MediaLibrary) -> None:
    path = write_jsonl(data / "rows.jsonl", [{"prompt": "x", "images": "a.png"}])
    with pytest.raises(StageFailure, match=r"row 1: .*whose digest covers no other.*name the folder as the uri"):
        loaded(partial(load_prompts, library=library), an_input(path))
