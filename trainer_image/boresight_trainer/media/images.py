"""Pictures, by Pillow: from a file to RGB as a viewer shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .containers import Container, container_of
from .errors import MediaError
from .headers import ImageHeader
from .limits import Limits

# Pillow's own guard is one number for a whole process; ours is held against every header before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None

_ORIENTATION = 0x0112
_SIDEWAYS = range(5, 9)
_SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_NO_RANGE = frozenset({"I", "F"})
_ALPHA = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})


def image_header(path: Path, container: Container, limits: Limits) -> ImageHeader:
    """Size and make of a picture, from its first bytes and the list of its frames. Raises :class:`MediaError`."""
    with path.open("rb") as stream, _opened(stream, container) as image:
        limits.check_pixels(*image.size)
        orientation = image.getexif().get(_ORIENTATION, 1)
        orientation = orientation if orientation in range(1, 9) else 1
        width, height = image.size if orientation not in _SIDEWAYS else image.size[::-1]
        _check_range(image, container)
        return ImageHeader(width, height, orientation, getattr(image, "n_frames", 1), image.mode)


def decode_image(path: Path, limits: Limits) -> NDArray[np.uint8]:
    """RGB as shown, [height, width, 3]: upright, on white where it is transparent, 16 bits scaled to 8; of an animation
    the first frame. Raises :class:`MediaError`; OSError if the file cannot be read."""
    container = container_of(path, limits)
    if not container.pillow:
        raise MediaError(f"no image ({container.name})", "an image", "name another file")
    with path.open("rb") as stream, _opened(stream, container) as image:
        limits.check_pixels(*image.size)
        limits.check_decoded_bytes(image.width * image.height * 3)
        _check_range(image, container)
        image.load()
        return np.array(_rgb(ImageOps.exif_transpose(image)))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BITS:
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in _ALPHA or "transparency" in image.info:
        shown = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    return image.convert("RGB")


def _check_range(image: Image.Image, container: Container) -> None:
    if image.mode in _NO_RANGE:
        raise MediaError(
            f"pixels of 32 bits ({container.name}, mode {image.mode}), whose white is not known",
            "8 or 16 bits a colour",
            "scale the picture to 8 bits",
        )


@contextmanager
def _opened(stream: IO[bytes], container: Container) -> Iterator[Image.Image]:
    """The picture in ``stream``. What Pillow raises is the picture's fault, unless the machine is named in it."""
    try:
        with Image.open(stream, formats=container.pillow) as image:
            yield image
    except (MediaError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        what = str(error).partition(" <")[0] or type(error).__name__
        raise MediaError(
            f"a damaged image ({container.name}: {what})", "a whole file", "download or save it anew"
        ) from error
