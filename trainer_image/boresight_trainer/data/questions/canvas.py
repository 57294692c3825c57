"""Drawing with Pillow: exact colours (nothing is smoothed), so that what an image shows can be counted in it."""

from __future__ import annotations

import io
from random import Random

from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
SHAPES = ("circle", "square", "triangle")
COLOURS: dict[str, RGB] = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (31, 80, 200),
    "yellow": (240, 210, 40),
    "purple": (140, 60, 180),
    "orange": (245, 130, 30),
    "black": (20, 20, 20),
}
INK: RGB = (20, 20, 20)


def blank(size: int, rng: Random) -> Image.Image:
    """A square image of ``size`` pixels a side in some light grey, which no colour of :data:`COLOURS` is near."""
    shade = rng.randint(225, 255)
    return Image.new("RGB", (size, size), (shade, shade, shade))


def draw_shape(image: Image.Image, shape: str, centre: tuple[float, float], radius: float, colour: RGB) -> None:
    """One of :data:`SHAPES` around ``centre`` (x, y), of about the same area for the same ``radius`` (pixels)."""
    draw = ImageDraw.Draw(image)
    x, y = centre
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif shape == "square":
        half = radius * 0.886
        draw.rectangle((x - half, y - half, x + half, y + half), fill=colour)
    else:
        high, wide = radius * 1.25, radius * 1.25
        draw.polygon([(x, y - high), (x - wide, y + high), (x + wide, y + high)], fill=colour)


def png(image: Image.Image) -> bytes:
    """The image as a PNG file, without dates or other metadata."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()
