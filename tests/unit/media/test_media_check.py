"""``boresight data check`` of rows with media: what it finds wrong where, what it counts, what it decodes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boresight_api.outcome import ExitCode
from boresight_trainer.data.commands import add_check_command
from boresight_trainer.data.media_check import SAMPLE
from builders_data import write_jsonl
from builders_media import a_picture, a_video, a_wav, cut, numbered_frames, tone
from PIL import Image


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    add_check_command(parser.add_subparsers(required=True))
    options = parser.parse_args(["check", *map(str, arguments)])
    return int(options.command(options))


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = run(*arguments, "-o", "json")
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    a_picture(folder / "a.png", (40, 30))
    a_picture(folder / "b.png", (80, 20), orientation=6)
    a_wav(folder / "c.wav", [tone(440, 1.5, 16_000)], 16_000)
    a_video(folder / "d.mp4", numbered_frames(20))
    return folder


def test_good_media_are_counted_and_measured(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"prompt": "x", "images": ["a.png", "b.png"]},
        {"prompt": "y", "images": "a.png", "audios": "c.wav"},
        {"prompt": "z", "videos": "d.mp4"},
        {"prompt": "text"},
    ]
    write_jsonl(data / "rows.jsonl", rows)
    code, found = report(capsys, data)
    assert code == ExitCode.DONE
    assert set(found["media"]) == {"image", "audio", "video"}
    image = found["media"]["image"]
    assert (image["distinct"], image["named"], image["decoded"]) == (2, 3, 2)
    assert (image["sizes"]["width"]["shortest"], image["sizes"]["width"]["longest"]) == (20, 40)
    assert (image["sizes"]["height"]["shortest"], image["sizes"]["height"]["longest"]) == (30, 80)
    assert image["sizes"]["bytes"]["total"] == sum((data / name).stat().st_size for name in ("a.png", "b.png"))
    assert found["media"]["audio"]["sizes"]["milliseconds"]["total"] == 1500
    assert found["media"]["video"]["sizes"]["milliseconds"]["total"] == 2000
    assert found["duplicate_media"] == {"extra": 1, "groups": [["rows.jsonl:1", "rows.jsonl:2"]]}
    assert run(data) == ExitCode.DONE
    text = capsys.readouterr().out
    assert "image: 2 distinct, named 3 times; decoding each once takes one core " in text
    assert "equal media: 1 more than once: rows.jsonl:1 = rows.jsonl:2" in text


def test_the_same_content_under_two_names_is_found(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "copy.png").write_bytes((data / "a.png").read_bytes())
    write_jsonl(data / "rows.jsonl", [{"prompt": "x", "images": "a.png"}, {"prompt": "y", "images": "copy.png"}])
    _, found = report(capsys, data)
    assert found["duplicate_media"]["groups"] == [["rows.jsonl:1", "rows.jsonl:2"]]


def test_what_is_wrong_with_media_is_said_by_kind_and_place(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "broken.wav").write_bytes(b"")
    write_jsonl(
        data / "rows.jsonl",
        [
            {"prompt": "good", "images": "a.png"},
            {"prompt": "x", "images": "nowhere.png"},
            {"prompt": "y", "images": "elsewhere.png"},
            {"prompt": "z", "images": "d.mp4"},
            {"prompt": "v", "audios": "broken.wav"},
        ],
    )
    code, found = report(capsys, data)
    assert (code, found["invalid_rows"]) == (ExitCode.INVALID_DATA, 4)
    missing, *others = found["problems"]
    assert (missing["field"], missing["count"]) == ("image", 2)
    assert missing["places"][0] == 'rows.jsonl:2: found "nowhere.png": no such file'
    assert {problem["places"][0].partition(": found ")[2] for problem in others} == {
        '"d.mp4": a video (MP4 or QuickTime)',
        '"broken.wav": an empty file',
    }
    assert found["media"]["image"]["distinct"] == 1


def a_broken_picture(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(7).integers(0, 255, (99, 99, 3), dtype=np.uint8)).save(path)
    return cut(path, 0.5)


def test_damage_behind_a_good_header_is_found_where_it_is_decoded(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_broken_picture(data / "broken.jpg")
    write_jsonl(data / "rows.jsonl", [{"prompt": "x", "images": "a.png"}, {"prompt": "y", "images": "broken.jpg"}])
    for arguments in ((), ("--decode-all",)):
        code, found = report(capsys, data, *arguments)
        assert (code, found["invalid_rows"]) == (ExitCode.INVALID_DATA, 1)
        (problem,) = found["problems"]
        assert problem["places"][0].startswith('rows.jsonl:2: found "broken.jpg": a damaged image (JPEG: ')


def test_some_are_decoded_by_seed_or_all_when_asked(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = 3 * SAMPLE
    for number in range(count):
        a_picture(data / f"{number}.png", (10 + number, 10))
    for number in range(5):
        a_broken_picture(data / f"broken{number}.jpg").write_bytes(
            (data / f"broken{number}.jpg").read_bytes() + bytes([number])
        )
    names = [f"{number}.png" for number in range(count)] + [f"broken{number}.jpg" for number in range(5)]
    write_jsonl(data / "rows.jsonl", [{"prompt": name, "images": name} for name in names])
    found = [report(capsys, data, "--seed", seed)[1] for seed in (1, 1, *range(2, 9))]
    assert {one["media"]["image"]["decoded"] for one in found} == {SAMPLE}
    assert found[0]["problems"] == found[1]["problems"]
    assert len({json.dumps(one["problems"]) for one in found}) > 1
    _, everything = report(capsys, data, "--decode-all")
    assert everything["invalid_rows"] == 5
