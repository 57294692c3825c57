"""Pictures become RGB as a viewer shows them; what cannot be shown is refused by what is wrong with it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from boresight_trainer.data.records import Modality
from boresight_trainer.media.errors import MediaError
from boresight_trainer.media.headers import ImageHeader
from boresight_trainer.media.images import decode_image
from boresight_trainer.media.limits import Limits
from boresight_trainer.media.probe import header_of
from builders_media import BLUE, GREEN, RED, WHITE, a_picture, cut
from PIL import Image, ImageOps

LIMITS = Limits()


def header(path: Path, limits: Limits = LIMITS) -> ImageHeader:
    found = header_of(path, Modality.IMAGE, limits)
    assert isinstance(found, ImageHeader)
    return found


def corners(path: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The colours at the top left and the bottom right, rounded as lossy formats need it."""
    pixels = decode_image(path, LIMITS)
    return tuple(np.round(pixels[1, 1] / 51) * 51), tuple(np.round(pixels[-2, -2] / 51) * 51)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "webp", "tiff", "avif"])
def test_pictures_of_every_kind_are_known_by_their_content(tmp_path: Path, kind: str) -> None:
    path = a_picture(tmp_path / f"a.{kind}", quality=95).rename(tmp_path / "no_suffix")
    assert (header(path).width, header(path).height, header(path).frames) == (40, 30, 1)
    assert decode_image(path, LIMITS).shape == (30, 40, 3)
    assert corners(path) == (RED, BLUE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_upright_as_exif_says(tmp_path: Path, orientation: int) -> None:
    path = a_picture(tmp_path / "a.png", orientation=orientation)
    found, pixels = header(path), decode_image(path, LIMITS)
    assert found.orientation == orientation
    assert (found.height, found.width) == pixels.shape[:2] == ((30, 40) if orientation < 5 else (40, 30))
    with Image.open(path) as image:
        assert np.array_equal(pixels, np.asarray(ImageOps.exif_transpose(image)))


def test_transparency_shows_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.save(tmp_path / "rgba.png")
    clear.convert("LA").save(tmp_path / "la.png")
    Image.new("P", (4, 4), 0).save(tmp_path / "palette.png", transparency=0)
    Image.new("RGB", (4, 4), GREEN).save(tmp_path / "colour.png", transparency=GREEN)
    for path in tmp_path.iterdir():
        assert (decode_image(path, LIMITS) == WHITE).all(), path.name


def test_half_transparent_colours_are_mixed_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (255, 0, 0, 128)).save(tmp_path / "a.png")
    assert np.abs(decode_image(tmp_path / "a.png", LIMITS).astype(int) - (255, 127, 127)).max() <= 1


def test_cmyk_of_printers_is_shown_in_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    a_picture(tmp_path / "rgb.png")
    Image.open(tmp_path / "rgb.png").convert("CMYK").save(path, quality=95)
    assert header(path).mode == "CMYK"
    assert corners(path) == (RED, BLUE)


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "grey.png")
    assert header(tmp_path / "grey.png").mode == "I;16"
    assert decode_image(tmp_path / "grey.png", LIMITS)[0, :, 0].tolist() == [0, 100, 255]


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), dtype=np.float32)).save(tmp_path / "a.tiff")
    for read in (header, lambda path: decode_image(path, LIMITS)):
        with pytest.raises(MediaError, match=r"found pixels of 32 bits .*mode F.*: scale the picture to 8 bits"):
            read(tmp_path / "a.tiff")


def test_the_first_frame_of_an_animation_is_the_picture(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert header(tmp_path / "a.gif").frames == 3
    assert (decode_image(tmp_path / "a.gif", LIMITS) == RED).all()


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tiff", "gif"])
def test_a_truncated_picture_is_refused_when_it_is_decoded(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(7).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    path = tmp_path / f"a.{kind}"
    Image.fromarray(noise).save(path)
    with pytest.raises(MediaError, match=r"found a damaged image .*: download or save it anew"):
        decode_image(cut(path, 0.5), LIMITS)


def a_png_of(width: int, height: int) -> bytes:
    """A small file whose header promises a picture of that size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [30_000, 2**31 - 1])
def test_a_picture_with_too_many_pixels_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(a_png_of(30_000, side))
    for read in (header, lambda path: decode_image(path, LIMITS)):
        with pytest.raises(
            MediaError, match=rf"found 30000 x {side} pixels, expected at most 100000000 pixels: scale it down"
        ):
            read(tmp_path / "a.png")


def test_limits_are_what_the_caller_says(tmp_path: Path) -> None:
    path = a_picture(tmp_path / "a.png", (40, 30))
    assert header(path, Limits(pixels=1200)).width == 40
    with pytest.raises(MediaError, match="found 40 x 30 pixels, expected at most 1199 pixels"):
        header(path, Limits(pixels=1199))
    with pytest.raises(MediaError, match="found 3600 bytes once decoded, expected at most 3599"):
        decode_image(path, Limits(decoded_bytes=3599))
    with pytest.raises(MediaError, match=r"found \d+ bytes, expected at most 50"):
        header(path, Limits(bytes=50))
