"""What a file is, its first bytes say; what is none of the media that are read is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from boresight_trainer.data.records import Modality
from boresight_trainer.media.errors import MediaError
from boresight_trainer.media.limits import Limits
from boresight_trainer.media.probe import header_of
from builders_media import a_picture, a_video, a_wav, numbered_frames, tone

SECRET = "/etc/hostname"


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "found an empty file, expected media: put the file there again"),
        ("hello world\n", r"found text \('hello world"),
        ("grüße, und mehr davon", r"found text \('grüße"),
        (f"#EXTM3U\n#EXTINF:1,\n{SECRET}\n", "found a playlist, expected media: name the media that it lists"),
        (f"\n#EXTM3U\n{SECRET}\n", "found a playlist"),
        (f"ffconcat version 1.0\nfile {SECRET}\n", "found a playlist"),
        (f"file '{SECRET}'\n", "found text"),
        ('<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>', "found a playlist"),
        (f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{SECRET}"/></svg>', "found an SVG drawing"),
        ('<?xml version="1.0"?>\n<!-- a -->\n<svg/>', "found an SVG drawing, expected media: render it to PNG"),
        ("%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run", "found a document"),
        ("%PDF-1.7\n", "found a document, expected media: render its pages"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer.*git lfs pull"),
        ("\x00\x00\x00\x18ftypheic\x00", "found an HEIC picture, expected media: save it as JPEG or PNG"),
        ("\x00\x01\x02\x03", "found a file that begins with 00 01 02 03"),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".wav", ".mp4"])
def test_what_is_no_medium_is_refused_whatever_its_name(
    tmp_path: Path, content: str, complaint: str, modality: Modality, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(MediaError, match=complaint):
        header_of(path, modality, Limits())


def a_medium(folder: Path, kind: str) -> Path:
    match kind:
        case "picture":
            return a_picture(folder / "a.png")
        case "sound":
            return a_wav(folder / "a.wav", [tone(440, 0.5, 8000)], 8000)
        case "silent video":
            return a_video(folder / "a.mp4", numbered_frames(5))
        case _:
            return a_video(
                folder / "a.mp4",
                numbered_frames(1),
                before=("-f", "lavfi", "-i", "sine=duration=1"),
                options=("-map", "1:a"),
            )


@pytest.mark.parametrize(
    ("kind", "modality", "complaint"),
    [
        ("silent video", Modality.IMAGE, r"found a video \(MP4 or QuickTime\), expected an image: put it where video"),
        ("sound", Modality.IMAGE, r"found audio \(WAV\), expected an image"),
        ("picture", Modality.VIDEO, r"found an image \(PNG\), expected a video: put it where image belongs"),
        ("picture", Modality.AUDIO, r"found an image \(PNG\), expected audio"),
        ("sound in mp4", Modality.VIDEO, r"found audio \(MP4 or QuickTime\), expected a video"),
        ("sound", Modality.VIDEO, r"found audio \(WAV\), expected a video"),
        ("silent video", Modality.AUDIO, r"found a video without sound \(MP4 or QuickTime\), expected audio"),
    ],
)
def test_a_medium_of_another_kind_is_refused_by_both_names(
    tmp_path: Path, kind: str, modality: Modality, complaint: str
) -> None:
    with pytest.raises(MediaError, match=complaint):
        header_of(a_medium(tmp_path, kind), modality, Limits())
