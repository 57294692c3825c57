"""Arithmetic on pixels as transformers' processors do it on a CPU: Pillow resizes, NumPy does the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .family import unsupported

Pixels = npt.NDArray[np.uint8]
"""``[H, W, 3]``."""


@dataclass(frozen=True)
class PixelSettings:
    """How pixels become what a vision tower takes."""

    resample: int
    rescale_factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def read(cls, settings: Mapping[str, Any], *, steps: Sequence[str], resample: Image.Resampling) -> PixelSettings:
        """From a processor's file. ``steps`` are those that the family always does; a file that turns one off is
        refused. ``resample`` is the filter of files that name none."""
        for step in (*steps, "do_rescale", "do_normalize"):
            if settings.get(step, True) is not True:
                raise unsupported(step, settings[step], True)
        return cls(
            int(settings.get("resample", resample)),
            float(settings.get("rescale_factor", 1 / 255)),
            tuple(settings["image_mean"]),
            tuple(settings["image_std"]),
        )

    def resize(self, image: Pixels, height: int, width: int) -> Pixels:
        """``[height, width, 3]``."""
        resized = Image.fromarray(image).resize((width, height), resample=Image.Resampling(self.resample))
        return np.asarray(resized)

    def normalize(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Pixels ``[..., 3]`` scaled to about 0 to 1, then with the training data's mean and deviation removed."""
        scaled = (images.astype(np.float64) * self.rescale_factor).astype(np.float32)
        normal = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.asarray(normal, np.float32)


def shortest_edge_size(height: int, width: int, shortest: int) -> tuple[int, int]:
    """``(height, width)`` in proportion, the shorter one being ``shortest``."""
    longest = int(shortest * max(height, width) / min(height, width))
    return (longest, shortest) if width <= height else (shortest, longest)


def center_crop(image: Pixels, height: int, width: int) -> Pixels:
    """The middle ``[height, width, 3]``, with black where the image is smaller."""
    found_height, found_width = image.shape[:2]
    canvas = np.zeros((max(height, found_height), max(width, found_width), 3), image.dtype)
    top, left = math.ceil((canvas.shape[0] - found_height) / 2), math.ceil((canvas.shape[1] - found_width) / 2)
    canvas[top : top + found_height, left : left + found_width] = image
    top += (found_height - height) // 2
    left += (found_width - width) // 2
    return canvas[max(0, top) : top + height, max(0, left) : left + width]
